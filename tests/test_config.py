import sys
import time
from decimal import Decimal
from pathlib import Path

import keyring
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keyring.backend import KeyringBackend

from orchestra_router.config import Config, Keys, Settings, load, settings_table
from orchestra_router.errors import ConfigError

CANARY = "sk-or-v1-c4n4ry-7f3a9b2e"


def configured(home: Path, text: str = "", **environ: str) -> Config:
    (home / "orchestra.toml").write_text(text, encoding="utf-8")
    return load({"ORCHESTRA_HOME": str(home), **environ})


def refusal(home: Path, text: str = "", **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        configured(home, text, **environ)
    return str(caught.value)


def outcome(home: Path, text: str) -> str | None:
    """What a person is told; None where the file can be used."""
    try:
        configured(home, text)
    except ConfigError as error:
        return str(error)
    return None


# --- where a value comes from --------------------------------------------------------------------------------


def test_without_a_file_or_a_variable_the_defaults_hold(tmp_path: Path) -> None:
    config = load({"ORCHESTRA_HOME": str(tmp_path)})

    assert config.settings == Settings(home=tmp_path)
    assert config.settings.budget_day_usd == Decimal(150)
    assert config.catalog.weights == {"openrouter": 40, "deepseek": 30, "anthropic": 20, "together": 10}
    assert (config.file, list(config.keys)) == (None, [])


def test_the_file_wins_over_the_defaults_and_the_environment_over_the_file(tmp_path: Path) -> None:
    text = 'max_retries = 5\ncache_ttl_s = 60\nlog_level = "INFO"\nbudget_day_usd = 0.1\n'

    found = configured(tmp_path, text, ORCHESTRA_CACHE_TTL_S="7.5", ORCHESTRA_CACHE_SCOPE="user").settings

    assert (found.max_retries, found.cache_ttl_s, found.log_level) == (5, 7.5, "INFO")
    assert found.budget_day_usd == Decimal("0.1")
    assert found.cache_scope == ("user",)


@pytest.mark.parametrize(("value", "scope"), [("none", ()), ("session, user", ("session", "user"))])
def test_a_cache_scope_can_be_written_in_one_variable(tmp_path: Path, value: str, scope: tuple[str, ...]) -> None:
    assert configured(tmp_path, ORCHESTRA_CACHE_SCOPE=value).settings.cache_scope == scope


@pytest.mark.parametrize("unset", ["", "  ", "${user_config.budget}"])
def test_a_variable_that_the_client_left_blank_is_as_good_as_not_set(tmp_path: Path, unset: str) -> None:
    config = configured(tmp_path, ORCHESTRA_BUDGET_DAY_USD=unset, OPENAI_API_KEY=unset)

    assert config.settings.budget_day_usd == Decimal(150)
    assert "openai" not in config.keys


def test_a_file_can_be_named_and_must_then_be_there(tmp_path: Path) -> None:
    elsewhere = tmp_path / "mine.toml"
    elsewhere.write_text("max_attempts = 9\n", encoding="utf-8")

    config = load({"ORCHESTRA_HOME": str(tmp_path), "ORCHESTRA_CONFIG": str(elsewhere)})

    assert (config.settings.max_attempts, config.file) == (9, elsewhere)
    with pytest.raises(ConfigError, match="there is no such file"):
        load({"ORCHESTRA_HOME": str(tmp_path)}, path=tmp_path / "absent.toml")


def test_a_row_of_the_file_changes_the_built_in_row_field_by_field(tmp_path: Path) -> None:
    before = load({"ORCHESTRA_HOME": str(tmp_path)}).catalog

    after = configured(
        tmp_path,
        """
        hierarchy = ["deepseek", "openai"]
        [providers.openai]
        base_url = "https://eu.api.openai.com/v1"
        [models.gpt-6-luna]
        strength = 5
        at.openai = { max_output_tokens = 1000 }
        """,
    ).catalog

    changed = after.providers["openai"]
    assert changed == before.providers["openai"].model_copy(update={"base_url": "https://eu.api.openai.com/v1"})
    assert after.models["gpt-6-luna"].at["openai"].prices == before.models["gpt-6-luna"].at["openai"].prices
    assert after.deployment("gpt-6-luna", "openai").max_output_tokens == 1000
    assert after.deployment("gpt-6-luna", "openrouter").max_output_tokens == 128_000
    assert tuple(after.hierarchy) == ("deepseek", "openai")
    assert after.version != before.version


def test_a_provider_that_speaks_chat_completions_is_one_row(tmp_path: Path) -> None:
    config = configured(
        tmp_path,
        """
        [providers.example]
        base_url = "https://llm.example.com/v1"
        key_env = ["EXAMPLE_API_KEY"]
        models = { default = "example-large" }
        [models.example-large]
        at.example = { id = "large-2", prices = [{ input = 0.5, output = 1.5 }] }
        """,
        EXAMPLE_API_KEY="k-example",
    )

    deployment = config.catalog.deployment("example-large", "example")
    assert (deployment.key, deployment.provider.format) == ("example/large-2", "chat")
    assert deployment.offer.own_prices
    assert config.keys.get("example") == "k-example"


def test_prices_in_the_file_are_marked_as_the_users_own(tmp_path: Path) -> None:
    catalog = configured(tmp_path, "models.gpt-6-luna.at.openai.prices = [{ input = 1, output = 1 }]").catalog

    assert catalog.deployment("gpt-6-luna", "openai").offer.own_prices
    assert not catalog.deployment("gpt-6-luna", "openrouter").offer.own_prices


def test_another_id_does_not_keep_the_prices_of_the_built_in_one(tmp_path: Path) -> None:
    offers = configured(
        tmp_path,
        'models.gpt-6-luna.at.openai.id = "gpt-5-pro"\n'
        'models.gpt-6-luna.at.openrouter.id = "openai/gpt-6-luna"\n'
        'models."gpt-6.1-sol".at.openai = { id = "gpt-5-pro", prices = [{ input = 1, output = 1 }] }',
    ).catalog

    assert offers.models["gpt-6-luna"].at["openai"].prices == ()
    assert offers.models["gpt-6-luna"].at["openrouter"].prices
    assert offers.models["gpt-6.1-sol"].at["openai"].prices[0].input == 1


def test_loading_everything_takes_less_than_sixty_milliseconds(tmp_path: Path) -> None:
    def once() -> float:
        started = time.perf_counter()
        load({"ORCHESTRA_HOME": str(tmp_path)})
        return time.perf_counter() - started

    assert min(once() for _ in range(5)) < 0.060


# --- what a broken file is told ------------------------------------------------------------------------------


def test_every_problem_is_told_at_once_with_its_line_and_its_fix(tmp_path: Path) -> None:
    text = """\
cache_tll_s = 5
max_retries = 99
home = "/elsewhere"
hierarchy = ["openrouter", "opnai"]
[providers.mine]
key_env = ["MINE_API_KEY"]
[models.new]
contxt_tokens = 5
at.opennai = { id = "x", prices = [{ inptu = 1, output = 2 }] }
[tasks.coding]
route = [
  { model = "gpt-6-lunna", provider = "openai" },
]
keywords = ["("]
[old_models.past]
provider = "openai"
replacement = "gpt-6-lun"
[weights]
xai = -1
opnrouter = 3
"""

    told = refusal(tmp_path, text, ORCHESTRA_MAX_TOKNES="9", ORCHESTRA_DEADLINE_S="soon").splitlines()

    file = tmp_path / "orchestra.toml"
    assert [line.strip().replace(f"{file}:", "") for line in told] == [
        "The configuration cannot be used:",
        "1: `cache_tll_s` is not known; did you mean `cache_ttl_s`?",
        "2: `max_retries` must be less than or equal to 10. Further attempts at one deployment after its first.",
        "3: `home` says where this file is looked for, so set `ORCHESTRA_HOME` instead",
        "4: `hierarchy` names a provider that does not exist; did you mean `openai`?",
        "5: `providers.mine.base_url` is missing",
        "8: `models.new.contxt_tokens` is not known; did you mean `context_tokens`?",
        "9: `models.new.at.opennai.prices[0].inptu` is not known; did you mean `input`?",
        "9: `models.new.at.opennai.prices[0].input` is missing",
        "9: `models.new.at.opennai` names a provider that does not exist; did you mean `openai`?",
        "11: `tasks.coding.route[0].model` names no model that openai serves here; did you mean `gpt-6-luna`?",
        "14: `tasks.coding.keywords` holds no regular expression: missing ), unterminated subpattern",
        "17: `old_models.past.replacement` names a model that does not exist; did you mean `gpt-6-luna`?",
        "19: `weights.xai` must be greater than or equal to 0",
        "20: `weights.opnrouter` names a provider that does not exist; did you mean `openrouter`?",
        (
            "environment: `ORCHESTRA_DEADLINE_S` must be a valid number, unable to parse string as a number."
            " Seconds all attempts of one request may take."
        ),
        "environment: `ORCHESTRA_MAX_TOKNES` is no setting; did you mean `ORCHESTRA_MAX_TOKENS`?",
    ]


def test_several_mistakes_in_the_toml_itself_are_told_together_with_the_rest(tmp_path: Path) -> None:
    text = """\
max_retries =
timezone = "Europe/Berlin
cache_ttl_s = 60
cache_ttl_s = 61
hierarchy = ["openai",
log_level = warning
deadline_z = 5
[tasks
"""

    told = refusal(tmp_path, text)

    file = tmp_path / "orchestra.toml"
    assert [line.strip().replace(f"{file}:", "") for line in told.splitlines()[1:]] == [
        "1: not TOML: Invalid value; text needs quotes",
        "2: not TOML: Illegal character",
        "4: not TOML: Cannot overwrite a value; this name stands here a second time",
        "5: not TOML: a bracket is opened here and never closed",
        "6: not TOML: Invalid value; text needs quotes",
        "7: `deadline_z` is not known; did you mean `deadline_s`?",
        "8: not TOML: Expected ']' at the end of a table declaration",
    ]


@pytest.mark.parametrize(
    "text",
    [
        f"{CANARY}",
        f"OPENAI_API_KEY = {CANARY}",
        f'OPENAI_API_KEY = "{CANARY}"',
        f'"{CANARY}" = 1',
        f"{CANARY} = 1\n{CANARY} = 2",
        f"[{CANARY}]\n[{CANARY}]",
        f'max_retries = "{CANARY}"',
        f'timezone = "{CANARY}"',
        f'strategy = "{CANARY}"',
        f'budget_day_usd = "{CANARY}"',
        f'hierarchy = ["{CANARY}"]',
        f'[weights]\nxai = "{CANARY}"',
        f'[providers.openai]\nkey_env = ["{CANARY}"]',
        f'[providers.openai]\nkey_env = "{CANARY}"',
        f'[providers.openai]\nkey = "{CANARY}"',
        f'[providers.openai]\nbase_url = "https://{CANARY}@api.openai.com/v1"',
        f'[providers.openai]\nbase_url = "https://api.openai.com/v1?key={CANARY}"',
        f'[providers.openai]\nheaders = {{ Authorization = "Bearer {CANARY}" }}',
        f'[providers.openai]\nmodels = {{ default = "{CANARY}" }}',
        f'[tasks.coding]\nroute = [{{ model = "{CANARY}", provider = "openai" }}]',
        f'[tasks.coding]\nroute = [{{ model = "gpt-6-luna", provider = "{CANARY}" }}]',
        f'[tasks.coding]\nkeywords = ["{CANARY}("]',
        f'[old_models.a]\nprovider = "openai"\nreplacement = "{CANARY}"',
        f'[models.gpt-6-luna]\nretires = "{CANARY}"',
    ],
)
def test_no_value_of_a_broken_file_is_ever_shown(tmp_path: Path, text: str) -> None:
    assert CANARY not in refusal(tmp_path, text)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"max_retries = 2\nlog = '\xff'\n", "orchestra.toml:2: it is not UTF-8 text from here on; save it as UTF-8"),
        (b"#" * 50_000_000, "it is larger than 1 MB"),
        (b"a = " + b"9" * 5000, "a number in it is too long, or its brackets are too deep"),
        (b"a = " + b"[" * 5000, "a number in it is too long, or its brackets are too deep"),
        (b'a = """\nnever closed\n', "orchestra.toml:1: not TOML: Unterminated string"),
    ],
)
def test_a_file_that_cannot_be_a_configuration_is_explained(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "orchestra.toml").write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        load({"ORCHESTRA_HOME": str(tmp_path)})

    assert why in str(caught.value)


