"""What each rule of the guard finds, and what it lets pass."""

import sys
import time
import unicodedata
from dataclasses import dataclass, field

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra_router.errors import GuardrailBlocked
from orchestra_router.policy.findings import findings
from orchestra_router.policy.guardrails import Guardrails
from orchestra_router.policy.rules.all_rules import rules_for
from orchestra_router.policy.rules.base import Action, replaced
from orchestra_router.policy.rules.phone import PhoneRule, _Plans  # pyright: ignore[reportPrivateUsage]
from orchestra_router.policy.rules.profanity import ProfanityRule, _pattern  # pyright: ignore[reportPrivateUsage]
from orchestra_router.policy.rules.secrets import PrivateKeyRule
from orchestra_router.policy.rules.seen import Seen
from orchestra_router.policy.rules.sieve import Sieve
from orchestra_router.types import Answer, CompletionRequest, Message, Text


@dataclass(frozen=True)
class Own:
    pattern: str
    action: Action = "redact"


@dataclass(frozen=True)
class Wanted:
    """Settings under which everything is looked for."""

    guard_secret: Action = "redact"
    guard_ssn: Action = "redact"
    guard_credit_card: Action = "redact"
    guard_iban: Action = "redact"
    guard_email: Action = "redact"
    guard_identity_number: Action = "redact"
    guard_phone: Action = "redact"
    guard_phone_regions: tuple[str, ...] = ("US", "GB", "DE", "FR")
    guard_ip: Action = "redact"
    guard_name: Action = "off"
    guard_name_model: str = "en_core_web_lg"
    guard_profanity: Action = "redact"
    guard_patterns: dict[str, Own] = field(default_factory=dict[str, Own])


RULES = rules_for(Wanted(), keys=("a key of no known form",))
FOUND = {
    "mail bob.smith@gmail.com now": ("email", "bob.smith@gmail.com"),
    "jürgen@müller.de schreibt": ("email", "jürgen@müller.de"),
    "call me at 415-555-2671 please": ("phone", "415-555-2671"),
    "(212) 555 0123": ("phone", "(212) 555 0123"),
    "reach me on +49 30 901820.": ("phone", "+49 30 901820"),
    "0044 20 7946 0958": ("phone", "0044 20 7946 0958"),
    "call +(49 30 901820": ("phone", "+(49 30 901820"),
    "tel. 4155552671": ("phone", "4155552671"),
    "from 81.2.69.142 yesterday": ("ip", "81.2.69.142"),
    "via 2001:4860:4860::8888": ("ip", "2001:4860:4860::8888"),
    "IBAN DE89 3704 0044 0532 0130 00 THANKS": ("iban", "DE89 3704 0044 0532 0130 00"),
    "GB82WEST12345698765432.": ("iban", "GB82WEST12345698765432"),
    "4111 1111 1111 1111": ("credit_card", "4111 1111 1111 1111"),
    "3782-822463-10005": ("credit_card", "3782-822463-10005"),
    "1234567812345678": ("credit_card", "1234567812345678"),
    "SSN: 536 90 4399": ("ssn", "536 90 4399"),
    "social security no. 536904399": ("ssn", "536904399"),
    "Passport no. C01X00T47": ("identity_number", "C01X00T47"),
    "my passport number is 533380006": ("identity_number", "533380006"),
    "key AKIAIOSFODNN7EXAMPLE here": ("secret", "AKIAIOSFODNN7EXAMPLE"),
    "postgres://app:s3cr3tpw@db/x": ("secret", "s3cr3tpw"),
    "password: hunter2hunter2": ("secret", "hunter2hunter2"),
    "Authorization: Bearer abcd1234efgh5678": ("secret", "abcd1234efgh5678"),
    "use a key of no known form for it": ("secret", "a key of no known form"),
    "what the f*ck": ("profanity", "f*ck"),
    "f.u.c.k this": ("profanity", "f.u.c.k"),
    "So eine Scheiße": ("profanity", "Scheiße"),
    "sh1t happens": ("profanity", "sh1t"),
}
LET_PASS = [
    *("git@github.com:x/y.git", "user@example.com", "noreply@company.com", "@decorator", "a@b"),
    *("2026-11-23 12:00:00", "order 1234567890", "sum 1 000 000 000", "3.14159265358979", "ISBN 978-3-16-148410-0"),
    *("192.168.1.1", "127.0.0.1", "version 1.2.3.4", "std::vector<a::b>", "12:34:56:78:9a:bc", "::1"),
    *("4111-1111-1111-1112", "UUID 550e8400-e29b-41d4-a716-446655440000", "lat 52.520008, 13.404954"),
    *(
        "api_key = settings.api_key",
        "password = os.environ['X']",
        "return secret == token",
        "sk-learn",
        "the secret is out",
    ),
    *("api_key=your-key-here", "a passport is needed", "passport photos cost 15 dollars"),
    *(
        "Scunthorpe is nice",
        "a classic cocktail in Essex",
        "Dickens wrote",
        "shiitake",
        "treat as s and t",
        "2**k bits",
        "analysis",
    ),
]


