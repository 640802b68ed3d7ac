"""What a person's own numbers go through on their way to a model and back."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra_router.errors import GuardrailBlocked
from orchestra_router.policy.guardrails import Action, Guardrails, given_rules
from orchestra_router.types import Answer, CompletionRequest, Image, Message, Text, Tool, ToolCall, ToolResult

SSN = "536-90-4399"
CARD = "4111111111111111"


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


def test_a_number_the_model_made_up_is_replaced_and_not_restored() -> None:
    checked = guard().check_answer(Answer(text=f"Try {SSN}."))

    assert checked.text == "Try [SSN_1]."


def test_block_refuses_and_says_what_to_do_without_repeating_the_number() -> None:
    with pytest.raises(GuardrailBlocked, match='guard_ssn = "redact"') as caught:
        guard(ssn="block").check_prompt(ask(f"My SSN is {SSN}"))

    assert SSN not in str(caught.value)


def test_flag_lets_the_number_pass_and_counts_it() -> None:
    guarded = guard(ssn="flag").check_prompt(ask(f"My SSN is {SSN}"))

    assert guarded.request.messages[0].text == f"My SSN is {SSN}"
    assert guarded.found == {"ssn": 1}


def test_what_cannot_be_redacted_is_refused() -> None:
    by_address = CompletionRequest(messages=(Message("user", (Image(url=f"https://example.com/{SSN}.png"),)),))
    by_state = replace(ask("go on"), messages=(Message("assistant", (Text("..."),), provider_state=f'"{CARD}"'),))

    for request in (by_address, by_state):
        with pytest.raises(GuardrailBlocked):
            guard().check_prompt(request)


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
