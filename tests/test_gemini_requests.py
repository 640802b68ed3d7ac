import pytest
from hypothesis import given, settings

from formats import ask, body, deployment, events, load, said, sent
from mutated import WIRE, bodies, read_stream
from orchestra_router.deployments import Provider
from orchestra_router.errors import InvalidRequest, ProviderError
from orchestra_router.providers import gemini
from orchestra_router.types import Answer, Image, Message, Tool, ToolCall, ToolResult

GOOGLE = Provider(name="google", base_url="https://gemini.test", format="gemini", search_style="google", max_stop=5)
FLASH = deployment(
    GOOGLE, offer_id="gemini-3.8-flash", thinks="default", efforts=("none", "minimal", "low", "high", "xhigh")
)
WEATHER = Tool("get_weather", "Weather now.", {"type": "object", "properties": {"city": {"type": "string"}}})
SKIP = "skip_thought_signature_validator"

ANSWERS = [path.read_bytes() for path in sorted((WIRE / "gemini").glob("*.json"))]


# --- The request -------------------------------------------------------------------------------------------


def test_a_question_is_sent_with_the_key_in_a_header_and_never_in_the_address() -> None:
    request = ask(said("system", "Be brief."), "Hi", said("assistant", "Hello."), "Bye", max_tokens=500)

    wire = gemini.build_request(FLASH, request, api_key="key-one")

    assert wire.url == "https://gemini.test/v1beta/models/gemini-3.8-flash:generateContent"
    assert wire.headers == {"x-goog-api-key": "key-one", "content-type": "application/json"}
    assert sent(wire) == {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "Hi"}]},
            {"role": "model", "parts": [{"text": "Hello."}]},
            {"role": "user", "parts": [{"text": "Bye"}]},
        ],
        "generationConfig": {"maxOutputTokens": 500},
    }


def test_a_stream_is_asked_for_as_events() -> None:
    wire = gemini.build_request(FLASH, ask(), api_key="k", stream=True)

    assert wire.url == "https://gemini.test/v1beta/models/gemini-3.8-flash:streamGenerateContent?alt=sse"


@pytest.mark.parametrize(
    ("changes", "offer_id", "url"),
    [
        ({"api_version": "v1"}, "gemini-3.8-flash", "https://gemini.test/v1/models/gemini-3.8-flash:generateContent"),
        ({"path": "/proxy"}, "models/gemini-3.8-flash", "https://gemini.test/proxy/gemini-3.8-flash:generateContent"),
        ({}, "odd?key=1#x", "https://gemini.test/v1beta/models/odd%3Fkey%3D1%23x:generateContent"),
        ({}, "../../evil/path", "https://gemini.test/v1beta/models/..%2F..%2Fevil%2Fpath:generateContent"),
    ],
)
def test_the_address_can_be_configured_and_a_models_id_cannot_break_out_of_it(
    changes: dict[str, str], offer_id: str, url: str
) -> None:
    wire = gemini.build_request(deployment(GOOGLE.model_copy(update=changes), offer_id=offer_id), ask(), api_key="k")

    assert wire.url == url


def test_parameters_go_into_the_generation_config() -> None:
    request = ask(
        max_tokens=10, temperature=0.0, top_p=0.5, stop=("A", "B"), effort="low", response_schema={"type": "object"}
    )

    config = sent(gemini.build_request(FLASH, request, api_key="k"))["generationConfig"]

    assert config == {
        "maxOutputTokens": 10,
        "temperature": 0.0,
        "topP": 0.5,
        "stopSequences": ["A", "B"],
        "responseMimeType": "application/json",
        "responseJsonSchema": {"type": "object"},
        "thinkingConfig": {"thinkingLevel": "low"},
    }


def test_no_thinking_is_a_budget_of_nothing_because_there_is_no_such_level() -> None:
    config = sent(gemini.build_request(FLASH, ask(effort="none"), api_key="k"))["generationConfig"]

    assert config["thinkingConfig"] == {"thinkingBudget": 0}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", None),
        ("none", {"functionCallingConfig": {"mode": "NONE"}}),
        ("required", {"functionCallingConfig": {"mode": "ANY"}}),
        ("get_weather", {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["get_weather"]}}),
    ],
)
def test_tools_and_the_choice_between_them_are_sent(choice: str, expected: object) -> None:
    request = ask(tools=(WEATHER, Tool("now", "The time.", {})), tool_choice=choice)

    sent_body = sent(gemini.build_request(FLASH, request, api_key="k"))

    assert sent_body["tools"] == [
        {
            "functionDeclarations": [
                {"name": "get_weather", "description": "Weather now.", "parametersJsonSchema": WEATHER.parameters},
                {"name": "now", "description": "The time."},
            ]
        }
    ]
    assert sent_body.get("toolConfig") == expected


def test_a_search_is_a_tool_and_can_stand_beside_functions() -> None:
    alone = sent(gemini.build_request(FLASH, ask(web_search=True), api_key="k"))
    beside = sent(gemini.build_request(FLASH, ask(web_search=True, tools=(WEATHER,)), api_key="k"))

    assert alone["tools"] == [{"googleSearch": {}}]
    assert "toolConfig" not in alone
    assert beside["tools"][1] == {"googleSearch": {}}
    assert beside["toolConfig"] == {"includeServerSideToolInvocations": True}


