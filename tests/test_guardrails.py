"""What a person's own numbers go through on their way to a model and back."""

import json
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra_router.errors import GuardrailBlocked, InvalidRequest
from orchestra_router.policy.guardrails import Guardrails, is_id
from orchestra_router.policy.rules.base import Action
from orchestra_router.policy.rules.pii import given_rules
from orchestra_router.types import Answer, CompletionRequest, Image, Message, Part, Text, Tool, ToolCall, ToolResult

SSN = "536-90-4399"
CARD = "4111111111111111"
ESCAPED = "".join(f"\\u{ord(character):04x}" for character in SSN)


def guard(ssn: Action = "redact", credit_card: Action = "redact") -> Guardrails:
    return Guardrails(given_rules(ssn=ssn, credit_card=credit_card))


def ask(text: str) -> CompletionRequest:
    return CompletionRequest(messages=(Message("user", (Text(text),)),))


def test_a_number_is_replaced_before_sending_and_put_back_in_the_answer() -> None:
    guarded = guard().check_prompt(ask(f"My SSN is {SSN}. Repeat it."))

    answer = guarded.restore(Answer(text="You said [SSN_1]."))

    assert guarded.request.messages[0].text == "My SSN is [SSN_1]. Repeat it."
    assert answer.text == f"You said {SSN}."
    assert guarded.found == {"ssn": 1}


def test_the_same_number_gets_the_same_placeholder_in_every_message() -> None:
    request = CompletionRequest(
        messages=(
            Message("system", (Text(f"The customer is {SSN}."),)),
            Message("user", (Text(f"Who is {SSN}, and who is 219-09-9999?"),)),
        )
    )

    checked = guard().check_prompt(request).request

    assert checked.messages[0].text == "The customer is [SSN_1]."
    assert checked.messages[1].text == "Who is [SSN_1], and who is [SSN_2]?"


def test_tool_arguments_results_descriptions_and_schemas_are_scanned_and_stay_json() -> None:
    request = CompletionRequest(
        messages=(
            Message("assistant", (ToolCall("1", "pay", json.dumps({"card": int(CARD), "note": f"for {SSN}"})),)),
            Message("tool", (ToolResult("1", "pay", json.dumps([{"card": CARD}])),)),
        ),
        tools=(Tool("pay", f"For example {CARD}", {"type": "object", "properties": {"card": {"default": CARD}}}),),
        response_schema={"const": SSN},
    )

    checked = guard().check_prompt(request).request

    call, result = checked.messages[0].parts[0], checked.messages[1].parts[0]
    assert isinstance(call, ToolCall)
    assert json.loads(call.arguments) == {"card": "[CREDIT_CARD_1]", "note": "for [SSN_1]"}
    assert isinstance(result, ToolResult)
    assert json.loads(result.content) == [{"card": "[CREDIT_CARD_1]"}]
    assert checked.tools[0].description == "For example [CREDIT_CARD_1]"
    assert checked.tools[0].parameters["properties"] == {"card": {"default": "[CREDIT_CARD_1]"}}
    assert checked.response_schema == {"const": "[SSN_1]"}


def test_a_tool_call_in_the_answer_gets_the_number_back() -> None:
    guarded = guard().check_prompt(ask(f"Charge {CARD}"))
    wanted = Answer(text="", tool_calls=(ToolCall("1", "pay", '{"card": "[CREDIT_CARD_1]"}'),))

    restored = guarded.restore(wanted)

    assert json.loads(restored.tool_calls[0].arguments) == {"card": CARD}


def test_a_placeholder_the_caller_wrote_himself_is_left_alone() -> None:
    guarded = guard().check_prompt(ask(f"Explain [SSN_1]. Mine is {SSN}."))

    answer = guarded.restore(Answer(text="[SSN_1] is a placeholder, [SSN_2] is yours."))

    assert guarded.request.messages[0].text == "Explain [SSN_1]. Mine is [SSN_2]."
    assert answer.text == f"[SSN_1] is a placeholder, {SSN} is yours."