def test_a_folder_in_the_place_of_the_file_is_explained(tmp_path: Path) -> None:
    (tmp_path / "orchestra.toml").mkdir()

    with pytest.raises(ConfigError, match="it is not a file"):
        load({"ORCHESTRA_HOME": str(tmp_path)})


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "orchestra.toml").write_bytes(b"\xef\xbb\xbfmax_retries = 4\r\ncache = 'off'\r\n")

    found = load({"ORCHESTRA_HOME": str(tmp_path)}).settings

    assert (found.max_retries, found.cache) == (4, "off")


toml_like = st.lists(
    st.sampled_from([*"abc=[]{}\"'#.,-_ 0129\n\\", "providers", "[models.", " = ", "at.", "\n[[", '"""', "true", "é"]),
    max_size=60,
).map("".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(text=toml_like)
def test_any_text_is_either_a_configuration_or_explained(tmp_path: Path, text: str) -> None:
    told = outcome(tmp_path, text)

    assert told is None or told.count("\n") >= 1


wrong_values = st.sampled_from(["1", '"x"', "[]", "[1]", "{}", "{ a = 1 }", "{ a = {} }", "{ a = [{}] }", "1979-05-27"])
places = st.sampled_from(
    [
        *("providers", "providers.openai", "providers.openai.models", "models", "models.gpt-6-luna"),
        *("models.gpt-6-luna.at", "models.gpt-6-luna.at.openai", "models.gpt-6-luna.at.openai.prices", "tasks"),
        *("tasks.coding", "tasks.coding.route", "old_models", "old_models.gpt-4", "hierarchy", "weights"),
        *("cache_scope", "timezone"),
    ]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(rows=st.dictionaries(places, wrong_values, min_size=1, max_size=2))
def test_a_value_of_the_wrong_kind_anywhere_is_explained(tmp_path: Path, rows: dict[str, str]) -> None:
    told = outcome(tmp_path, "\n".join(f"{place} = {value}" for place, value in rows.items()))

    assert told is None or "orchestra.toml:" in told


@pytest.mark.parametrize(
    "setting",
    [
        "budget_day_usd = -1",
        "budget_day_usd = nan",
        "deadline_s = inf",
        "max_retries = 11",
        "max_attempts = 0",
        'timezone = "Mars/Base"',
        'timezone = "../../etc/passwd"',
        'cache_scope = ["planet"]',
        'strategy = "luck"',
    ],
)
def test_a_setting_outside_its_bounds_is_refused(tmp_path: Path, setting: str) -> None:
    assert f"`{setting.partition(' ')[0]}" in refusal(tmp_path, setting)


def test_a_budget_of_nothing_can_be_set(tmp_path: Path) -> None:
    assert configured(tmp_path, "budget_day_usd = 0").settings.budget_day_usd == 0


# --- more than one problem -----------------------------------------------------------------------------------


def test_a_problem_in_a_row_does_not_hide_another_one_there(tmp_path: Path) -> None:
    told = refusal(tmp_path, '[providers.mine]\nbase_url = "ftp://x"\nkolor = 3\nkey_env = 5\npath = "x"\n')

    assert "orchestra.toml:2: `providers.mine.base_url` must be a URL" in told
    assert "orchestra.toml:3: `providers.mine.kolor` is not known" in told
    assert "orchestra.toml:4: `providers.mine.key_env` must be a list" in told
    assert "orchestra.toml:5: `providers.mine.path` must begin with /" in told


def test_a_setting_of_the_wrong_kind_does_not_hide_what_other_settings_forbid(tmp_path: Path) -> None:
    told = refusal(tmp_path, '[portkey]\nopenai = 3\nopnai = "@x"\n[providers.vllm]\nbase_url = "http://10.0.0.7/v1"')

    assert "orchestra.toml:2: `portkey.openai` must be a valid string" in told
    assert "orchestra.toml:3: `portkey.opnai` names a provider that does not exist; did you mean `openai`?" in told
    assert "orchestra.toml:5: `providers.vllm.base_url` must be https" in told


def test_a_providers_own_model_must_exist_unless_the_server_is_local(tmp_path: Path) -> None:
    remote = '[providers.mine]\nbase_url = "https://x.test"\nmodels = { default = "no-such-model" }'

    assert "`providers.mine.models.default` names no model that mine serves here" in refusal(tmp_path, remote)
    assert configured(tmp_path, f"{remote}\nlocal = true")


def test_a_step_of_a_route_in_another_form_is_shown_the_right_one(tmp_path: Path) -> None:
    told = refusal(tmp_path, 'tasks.coding.route = ["nope/nada"]')

    assert '`tasks.coding.route[0]` must be a table; write { model = "gpt-6-luna", provider = "openai" }' in told


def test_a_strategy_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    assert "`strategy`" in refusal(tmp_path, 'strategy = "nicest"')


# --- through Portkey -----------------------------------------------------------------------------------------


def test_a_row_that_names_its_own_way_through_portkey_goes_there(tmp_path: Path) -> None:
    row = '[providers.openai]\nportkey = "@x"\n'

    by_row = configured(tmp_path, row, PORTKEY_API_KEY=CANARY)
    by_both = configured(tmp_path, row, ORCHESTRA_PORTKEY="openai=@y").catalog.providers["openai"]

    assert by_row.catalog.providers["openai"].base_url == "https://api.portkey.ai/v1"
    assert by_row.catalog.providers["openai"].portkey == "@x"
    assert by_row.keys.variables("openai") == ("PORTKEY_API_KEY",)
    assert (by_both.base_url, by_both.portkey) == ("https://api.portkey.ai/v1", "@y")


def test_a_way_through_portkey_that_leads_nowhere_is_told_beside_the_rest(tmp_path: Path) -> None:
    told = refusal(tmp_path, "max_retries = 99", ORCHESTRA_PORTKEY="openai,opnrouter=@x")

    assert "orchestra.toml:1: `max_retries`" in told
    assert "environment: `ORCHESTRA_PORTKEY` names no way to openai; write openai=@your-slug" in told
    assert "`ORCHESTRA_PORTKEY` names a provider that does not exist; did you mean `openrouter`?" in told


def test_the_readmes_placeholder_is_not_a_key(tmp_path: Path) -> None:
    keys = configured(tmp_path, GOOGLE_API_KEY="your-key-here", GEMINI_API_KEY="real", XAI_API_KEY="your-key-here").keys

    assert (list(keys), keys.variables("gemini")) == (["gemini"], ("GEMINI_API_KEY",))
    assert (keys.placeholder("xai"), keys.placeholder("gemini")) == ("XAI_API_KEY", "")


# --- addresses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/v1",
        "https://169.254.169.254",
        "http://2852039166/",
        "http://0xa9fea9fe/",
        "http://[fd00:ec2::254]/v1",
        "http://[::ffff:169.254.169.254]/",
        "http://[fe80::1]/",
        "http://100.100.100.200",
        "http://metadata.google.internal/computeMetadata",
        "https://metadata.google.internal.",
        "http://METADATA/",
    ],
)
def test_a_metadata_service_is_never_a_provider(tmp_path: Path, url: str) -> None:
    text = f'allow_insecure_http = true\n[providers.openai]\nbase_url = "{url}"'

    assert "metadata service or a link-local address" in refusal(tmp_path, text)


