import pytest
from hypothesis import given, settings

from formats import ask, body, deployment, events, load, said, sent
from mutated import WIRE, bodies, read_stream
from orchestra_router.deployments import Provider
from orchestra_router.errors import InvalidRequest, ProviderError
from orchestra_router.providers import messages
from orchestra_router.types import Answer, Image, Message, Tool, ToolCall, ToolResult

ANTHROPIC = Provider(
    name="anthropic", base_url="https://api.anthropic.test", format="messages", search_style="anthropic"
)
SONNET = deployment(ANTHROPIC, offer_id="claude-sonnet-5-5", sampling="no", thinks="always", efforts=("low", "high"))
OLDER = deployment(ANTHROPIC, offer_id="claude-haiku-4-5", sampling="yes", efforts=("low",))
WEATHER = Tool("get_weather", "Weather now.", {"type": "object", "properties": {"city": {"type": "string"}}})

ANSWERS = [path.read_bytes() for path in sorted((WIRE / "messages").glob("*.json"))]


# --- The request -------------------------------------------------------------------------------------------


def test_a_question_is_sent_with_the_key_in_a_header_and_the_system_prompt_beside_the_turns() -> None:
    request = ask(said("system", "Be brief."), "Capital of France?", max_tokens=500)

    wire = messages.build_request(SONNET, request, api_key="key-one")

    assert wire.url == "https://api.anthropic.test/v1/messages"
    assert wire.headers == {
        "x-api-key": "key-one",
        "anthropic-version": "2026-10-21",
        "content-type": "application/json",
    }
    assert sent(wire) == {
        "model": "claude-sonnet-5-5",
        "max_tokens": 500,
        "system": "Be brief.",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Capital of France?"}]}],
    }


def test_path_version_and_headers_can_be_configured() -> None:
    provider = ANTHROPIC.model_copy(
        update={"path": "/messages", "api_version": "2023-06-01", "headers": {"x-team": "blue"}}
    )

    wire = messages.build_request(deployment(provider), ask(), api_key="")

    assert wire.url == "https://api.anthropic.test/messages"
    assert wire.headers == {"x-team": "blue", "anthropic-version": "2023-06-01", "content-type": "application/json"}


def test_sampling_goes_out_under_the_version_that_still_takes_it() -> None:
    wire = messages.build_request(OLDER, ask(temperature=0.0), api_key="k")

    assert sent(wire)["temperature"] == 0.0
    assert wire.headers["anthropic-version"] == "2023-06-01"


def test_a_model_that_takes_no_sampling_is_asked_without_it_and_the_note_says_so() -> None:
    wire = messages.build_request(SONNET, ask(temperature=0.2, top_p=0.9), api_key="k")

    assert sent(wire).keys() == {"model", "max_tokens", "messages"}
    assert wire.headers["anthropic-version"] == "2026-10-21"
    assert [note.split()[0] for note in wire.notes] == ["temperature", "top_p"]


def test_top_p_gives_way_to_temperature_because_both_are_refused() -> None:
    wire = messages.build_request(OLDER, ask(temperature=0.2, top_p=0.9), api_key="k")

    assert "top_p" not in sent(wire)
    assert [note.split()[0] for note in wire.notes] == ["top_p"]


def test_sampling_gives_way_to_thinking() -> None:
    wire = messages.build_request(OLDER, ask(temperature=0.2, effort="low"), api_key="k")

    assert "temperature" not in sent(wire)
    assert sent(wire)["thinking"] == {"type": "adaptive"}


@pytest.mark.parametrize(
    ("thinks", "effort", "thinking", "config"),
    [
        ("always", None, None, None),
        ("always", "high", None, {"effort": "high"}),
        ("default", "high", None, {"effort": "high"}),
        ("default", "none", {"type": "disabled"}, None),
        ("no", "high", {"type": "adaptive"}, {"effort": "high"}),
        ("no", "none", None, None),
        ("no", None, None, None),
    ],
)
def test_thinking_is_said_only_where_it_is_not_the_models_own_way(
    thinks: str, effort: str | None, thinking: object, config: object
) -> None:
    model = deployment(ANTHROPIC, sampling="no", thinks=thinks, efforts=("none", "high"))

    sent_body = sent(messages.build_request(model, ask(effort=effort), api_key="k"))

    assert sent_body.get("thinking") == thinking
    assert sent_body.get("output_config") == config