def found(text: str) -> list[tuple[str, str]]:
    seen = Seen(text)
    return [(rule.kind, text[start:end]) for rule in RULES for start, end in seen.spans(rule)]


@pytest.mark.parametrize(("text", "wanted"), FOUND.items(), ids=FOUND)
def test_it_is_found(text: str, wanted: tuple[str, str]) -> None:
    kind, value = wanted

    assert (kind, value) in found(text)


@pytest.mark.parametrize("text", LET_PASS)
def test_it_passes(text: str) -> None:
    assert found(text) == []


def test_a_private_key_goes_whole() -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEpAIBAAKCAQEA\n" * 60 + "-----END RSA PRIVATE KEY-----"

    guarded = Guardrails(RULES).check_prompt(asked(f"Is this safe?\n{key}\nThanks"))

    assert guarded.request.messages[0].text == "Is this safe?\n[SECRET_1]\nThanks"


def test_a_pattern_of_ones_own_is_a_kind_like_any_other() -> None:
    rules = rules_for(Wanted(guard_patterns={"employee": Own(r"EMP-\d{4}")}))

    guarded = Guardrails(rules).check_prompt(asked("Who is EMP-1234?"))

    assert guarded.request.messages[0].text == "Who is [EMPLOYEE_1]?"
    assert guarded.restore_text("[EMPLOYEE_1] is new.") == "EMP-1234 is new."


def test_a_pattern_that_never_ends_blocks_in_bounded_time_and_says_which_one() -> None:
    rules = rules_for(Wanted(guard_patterns={"slow": Own(r"(?:a|a?)+(?:b|a)+$")}))
    began = time.monotonic()

    with pytest.raises(GuardrailBlocked, match=r"guard_patterns\.slow"):
        Guardrails(rules).check_prompt(asked("a" * 5_000 + "c"))

    assert time.monotonic() - began < 5


def test_names_without_presidio_block_rather_than_pass() -> None:
    with pytest.raises(GuardrailBlocked, match="guard_name is on, but Presidio cannot be used"):
        Guardrails(rules_for(Wanted(guard_name="redact"))).check_prompt(asked("Hello"))