@pytest.mark.parametrize(
    "url",
    [
        "api.openai.com/v1",
        "ftp://api.openai.com",
        "https://",
        "https://user:pass@host/v1",
        "https://host/v1?key=1",
        "https://host/v1#x",
        "file:///etc/passwd",
        "https://ho st/",
        "https://[::1",
        "https://h:port/",
        "https://hóst/",
    ],
)
def test_an_address_that_is_more_or_less_than_scheme_host_and_path_is_refused(tmp_path: Path, url: str) -> None:
    assert "`providers.openai.base_url` must be" in refusal(tmp_path, f'[providers.openai]\nbase_url = "{url}"')


def test_plain_http_leaves_this_machine_only_when_it_is_allowed(tmp_path: Path) -> None:
    row = '[providers.vllm]\nbase_url = "http://10.0.0.7:8000/v1"'

    assert "or set allow_insecure_http = true" in refusal(tmp_path, row)
    assert configured(tmp_path, f"allow_insecure_http = true\n{row}").catalog.providers["vllm"].local
    for here in ("http://127.0.0.1:9/v1", "http://localhost:9/v1", "http://[::1]:9/v1"):
        assert configured(tmp_path, f'[providers.vllm]\nbase_url = "{here}"')


def test_the_way_to_portkey_is_held_to_the_same_rules(tmp_path: Path) -> None:
    assert "orchestra.toml:1: `portkey_base_url` must be https" in refusal(
        tmp_path, 'portkey_base_url = "http://10.0.0.7:8787/v1"'
    )
    assert "environment: `ORCHESTRA_PORTKEY_BASE_URL` points at a cloud's metadata service" in refusal(
        tmp_path, ORCHESTRA_PORTKEY_BASE_URL="http://169.254.169.254/v1"
    )
    assert configured(tmp_path, ORCHESTRA_PORTKEY_BASE_URL="http://127.0.0.1:8787/v1")