def test_images_go_inline_or_by_address() -> None:
    images = (
        Image(data="aGk=", media_type="image/webp"),
        Image(url="https://x.test/a.PNG?size=1"),
        Image(url="https://x.test/a"),
    )

    parts = sent(gemini.build_request(FLASH, ask(said("user", *images)), api_key="k"))["contents"][0]["parts"]

    assert parts == [
        {"inlineData": {"mimeType": "image/webp", "data": "aGk="}},
        {"fileData": {"mimeType": "image/png", "fileUri": "https://x.test/a.PNG?size=1"}},
        {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://x.test/a"}},
    ]


def test_results_of_parallel_calls_share_one_turn_and_name_their_tools() -> None:
    request = ask(
        "Weather?",
        said("assistant", ToolCall("t1", "get_weather", '{"city":"Bern"}'), ToolCall("t2", "now", "")),
        said("tool", ToolResult("t1", "get_weather", "snow")),
        said("tool", ToolResult("t2", "", "no clock", is_error=True)),
        tools=(WEATHER,),
    )

    contents = sent(gemini.build_request(FLASH, request, api_key="k"))["contents"]

    assert contents[2] == {
        "role": "user",
        "parts": [
            {"functionResponse": {"id": "t1", "name": "get_weather", "response": {"output": "snow"}}},
            {"functionResponse": {"id": "t2", "name": "now", "response": {"error": "no clock"}}},
        ],
    }


@pytest.mark.parametrize(("thinks", "signature"), [("default", SKIP), ("always", SKIP), ("no", None)])
def test_calls_another_model_made_pass_where_signatures_are_demanded(thinks: str, signature: str | None) -> None:
    calls = said("assistant", "Hm.", ToolCall("t1", "a", "{}"), ToolCall("t2", "b", "{}"))

    wire = gemini.build_request(deployment(GOOGLE, thinks=thinks), ask("?", calls), api_key="k")

    _, first, second = sent(wire)["contents"][1]["parts"]
    assert first.get("thoughtSignature") == signature
    assert second == {"functionCall": {"id": "t2", "name": "b", "args": {}}}


@pytest.mark.parametrize(
    "request_messages",
    [
        (said("system", "Only this."),),
        (said("user", ""),),
        (said("user", "?"), said("assistant", ToolCall("t1", "now", "not JSON"))),
        (said("user", "?"), said("tool", ToolResult("t9", "", "whose?"))),
    ],
)
def test_what_this_format_cannot_say_is_refused_before_it_is_sent(request_messages: tuple[Message, ...]) -> None:
    with pytest.raises(InvalidRequest, match="messages: "):
        gemini.build_request(FLASH, ask(*request_messages), api_key="k")


# --- The way back of what only the provider can read -------------------------------------------------------


def turn_of(answer: Answer, text: str | None = None) -> Message:
    parts = [text if text is not None else answer.text, *answer.tool_calls]
    return said("assistant", *parts, state=answer.provider_state)


def parts_of(turn: Message) -> list[object]:
    return sent(gemini.build_request(FLASH, ask("?", turn, "Go on."), api_key="k"))["contents"][1]["parts"]


def test_signatures_go_back_on_the_calls_they_came_with() -> None:
    answer = gemini.parse_response(body("gemini/tools.json"))

    parts = parts_of(turn_of(answer))

    ids = [call.id for call in answer.tool_calls]
    assert parts == [
        {
            "functionCall": {"id": ids[0], "name": "get_weather", "args": {"city": "Zürich"}},
            "thoughtSignature": "CpcFAVSoXO5zaWduYXR1cmUgb25l",
        },
        {"functionCall": {"id": ids[1], "name": "get_weather", "args": {"city": "Bern"}}},
        {"functionCall": {"id": ids[2], "name": "get_time", "args": {}}},
    ]


def test_what_the_servers_searched_goes_back_unchanged() -> None:
    answer = gemini.parse_response(body("gemini/grounded.json"))

    parts = parts_of(turn_of(answer))

    assert parts == load("gemini/grounded.json")["candidates"][0]["content"]["parts"]


def test_a_signature_at_the_end_of_a_streamed_text_goes_back_at_its_end() -> None:
    _, answer = read_stream(gemini, events("gemini/stream_text.sse"))

    parts = parts_of(turn_of(answer))

    assert parts == [{"text": "The old bridge"}, {"text": "", "thoughtSignature": "CiYBjz1rXx9zaWduYXR1cmU="}]


def test_an_edit_to_the_text_is_obeyed_and_not_undone_by_the_copy() -> None:
    answer = gemini.parse_response(body("gemini/text.json"))

    parts = parts_of(turn_of(answer, "[REDACTED]"))

    assert "Hello from Gemini." not in answer.provider_state
    assert parts == [{"text": "[REDACTED]", "thoughtSignature": "CiQBVKhc7kBvbmUgc2lnbmF0dXJlIG9mIGEgdGhvdWdodA=="}]


def test_an_answer_that_can_go_on_goes_on_by_its_token() -> None:
    answer = gemini.parse_response(body("gemini/continuation.json"))

    sent_body = sent(gemini.build_request(FLASH, ask("Write a novel.", turn_of(answer)), api_key="k"))

    assert answer.finish == "continue"
    assert sent_body["continuationToken"] == "Q29udGludWUgaGVyZQ=="
    assert sent_body["contents"] == [{"role": "user", "parts": [{"text": "Write a novel."}]}]


@pytest.mark.parametrize("state", ["not JSON", '{"format":"messages","blocks":[{"type":"thinking"}],"token":"x"}'])
def test_state_of_another_format_is_not_sent(state: str) -> None:
    parts = parts_of(said("assistant", "Hello.", state=state))

    assert parts == [{"text": "Hello."}]


@given(bodies(ANSWERS))
@settings(deadline=None)
def test_whatever_state_an_answer_left_can_be_sent_back(damaged: bytes) -> None:
    try:
        answer = gemini.parse_response(damaged)
    except ProviderError:
        return

    wire = gemini.build_request(FLASH, ask("?", turn_of(answer), "Go on."), api_key="k")

    assert sent(wire)["contents"][-1]["role"] == "user"