def test_a_number_the_model_made_up_is_never_taken_for_the_callers() -> None:
    guarded = guard().check_prompt(ask(f"Compare {SSN} with Bob's."))
    made_up = Answer(text="[SSN_1] is not 219-09-9999.", tool_calls=(ToolCall("1", "f", '{"bob": "219-09-9999"}'),))

    answer = guarded.restore(guard().check_answer(made_up))

    assert answer.text == f"{SSN} is not [SSN redacted]."
    assert json.loads(answer.tool_calls[0].arguments) == {"bob": "[SSN redacted]"}


def test_block_refuses_and_says_what_to_do_without_repeating_the_number() -> None:
    with pytest.raises(GuardrailBlocked, match='guard_ssn = "redact"') as caught:
        guard(ssn="block").check_prompt(ask(f"My SSN is {SSN}"))

    assert SSN not in str(caught.value)


def test_flag_lets_the_number_pass_and_counts_it() -> None:
    guarded = guard(ssn="flag").check_prompt(ask(f"My SSN is {SSN}"))

    assert guarded.request.messages[0].text == f"My SSN is {SSN}"
    assert guarded.found == {"ssn": 1}


def said(*parts: Part, state: str = "") -> CompletionRequest:
    return CompletionRequest(messages=(Message("assistant", parts, state),))


UNCHANGEABLE = {
    "an image's address": said(Image(url=f"https://example.com/{SSN}.png")),
    "an image's type": said(Image(data="AAAA", media_type=f"image/{SSN}")),
    "a provider's state": said(Text("..."), state=f'"{CARD}"'),
    "a state in escapes": said(Text("..."), state=f'{{"thought": "{ESCAPED}"}}'),
    "a state after a line break": said(Text("..."), state=json.dumps({"thought": f"It is\n{SSN}"})),
    "a call's id": said(ToolCall(SSN, "f", "{}")),
    "a call's name": said(ToolCall("1", SSN, "{}")),
    "a result's call": said(ToolResult(SSN, "f", "ok")),
    "a result's tool": said(ToolResult("1", SSN, "ok")),
    "a tool's name": replace(ask("Go on."), tools=(Tool(SSN, "", {}),)),
    "a chosen tool": replace(ask("Go on."), tool_choice=SSN),
    "a model": replace(ask("Go on."), model=SSN),
    "texts around a call": said(Text(SSN[:7]), ToolCall("1", "f", "{}"), Text(SSN[7:])),
}


@pytest.mark.parametrize("request_", UNCHANGEABLE.values(), ids=UNCHANGEABLE)
@pytest.mark.parametrize("action", ["redact", "block"])
def test_what_cannot_be_redacted_is_refused(request_: CompletionRequest, action: Action) -> None:
    with pytest.raises(GuardrailBlocked) as caught:
        guard(ssn=action).check_prompt(request_)

    assert SSN not in str(caught.value)


def test_a_bare_number_is_no_picture_though_its_figures_are_those_of_base64() -> None:
    with pytest.raises(GuardrailBlocked) as caught:
        guard().check_prompt(said(Image(data=CARD, media_type="image/png")))

    assert CARD not in str(caught.value)


def test_a_number_spread_over_neighbouring_texts_is_found() -> None:
    request = said(Text(f"It is {SSN[:7]}"), Text(SSN[7:]), Text(", she said."))

    assert guard().check_prompt(request).request.messages[0].text == "It is [SSN_1], she said."


HIDDEN = [
    f'{{"ssn": "{SSN}", "ssn": ""}}',
    f'{{"ssn": ["{ESCAPED}"], "ssn": ""}}',
    f'{{"ssn": "{ESCAPED}"}}',
    f'{{"{ESCAPED}": 1}}',
    f'{{"text": "a line\\n{SSN}"}}',
    f'{{"broken": "{ESCAPED}"',
    f'{{"broken": "{SSN}"',
    f'{{"half": "\\ud800 {SSN}"}}',
    '{"fraction": 100.1234567890123456}',
    "[" * 100_000 + f'"{ESCAPED}"',
    "[" * 700 + f'"{ESCAPED}"' + "]" * 700,
]