# --- keys ----------------------------------------------------------------------------------------------------


def test_the_first_variable_that_is_set_gives_the_key(tmp_path: Path) -> None:
    both = configured(tmp_path, GEMINI_API_KEY="gemini-key", GOOGLE_API_KEY="google-key").keys
    one = configured(tmp_path, GEMINI_API_KEY="gemini-key").keys

    assert (both.get("gemini"), both.variables("gemini")) == ("google-key", ("GOOGLE_API_KEY",))
    assert (one.get("gemini"), one.variables("gemini")) == ("gemini-key", ("GEMINI_API_KEY",))
    assert ("gemini" in one, "openai" in one, one.get("openai")) == (True, False, "")


def test_a_key_can_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f'  "{CANARY}"\r\n', encoding="utf-8")

    keys = configured(tmp_path, XAI_API_KEY_FILE=str(tmp_path / "key")).keys

    assert (keys.get("xai"), keys.variables("xai")) == (CANARY, ("XAI_API_KEY_FILE",))


def test_a_key_can_be_what_a_command_prints(tmp_path: Path) -> None:
    keys = configured(tmp_path, XAI_API_KEY_COMMAND=f"{sys.executable} -c 'print(\"{CANARY}\")'").keys

    assert (keys.get("xai"), keys.variables("xai")) == (CANARY, ("XAI_API_KEY_COMMAND",))


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (f"/nowhere/{CANARY}", "cannot be run"),
        (f"{sys.executable} -c 'import sys; print(\"{CANARY}\"); sys.exit(3)'", "exit code 3"),
        (f"{sys.executable} -c 'pass # {CANARY}'", "does not print a key"),
        (f"'{CANARY}", "cannot be run"),
    ],
)
def test_a_command_that_gives_no_key_is_refused_unseen(command: str, said: str, tmp_path: Path) -> None:
    told = refusal(tmp_path, XAI_API_KEY_COMMAND=command)

    assert "`XAI_API_KEY_COMMAND`" in told
    assert said in told
    assert CANARY not in told