def test_a_model_that_is_made_to_call_a_tool_is_not_made_to_think_as_well() -> None:
    request = ask(tools=(WEATHER,), tool_choice="required", effort="low")

    sent_body = sent(messages.build_request(OLDER, request, api_key="k"))

    assert "thinking" not in sent_body
    assert sent_body["output_config"] == {"effort": "low"}


def test_images_go_as_url_or_base64() -> None:
    request = ask(
        said("user", "What is this?", Image(url="https://x.test/a.png"), Image(data="aGk=", media_type="image/png"))
    )

    content = sent(messages.build_request(SONNET, request, api_key="k"))["messages"][0]["content"]

    assert content == [
        {"type": "text", "text": "What is this?"},
        {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
    ]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", None),
        ("none", {"type": "none"}),
        ("required", {"type": "any"}),
        ("get_weather", {"type": "tool", "name": "get_weather"}),
    ],
)
def test_tools_and_the_choice_between_them_are_sent(choice: str, expected: object) -> None:
    sent_body = sent(messages.build_request(OLDER, ask(tools=(WEATHER,), tool_choice=choice), api_key="k"))

    assert sent_body["tools"] == [
        {"name": "get_weather", "description": "Weather now.", "input_schema": WEATHER.parameters}
    ]
    assert sent_body.get("tool_choice") == expected


def test_a_tool_without_parameters_still_has_an_object_for_a_schema() -> None:
    sent_body = sent(messages.build_request(OLDER, ask(tools=(Tool("now", "", {}),)), api_key="k"))

    assert sent_body["tools"] == [{"name": "now", "input_schema": {"type": "object"}}]


def test_a_search_is_a_tool_with_a_bound() -> None:
    sent_body = sent(messages.build_request(SONNET, ask(web_search=True), api_key="k"))

    assert sent_body["tools"] == [
        {"type": "web_search_20260318", "name": "web_search", "max_uses": 5, "allowed_callers": ["direct"]}
    ]


def test_stop_sequences_and_streaming_are_sent() -> None:
    sent_body = sent(messages.build_request(OLDER, ask(stop=("END",)), api_key="k", stream=True))

    assert sent_body["stop_sequences"] == ["END"]
    assert sent_body["stream"] is True


def test_a_schema_is_sent_in_the_dialect_answers_are_held_to() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "age": {"type": "integer", "minimum": 0, "description": "In years."},
            "tags": {"type": "array", "items": {"oneOf": [{"type": "string"}, {"type": "object"}]}},
        },
        "required": ["age"],
    }

    sent_body = sent(messages.build_request(SONNET, ask(response_schema=schema), api_key="k"))

    assert sent_body["output_config"]["format"] == {
        "type": "json_schema",
        "schema": {
            "type": "object",
            "properties": {
                "age": {"type": "integer", "description": 'In years. {"minimum":0}'},
                "tags": {
                    "type": "array",
                    "items": {"anyOf": [{"type": "string"}, {"type": "object", "additionalProperties": False}]},
                },
            },
            "required": ["age"],
            "additionalProperties": False,
        },
    }


def test_results_of_parallel_calls_share_one_turn_and_stand_first_in_it() -> None:
    request = ask(
        "Weather?",
        said("assistant", "Looking.", ToolCall("t1", "get_weather", '{"city":"Bern"}'), ToolCall("t2", "now", "")),
        said("user", "Quick, please."),
        said("tool", ToolResult("t1", "get_weather", "snow")),
        said("tool", ToolResult("t2", "now", "no clock", is_error=True)),
        tools=(WEATHER,),
    )

    turns = sent(messages.build_request(SONNET, request, api_key="k"))["messages"]

    assert turns[1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Looking."},
                {"type": "tool_use", "id": "t1", "name": "get_weather", "input": {"city": "Bern"}},
                {"type": "tool_use", "id": "t2", "name": "now", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": "snow"},
                {"type": "tool_result", "tool_use_id": "t2", "content": "no clock", "is_error": True},
                {"type": "text", "text": "Quick, please."},
            ],
        },
    ]


