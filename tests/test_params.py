import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra_router.deployments import Deployment, Model, Offer, Provider
from orchestra_router.errors import InvalidRequest
from orchestra_router.providers.params import fit
from orchestra_router.types import CompletionRequest, Image, Message, Text, Tool

TOOL = Tool("now", "The time.", {"type": "object", "properties": {}})


def deployment(model: Model | None = None, /, **provider: object) -> Deployment:
    row = Provider.model_validate({"name": "acme", "base_url": "https://api.acme.example/v1"} | provider)
    return Deployment(row, model or Model(name="acme-1"), Offer(id="acme-1-2026"))


def ask(**more: object) -> CompletionRequest:
    values = {"messages": (Message("user", (Text("Hello"),)),)} | more
    return CompletionRequest(**values)  # pyright: ignore[reportArgumentType] - the tests set one field each


def test_nothing_that_the_caller_did_not_set_is_sent() -> None:
    params = fit(deployment(), ask())

    assert (params.temperature, params.top_p, params.stop, params.effort, params.notes) == (None, None, (), None, ())


def test_what_the_deployment_takes_is_sent_as_it_was_set() -> None:
    thinker = Model(name="acme-1", efforts=("low", "high"), thinks="default")

    params = fit(
        deployment(thinker, effort_style="reasoning_effort"),
        ask(temperature=0.3, top_p=0.9, stop=("END",), effort="high", max_tokens=100),
    )

    assert (params.temperature, params.top_p, params.stop, params.effort) == (0.3, 0.9, ("END",), "high")
    assert (params.max_tokens, params.notes) == (100, ())


def test_max_tokens_is_lowered_to_what_the_model_writes_even_when_parameters_are_strict() -> None:
    params = fit(deployment(Model(name="acme-1", max_output_tokens=2_000)), ask(max_tokens=9_000, strict_params=True))

    assert params.max_tokens == 2_000
    assert params.notes == ("max_tokens was lowered from 9000 to 2000: acme-1 writes no more",)


def test_temperature_zero_counts_as_set() -> None:
    assert fit(deployment(), ask(temperature=0.0)).temperature == 0.0


def test_sampling_is_left_out_with_a_note_where_the_model_does_not_take_it() -> None:
    params = fit(deployment(Model(name="claude-opus-5-5", sampling="no")), ask(temperature=0.5, top_p=0.5))

    assert (params.temperature, params.top_p) == (None, None)
    assert params.notes == (
        "temperature was left out: claude-opus-5-5 does not take it",
        "top_p was left out: claude-opus-5-5 does not take it",
    )


def test_sampling_that_needs_effort_none_is_sent_only_with_it() -> None:
    model = Model(name="gpt-6-luna", sampling="effort_none", efforts=("none", "low"), thinks="default")
    openai = deployment(model, effort_style="reasoning_effort")

    with_none = fit(openai, ask(temperature=0.5, effort="none"))
    by_default = fit(openai, ask(temperature=0.5))
    with_low = fit(openai, ask(temperature=0.5, effort="low"))

    assert with_none.temperature == 0.5
    assert by_default.temperature is None
    assert with_low.temperature is None
    assert by_default.notes == ("temperature was left out: gpt-6-luna takes it only with effort 'none'",)


def test_an_effort_none_that_could_not_be_sent_does_not_allow_sampling() -> None:
    model = Model(name="gpt-6.2-sol", sampling="effort_none", efforts=("low", "high"), thinks="always")

    params = fit(deployment(model, effort_style="reasoning_effort"), ask(temperature=0.5, effort="none"))

    assert (params.effort, params.temperature) == (None, None)


def test_a_temperature_above_the_providers_highest_is_lowered_with_a_note() -> None:
    params = fit(deployment(title="Acme", max_temperature=1.0), ask(temperature=1.5))

    assert params.temperature == 1.0
    assert params.notes == ("temperature was lowered from 1.5 to 1: Acme takes no more",)


def test_stop_is_left_out_where_the_model_does_not_take_it() -> None:
    params = fit(deployment(Model(name="grok-4.7", stop=False)), ask(stop=("END",)))

    assert params.stop == ()
    assert params.notes == ("stop was left out: grok-4.7 does not take it",)


def test_too_many_stop_sequences_are_refused_with_the_limit_and_never_cut() -> None:
    with pytest.raises(InvalidRequest, match=r"acme/acme-1-2026 takes at most 4 sequences, not 5"):
        fit(deployment(), ask(stop=tuple("abcde")))


@pytest.mark.parametrize(
    ("model", "style", "note"),
    [
        (Model(name="m", efforts=("low",), thinks="default"), "reasoning_effort", "m does not take 'max'"),
        (Model(name="m", thinks="default"), "reasoning_effort", "m does not take it"),
        (Model(name="m", efforts=("max",), thinks="default"), "none", "m does not take it"),
    ],
)
def test_an_effort_that_cannot_be_asked_for_is_left_out(model: Model, style: str, note: str) -> None:
    params = fit(deployment(model, effort_style=style), ask(effort="max"))

    assert params.effort is None
    assert params.notes == (f"effort was left out: {note}",)


def test_effort_none_is_what_a_model_that_does_not_think_does_anyway() -> None:
    params = fit(deployment(), ask(effort="none", strict_params=True))

    assert (params.effort, params.notes) == (None, ())


def test_effort_needs_no_style_outside_chat_completions() -> None:
    thinker = Model(name="m", efforts=("low",), thinks="default")

    assert fit(deployment(thinker, format="responses"), ask(effort="low")).effort == "low"