@pytest.mark.parametrize("text", HIDDEN, ids=range(len(HIDDEN)))
def test_json_hides_nothing(text: str) -> None:
    checked = guard().check_prompt(said(ToolCall("1", "f", text), ToolResult("1", "f", text))).request
    answer = guard().check_answer(Answer(text="", tool_calls=(ToolCall("1", "f", text),)))

    call, result = checked.messages[0].parts
    assert isinstance(call, ToolCall)
    assert isinstance(result, ToolResult)
    for sent in (call.arguments, result.content, answer.tool_calls[0].arguments):
        assert not any(rule.pattern.search(sent) for rule in given_rules(ssn="redact", credit_card="redact"))
        assert ESCAPED not in sent
        assert sent.encode()


@pytest.mark.parametrize("text", [text for text in HIDDEN if "fraction" not in text], ids=range(len(HIDDEN) - 1))
def test_json_hides_nothing_from_block(text: str) -> None:
    with pytest.raises(GuardrailBlocked):
        guard(ssn="block").check_prompt(said(ToolResult("1", "f", text)))


def test_arguments_in_which_nothing_is_found_stay_as_the_model_wrote_them() -> None:
    text = '{"b":1.50,  "a": ["\\u00e9", 100.25, null]}'

    checked = guard().check_prompt(said(ToolCall("1", "f", text))).request

    assert checked.messages[0].parts == (ToolCall("1", "f", text),)


def test_a_schema_nested_too_deep_to_be_read_is_explained() -> None:
    schema: dict[str, object] = {}
    for _ in range(5_000):
        schema = {"items": schema}

    with pytest.raises(InvalidRequest, match="nested too deep"):
        guard().check_prompt(replace(ask("Go on."), response_schema=schema))


def test_stop_texts_and_metadata_are_scanned_like_the_prompt() -> None:
    request = replace(ask(f"I am {SSN}."), stop=(f"{SSN}!",), metadata={"who": SSN, CARD: "card"})

    checked = guard().check_prompt(request).request

    assert checked.stop == ("[SSN_1]!",)
    assert checked.metadata == {"who": "[SSN_1]", "[CREDIT_CARD_1]": "card"}


def test_a_prompt_full_of_different_numbers_is_checked_and_restored_at_once() -> None:
    text = " ".join(f"{number // 10_000:03d}-12-{number % 10_000:04d}" for number in range(100_000))
    began = time.process_time()

    guarded = guard().check_prompt(ask(text))
    restored = guarded.restore(Answer(text=guarded.request.messages[0].text))

    assert restored.text == text
    assert time.process_time() - began < 5  # it takes 0.3 s; when each number is compared with all others, minutes


@pytest.mark.parametrize(
    "text", ["gpt-6-luna", "openai/gpt-6-luna:nitro", "@cf/meta/llama", "~latest", "hf.co/a/b:Q4_K_M"]
)
def test_an_id_may_be_any_that_vendors_give(text: str) -> None:
    assert is_id(text)


@pytest.mark.parametrize(
    "text",
    ["", "x\nERROR forged", "x\n", "../../evil", "a/../b", "a/./b", "a b", "x" * 201, "mödel", "x\u2028y", '"', "<b>"],
)
def test_an_id_is_nothing_that_could_be_read_as_something_else(text: str) -> None:
    assert not is_id(text)


def test_the_map_back_is_not_in_the_repr() -> None:
    guarded = guard().check_prompt(ask(f"My SSN is {SSN}"))

    assert SSN not in repr(guarded)


@given(st.lists(st.sampled_from([SSN, CARD, "219-09-9999", "hello ", " and ", "[SSN_1]", "12", "-"]), max_size=12))
def test_no_number_is_left_and_everything_comes_back(pieces: list[str]) -> None:
    text = " ".join(pieces)
    guarded = guard().check_prompt(ask(text))

    sent = guarded.request.messages[0].text
    rules = given_rules(ssn="redact", credit_card="redact")
    assert not any(rule.pattern.search(sent) for rule in rules)
    assert guarded.restore_text(sent) == text