def test_blank_texts_are_left_out_because_they_are_refused() -> None:
    request = ask("Hi", said("assistant", " "), said("user", "", "Still there?"))

    turns = sent(messages.build_request(SONNET, request, api_key="k"))["messages"]

    assert turns == [
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": "Still there?"}]}
    ]


@pytest.mark.parametrize(
    "request_messages",
    [
        (said("system", "Only this."),),
        (said("user", "  "),),
        (said("user", "?"), said("assistant", ToolCall("t1", "get_weather", '{"city": "Be'))),
        (said("user", "?"), said("assistant", ToolCall("t1", "get_weather", "[1]"))),
    ],
)
def test_what_this_format_cannot_say_is_refused_before_it_is_sent(request_messages: tuple[Message, ...]) -> None:
    with pytest.raises(InvalidRequest, match="messages: "):
        messages.build_request(SONNET, ask(*request_messages), api_key="k")


# --- The way back of what only the provider can read -------------------------------------------------------


def turn_of(answer: Answer, text: str | None = None) -> Message:
    parts = [text if text is not None else answer.text, *answer.tool_calls]
    return said("assistant", *parts, state=answer.provider_state)


def content_of(turn: Message) -> list[object]:
    return sent(messages.build_request(SONNET, ask("?", turn), api_key="k"))["messages"][1]["content"]


def test_thinking_goes_back_unchanged_before_the_calls_it_led_to() -> None:
    blocks = load("messages/tool_use.json")["content"]
    answer = messages.parse_response(body("messages/tool_use.json"))

    content = content_of(turn_of(answer))

    calls = [{name: block[name] for name in ("type", "id", "name", "input")} for block in blocks[3:]]
    assert content == [*blocks[:3], *calls]


def test_search_results_go_back_unchanged_to_an_answer_that_paused() -> None:
    blocks = load("messages/pause_turn.json")["content"]
    answer = messages.parse_response(body("messages/pause_turn.json"))

    content = content_of(turn_of(answer))

    assert answer.finish == "continue"
    assert content == blocks


def test_an_edit_to_the_text_is_obeyed_and_not_undone_by_the_copy() -> None:
    answer = messages.parse_response(body("messages/tool_use.json"))

    content = content_of(turn_of(answer, "[REDACTED]"))

    assert "I will look both up." not in answer.provider_state
    assert content[2] == {"type": "text", "text": "[REDACTED]"}


def test_a_streamed_answer_keeps_the_same_state_as_a_plain_one() -> None:
    _, answer = read_stream(messages, events("messages/stream_text.sse"))

    content = content_of(turn_of(answer))

    assert content == [
        {
            "type": "thinking",
            "thinking": "They greet me. I greet them back.",
            "signature": "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pki",
        },
        {"type": "text", "text": "Grüezi mitenand!"},
    ]


@pytest.mark.parametrize("state", ["not JSON", "[]", '{"format":"gemini","blocks":[{"a":1}]}', '{"format":"messages"}'])
def test_state_of_another_format_is_not_sent(state: str) -> None:
    content = content_of(said("assistant", "Hello.", state=state))

    assert content == [{"type": "text", "text": "Hello."}]


@given(bodies(ANSWERS))
@settings(deadline=None)
def test_whatever_state_an_answer_left_can_be_sent_back(damaged: bytes) -> None:
    try:
        answer = messages.parse_response(damaged)
    except ProviderError:
        return

    wire = messages.build_request(SONNET, ask("?", turn_of(answer), "Go on."), api_key="k")

    assert sent(wire)["messages"][-1]["role"] == "user"