HOSTILE = [
    *(
        "a",
        "1",
        "1 ",
        "a@",
        "a.",
        "A1",
        "-",
        "passport ",
        "password=",
        "+1-",
        "eyJ",
        "sk-",
        "x://",
        ":a",
        "f*",
        "fu",
        "4111 ",
    ),
    *("-----BEGIN PRIVATE KEY-----", "social ", "call 1", "\u200b", "ß", "0 123 456 ", "(1 ", "DE89 ", "415-555-2671 "),
    *(
        "DE89AAAAAAAAAAAAAAAAAAAAAAAA ",
        "护照",
        "4539 1488 0343 6467 ",
        "password: ",
        "ssn ",
        "token is ",
        "\uff15\uff13",
    ),
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_text_takes_time_that_grows_with_its_length_alone(piece: str) -> None:
    """In processor time, for others use the machine too. What grows with the square takes 16 times as long, not 4."""

    def seconds(size: int) -> float:
        text = piece * (size // len(piece))
        began = time.process_time()
        found(text)
        return time.process_time() - began

    assert seconds(200_000) < 8 * seconds(50_000) + 0.5


@pytest.mark.parametrize("text", [*FOUND, *LET_PASS])
def test_what_a_rule_needs_hides_nothing_from_it(text: str) -> None:
    possible = Sieve(RULES).possible(Seen(text))

    assert [rule for place, rule in enumerate(RULES) if place not in possible and tuple(rule.spans(text))] == []


NOUGHTS = [c for c in map(chr, range(sys.maxunicode)) if unicodedata.decimal(c, None) == 0]
"""Of every script that has figures of its own, full-width and mathematical ones too."""
WITH_FIGURES = {
    "it is 123-45-6789": "ssn",
    "my ssn: 123456789": "ssn",
    "4111111111111112": "credit_card",
    "pay 4111 1111 1111 1111": "credit_card",
    "DE89 3704 0044 0532 0130 00": "iban",
    "passport no. 123456789": "identity_number",
    "+49 30 901820": "phone",
    "(212) 555 0123": "phone",
    "via 81.2.69.142": "ip",
    "ping 8.8.8.8": "ip",
    "2001:4860:4860::8888": "ip",
    "12345678:AA" + "xYzw_" * 6 + "abc": "secret",
    "joe@mail2.company24.com": "email",
}


@pytest.mark.parametrize("text", WITH_FIGURES)
def test_a_number_is_found_in_the_figures_of_any_script(text: str) -> None:
    """Whether it is written in these alone or begins with a plain one."""
    kind = WITH_FIGURES[text]
    passed: list[str] = []
    for nought in NOUGHTS:
        figures = {ord("0") + value: chr(ord(nought) + value) for value in range(10)}
        begun = next(place for place, character in enumerate(text) if character.isdigit()) + 1
        passed += (
            unicodedata.name(nought)
            for written in (text.translate(figures), text[:begun] + text[begun:].translate(figures))
            if [each.kind for each in findings(RULES, written)] != [kind]
        )

    assert passed == []


LETTERS = {"s": "sS5$", "h": "hH", "i": "iI1!|", "t": "tT7+", "c": "c(ç", "k": "kK", "u": "uvü", "ß": "ßẞ"}


@given(
    st.sampled_from(["shit", "piç kurusu", "arschloch", "хуй", "dickhead", "scheiße", "motherfucker"]).flatmap(
        lambda word: st.tuples(
            *(st.sampled_from([*LETTERS.get(letter, letter), letter * 3, "*"]) for letter in word),
        )
    ),
    st.sampled_from(["", "", "", " ", ".", "_", "-", "*"]),
    st.sampled_from(["", "", "(", "@", "*", "x", "_", "x ", "+"]),
    st.sampled_from(["", "", "s", "ing", "'s", "in'", "*", "!", "ens", " x y"]),
)
def test_a_swear_word_is_found_in_every_disguise_that_the_pattern_knows(
    letters: tuple[str, ...], gap: str, before: str, after: str
) -> None:
    text = f"Oh {before}{gap.join(letters)}{after}, no"

    assert list(ProfanityRule("flag").spans(text)) == [match.span() for match in _pattern().finditer(text)]


EXAMPLES = [
    (region, phonenumbers.format_number(number, style))
    for region in sorted(phonenumbers.SUPPORTED_REGIONS)
    for kind in (phonenumbers.PhoneNumberType.FIXED_LINE, phonenumbers.PhoneNumberType.MOBILE)
    if (number := phonenumbers.example_number_for_type(region, kind)) is not None
    for style in (phonenumbers.PhoneNumberFormat.NATIONAL, phonenumbers.PhoneNumberFormat.INTERNATIONAL)
]


def test_what_is_looked_at_first_misses_no_number_of_any_country() -> None:
    def found(region: str, number: str) -> bool:
        return any(True for _ in PhoneRule("redact", [region]).spans(f"phone {number}"))

    missed = [number for region, number in EXAMPLES if number.startswith("+") and not found(region, number)]
    assert missed == []
    plans = [number for region, number in EXAMPLES if not _Plans.may_know(number, "" if number[0] == "+" else region)]
    assert plans == []


def test_a_list_of_very_many_numbers_is_hidden_to_its_end() -> None:
    numbers = [f"+1 415-555-{number:04}" for number in range(1_000, 2_500)]

    assert len(list(PhoneRule("redact", ["US"]).spans("\n".join(numbers)))) == len(numbers)


KEY = "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"a {KEY} b {KEY} c", "a  b  c"),
        (f"a {KEY[:-5]}", "a "),
        (f"-----END KEY----- a {KEY}", "-----END KEY----- a "),
        (f"{KEY[:40]} {KEY} b", " b"),
        (f"{KEY[:31]}{'x' * 30_000} b", f"{KEY[:31]}{'x' * 30_000} b"),
        (f"a {KEY.replace(' RSA', '').replace('KEY', 'KEY BLOCK')}", "a "),
    ],
)
def test_private_keys_are_found_from_their_beginning_to_their_end(text: str, left: str) -> None:
    assert replaced(text, tuple(PrivateKeyRule("redact").spans(text)), lambda _: "") == left


PIECES = [
    *(
        "536-90-4399",
        "4111 1111 1111 1111",
        "bob.smith@gmail.com",
        "DE89 3704 0044 0532 0130 00",
        "+49 30 901820",
        "[SSN_1]",
    ),
    *(
        "password: hunter2hunter2",
        "my passport number is 533380006",
        "f.u.c.k",
        "word",
        "and",
        "12",
        "-",
        "\n",
        "价格是多少",
        "Bearer",
    ),
]


@given(st.lists(st.sampled_from(PIECES), max_size=12), st.lists(st.integers(1, 9), min_size=1, max_size=40))
def test_a_stream_in_any_pieces_is_what_the_whole_answer_is(words: list[str], sizes: list[int]) -> None:
    text = " ".join(words)
    guardrails = Guardrails(RULES)
    guarded = guardrails.check_prompt(asked("I am 219-09-9999."))
    stream = guardrails.stream(guarded)

    said, place, turn = "", 0, 0
    while place < len(text):
        size = sizes[turn % len(sizes)]
        said += stream.feed(text[place : place + size])
        place, turn = place + size, turn + 1
    said += stream.end()

    assert said == guarded.restore(guardrails.check_answer(Answer(text=text))).text


def test_a_stream_of_prose_lags_a_few_words_only() -> None:
    guardrails = Guardrails(RULES)
    stream = guardrails.stream(guardrails.check_prompt(asked("Hello")))

    said = "".join(stream.feed(f"{word} ") for word in ["lorem", "ipsum", "dolor"] * 100)

    assert len(said) > len("lorem ipsum dolor ") * 98


def asked(text: str) -> CompletionRequest:
    return CompletionRequest(messages=(Message("user", (Text(text),)),))