def test_a_command_gets_no_shell(tmp_path: Path) -> None:
    told = configured(tmp_path, XAI_API_KEY_COMMAND=f"echo a;touch${{IFS}}{tmp_path}/made").keys.get("xai")

    assert told.startswith("a;touch")
    assert not (tmp_path / "made").exists()


def test_a_key_can_stand_in_the_keyring(tmp_path: Path) -> None:
    asked: list[tuple[str, str]] = []

    class Backend(KeyringBackend):
        priority = 1.0  # pyright: ignore[reportAssignmentType] - as keyring's guide does

        def get_password(self, service: str, username: str) -> str | None:
            asked.append((service, username))
            return CANARY if service == "llm" else None

        def set_password(self, service: str, username: str, password: str) -> None:
            raise NotImplementedError

    before = keyring.get_keyring()
    keyring.set_keyring(Backend())
    try:
        keys = configured(tmp_path, XAI_API_KEY_KEYRING="llm").keys
        missing = refusal(tmp_path, XAI_API_KEY_KEYRING=f"other-{CANARY}")
    finally:
        keyring.set_keyring(before)

    assert keys.get("xai") == CANARY
    assert asked[0] == ("llm", "XAI_API_KEY")
    assert "keyring set SERVICE XAI_API_KEY" in missing
    assert CANARY not in missing