@pytest.mark.parametrize(
    ("row", "left_out"),
    [
        ({"format": "responses", "search_style": "responses"}, ("stop",)),
        ({"format": "responses", "search_style": "perplexity"}, ("temperature", "top_p", "stop")),
    ],
)
def test_what_a_format_cannot_say_is_left_out(row: dict[str, str], left_out: tuple[str, ...]) -> None:
    params = fit(deployment(**row), ask(temperature=0.5, top_p=0.5, stop=("END",)))

    assert tuple(note.split()[0] for note in params.notes) == left_out


@pytest.mark.parametrize(
    ("asked", "refused"),
    [
        ({"temperature": 0.5}, "temperature: acme/acme-1-2026 does not take it"),
        ({"top_p": 0.5}, "top_p: acme/acme-1-2026 does not take it"),
        ({"stop": ("END",)}, "stop: acme/acme-1-2026 does not take it"),
        ({"effort": "high"}, "effort: acme/acme-1-2026 does not take it"),
    ],
)
def test_strict_parameters_refuse_instead_of_leaving_out(asked: dict[str, object], refused: str) -> None:
    bare = deployment(Model(name="acme-1", sampling="no", stop=False))

    with pytest.raises(InvalidRequest) as caught:
        fit(bare, ask(strict_params=True, **asked))

    assert str(caught.value) == f"{refused}; leave it out, or set strict_params to false"


def test_strict_parameters_refuse_a_temperature_that_is_too_high() -> None:
    with pytest.raises(InvalidRequest, match="temperature: acme/acme-1-2026 takes at most 1;"):
        fit(deployment(max_temperature=1.0), ask(temperature=1.5, strict_params=True))


PICTURE = (Message("user", (Text("What is this?"), Image(url="https://example.org/cat.png"))),)


@pytest.mark.parametrize(
    ("model", "asked", "parameter"),
    [
        (Model(tools=False), {"tools": (TOOL,)}, "tools"),
        (Model(forced_tools=False), {"tools": (TOOL,), "tool_choice": "required"}, "tool_choice"),
        (Model(forced_tools=False), {"tools": (TOOL,), "tool_choice": "now"}, "tool_choice"),
        (Model(images=False), {"messages": PICTURE}, "images"),
        (Model(json_schema=False), {"response_schema": {"type": "object"}}, "response_schema"),
        (Model(), {"web_search": True}, "web_search"),
    ],
)
def test_what_cannot_be_left_out_is_refused_with_what_to_do(
    model: Model, asked: dict[str, object], parameter: str
) -> None:
    with pytest.raises(InvalidRequest, match=rf"^{parameter}: acme/acme-1-2026 .*; (choose|use) "):
        fit(deployment(model), ask(**asked))


@pytest.mark.parametrize("choice", ["auto", "none"])
def test_a_model_that_cannot_be_forced_may_still_be_offered_tools(choice: str) -> None:
    fit(deployment(Model(forced_tools=False)), ask(tools=(TOOL,), tool_choice=choice))


def test_a_schema_said_in_the_prompt_suits_any_model() -> None:
    fit(deployment(Model(json_schema=False), schema_style="json_object"), ask(response_schema={"type": "object"}))


def test_no_schema_is_promised_where_the_provider_has_no_way_to_say_it() -> None:
    with pytest.raises(InvalidRequest, match="response_schema"):
        fit(deployment(Model(json_schema=True), schema_style="none"), ask(response_schema={"type": "object"}))


@pytest.mark.parametrize(
    ("style", "model_searches", "possible"),
    [
        ("openrouter", False, True),
        ("perplexity", False, True),
        ("responses", True, True),
        ("responses", False, False),
        ("google", False, False),
        ("none", True, False),
    ],
)
def test_a_search_needs_a_provider_that_has_one_and_a_model_that_takes_it(
    style: str, *, model_searches: bool, possible: bool
) -> None:
    searcher = deployment(Model(web_search=model_searches), search_style=style)

    if possible:
        fit(searcher, ask(web_search=True))
    else:
        with pytest.raises(InvalidRequest, match="web_search"):
            fit(searcher, ask(web_search=True))


@given(
    sampling=st.sampled_from(["yes", "no", "effort_none"]),
    takes_stop=st.booleans(),
    efforts=st.sets(st.sampled_from(["none", "low", "max"])).map(tuple),
    thinks=st.sampled_from(["no", "default", "always"]),
    temperature=st.none() | st.floats(0, 2),
    stop=st.lists(st.text(min_size=1), max_size=4).map(tuple),
    effort=st.none() | st.sampled_from(["none", "low", "max"]),
)
def test_every_parameter_is_sent_as_set_or_accounted_for_in_a_note(
    sampling: str,
    takes_stop: bool,
    efforts: tuple[str, ...],
    thinks: str,
    temperature: float | None,
    stop: tuple[str, ...],
    effort: str | None,
) -> None:
    model = Model.model_validate(
        {"name": "m", "sampling": sampling, "stop": takes_stop, "efforts": efforts, "thinks": thinks}
    )

    params = fit(
        deployment(model, effort_style="reasoning_effort"), ask(temperature=temperature, stop=stop, effort=effort)
    )

    noted = {note.split()[0] for note in params.notes}
    assert params.temperature == temperature or "temperature" in noted
    assert params.stop == stop or "stop" in noted
    assert params.effort == effort or "effort" in noted or (effort == "none" and thinks == "no")
    assert len(params.notes) == len(noted)