def test_without_the_package_the_keyring_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)

    assert "orchestra-router[keyring]" in refusal(tmp_path, XAI_API_KEY_KEYRING="llm")


@pytest.mark.parametrize("wrapped", [f" {CANARY}\n", f'"{CANARY}"', f"'{CANARY}'", f"\t{CANARY}\r\n"])
def test_blanks_and_quotes_around_a_key_are_not_part_of_it(tmp_path: Path, wrapped: str) -> None:
    assert configured(tmp_path, OPENAI_API_KEY=wrapped).keys.get("openai") == CANARY


@pytest.mark.parametrize("broken", [f"{CANARY}\nx", f"{CANARY}\x00", f"{CANARY}é", f"Bearer {CANARY}"])
def test_a_key_that_no_header_can_carry_is_refused_unseen(tmp_path: Path, broken: str) -> None:
    told = refusal(tmp_path, OPENAI_API_KEY=broken)

    assert "`OPENAI_API_KEY`" in told
    assert CANARY not in told


def test_a_key_set_under_the_name_of_a_file_is_not_shown_as_a_path(tmp_path: Path) -> None:
    told = refusal(tmp_path, OPENAI_API_KEY_FILE=CANARY)

    assert "the file that `OPENAI_API_KEY_FILE` names does not exist" in told
    assert CANARY not in told


def test_the_configuration_never_shows_a_key(tmp_path: Path) -> None:
    config = configured(tmp_path, OPENAI_API_KEY=CANARY)

    shown = f"{config!r} {config.keys} {config.keys!r} {list(config.keys)}"

    assert CANARY not in shown
    assert str(config.keys) == "Keys(openai)"


def test_a_fingerprint_tells_keys_apart_without_giving_them_away() -> None:
    keys = Keys({"openai": [("A", CANARY)], "xai": [("A", CANARY)], "gemini": [("B", "another"), ("B_2", CANARY)]})

    prints = [each for name in ("openai", "xai", "gemini") for each in keys.fingerprints(name)]

    assert len(set(prints)) == 4
    assert all(len(found) == 8 and found not in CANARY for found in prints)
    assert keys.fingerprints("openai") == Keys({"openai": [("C", CANARY)]}).fingerprints("openai")
    assert keys.fingerprints("ollama") == ("",)


def test_a_provider_may_have_several_keys_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-tenth", encoding="utf-8")

    keys = configured(
        tmp_path,
        OPENAI_API_KEY_3="sk-third",
        OPENAI_API_KEY="sk-first",
        OPENAI_API_KEY_10_FILE=str(tmp_path / "key"),
        OPENAI_API_KEY_4="sk-first",
        OPENAI_API_KEY_1="sk-no-number",
        OPENAI_API_KEY_OLD="sk-no-number-either",
        OPENAI_API_KEY_5="your-key-here",
    ).keys

    assert [key.secret for key in keys.of("openai")] == ["sk-first", "sk-third", "sk-tenth"]
    assert keys.variables("openai") == ("OPENAI_API_KEY", "OPENAI_API_KEY_3", "OPENAI_API_KEY_10_FILE")
    assert set(keys.secrets()) >= {"sk-first", "sk-third", "sk-tenth"}
    assert "sk-" not in repr(keys.of("openai"))


def test_a_numbered_key_is_enough_and_one_that_another_provider_names_is_that_providers(tmp_path: Path) -> None:
    row = '[providers.mine]\nbase_url = "https://example.com/v1"\nkey_env = ["OPENAI_API_KEY_2"]'

    keys = configured(tmp_path, row, OPENAI_API_KEY_2="sk-mine", XAI_API_KEY_2="xai-second").keys

    assert (keys.get("mine"), "openai" in keys) == ("sk-mine", False)
    assert keys.variables("xai") == ("XAI_API_KEY_2",)


def test_a_further_key_that_no_header_can_carry_is_refused_unseen(tmp_path: Path) -> None:
    told = refusal(tmp_path, OPENAI_API_KEY="sk-first", OPENAI_API_KEY_2=f"Bearer {CANARY}")

    assert "`OPENAI_API_KEY_2`" in told
    assert CANARY not in told


def test_portkeys_own_key_has_no_further_ones(tmp_path: Path) -> None:
    row = '[portkey]\nopenai = "@prod"'

    keys = configured(tmp_path, row, PORTKEY_API_KEY="pk-one", PORTKEY_API_KEY_2="pk-two").keys

    assert keys.variables("openai") == ("PORTKEY_API_KEY",)


# --- the table of settings ----------------------------------------------------------------------------------


def test_every_setting_has_a_row_and_an_explanation_in_the_table() -> None:
    rows = dict(line.strip("| ").split(" | ", 1) for line in settings_table().splitlines()[2:])

    assert set(rows) == {f"`{name}`" for name in Settings.model_fields}
    assert all(len(row.split(" | ")[1]) > 20 for row in rows.values())
    assert "One of `semantic`, `exact`, `off`." in rows["`cache`"]
