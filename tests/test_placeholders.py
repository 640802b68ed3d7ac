"""Which placeholder a value gets through a session, and whose values come back."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clocks import FakeClock
from orchestra_router.policy import placeholders
from orchestra_router.policy.guardrails import Guarded, Guardrails
from orchestra_router.policy.rules.all_rules import rules_for
from orchestra_router.policy.rules.pii import given_rules
from orchestra_router.types import Answer, CompletionRequest, Message, Scope, Text, ToolCall
from test_guard_rules import Wanted

ANNA, BOB, CARL = "536-90-4399", "219-09-9999", "408-51-7726"
RULES = given_rules(ssn="redact", credit_card="redact")
EVERY_NAME = " ".join(f"[SSN_{number}]" for number in range(1, 30))


def ask(text: str, session: str = "", user: str = "") -> CompletionRequest:
    return CompletionRequest(messages=(Message("user", (Text(text),)),), scope=Scope(user=user, session=session))


def sent(guardrails: Guardrails, text: str, session: str = "", user: str = "") -> str:
    return guardrails.check_prompt(ask(text, session, user)).request.messages[0].text


def test_in_a_session_a_value_keeps_its_placeholder() -> None:
    guardrails = Guardrails(RULES, clock=FakeClock())

    assert sent(guardrails, f"I am {ANNA}.", "a") == "I am [SSN_1]."
    assert sent(guardrails, f"Is {BOB} older than {ANNA}?", "a") == "Is [SSN_2] older than [SSN_1]?"


def test_without_a_session_each_request_counts_from_one() -> None:
    guardrails = Guardrails(RULES, clock=FakeClock())

    assert sent(guardrails, f"I am {ANNA}.") == "I am [SSN_1]."
    assert sent(guardrails, f"I am {BOB}.") == "I am [SSN_1]."


def test_sessions_of_one_name_are_apart_where_their_users_are() -> None:
    guardrails = Guardrails(RULES, clock=FakeClock())

    assert sent(guardrails, f"I am {ANNA}.", "a", user="anna") == "I am [SSN_1]."
    assert sent(guardrails, f"I am {BOB}.", "a", user="bob") == "I am [SSN_1]."


def test_an_answer_gives_back_what_its_own_request_held() -> None:
    guardrails = Guardrails(RULES, clock=FakeClock())
    guardrails.check_prompt(ask(f"I am {ANNA}.", "a"))
    guarded = guardrails.check_prompt(ask(f"And {BOB}?", "a"))

    assert guarded.restore(Answer(text="[SSN_1], [SSN_2]")).text == f"[SSN_1], {BOB}"


def test_a_placeholder_the_caller_writes_later_is_not_taken_for_the_sessions() -> None:
    guardrails = Guardrails(RULES, clock=FakeClock())
    guardrails.check_prompt(ask(f"I am {ANNA}.", "a"))

    guarded = guardrails.check_prompt(ask(f"What is [SSN_1]? I am {ANNA}.", "a"))

    assert guarded.request.messages[0].text == "What is [SSN_1]? I am [SSN_2]."
    assert guarded.restore(Answer(text="[SSN_1] is no number, [SSN_2] is.")).text == f"[SSN_1] is no number, {ANNA} is."
    assert sent(guardrails, f"{ANNA}, {BOB}", "a") == "[SSN_2], [SSN_3]"


@pytest.mark.parametrize(
    "request_",
    [
        replace(ask(ANNA), response_schema={"const": "[SSN_1]"}),
        CompletionRequest(messages=(Message("assistant", (Text(ANNA), ToolCall("1", "f", "{}"))),)),
        CompletionRequest(
            messages=(
                Message("assistant", (Text(ANNA),)),
                Message("assistant", (ToolCall("1", "f", '{"a": "\\u005bSSN_1]"}'),)),
            )
        ),
    ],
    ids=["in a schema", "nowhere", "in escapes"],
)
def test_a_placeholder_of_the_callers_is_seen_wherever_a_model_reads_it(request_: CompletionRequest) -> None:
    guarded = Guardrails(RULES).check_prompt(request_)

    theirs = "SSN_1]" in json.dumps([str(request_.response_schema), str(request_.messages)])
    assert guarded.originals == {"[SSN_2]" if theirs else "[SSN_1]": ANNA}


def test_a_session_is_forgotten_after_an_idle_hour_and_not_before() -> None:
    clock = FakeClock()
    guardrails = Guardrails(RULES, clock=clock)
    sent(guardrails, f"{ANNA} {BOB}", "a")

    clock.advance(3599)
    assert sent(guardrails, BOB, "a") == "[SSN_2]"
    clock.advance(3599)
    assert sent(guardrails, BOB, "a") == "[SSN_2]"
    clock.advance(3600)
    assert sent(guardrails, BOB, "a") == "[SSN_1]"


def test_any_request_drops_the_values_of_idle_sessions_from_memory() -> None:
    clock = FakeClock()
    guardrails = Guardrails(RULES, clock=clock)
    sent(guardrails, ANNA, "a")

    clock.advance(3600)
    sent(guardrails, "Hello")

    assert not guardrails._sessions._sessions  # pyright: ignore[reportPrivateUsage]


def test_the_session_used_least_recently_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placeholders, "MOST_SESSIONS", 2)
    guardrails = Guardrails(RULES, clock=FakeClock())
    for session in ("a", "b", "a", "c"):
        sent(guardrails, f"{ANNA} {BOB}", session)

    assert sent(guardrails, BOB, "a") == "[SSN_2]"
    assert sent(guardrails, BOB, "b") == "[SSN_1]"


def test_a_full_session_remembers_no_more_and_mixes_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placeholders, "ROOM_CHARACTERS", 250)
    guardrails = Guardrails(RULES, clock=FakeClock())

    assert sent(guardrails, f"{ANNA} {BOB} {CARL} {CARL}", "a") == "[SSN_1] [SSN_2] [SSN_3] [SSN_3]"
    assert sent(guardrails, f"{CARL} {BOB}", "a") == "[SSN_4] [SSN_2]"


def test_a_value_inside_another_comes_back_whole() -> None:
    token = "glpat-" + "x8Kd02nQzLw91TbVq3Rm"
    guarded = Guardrails(rules_for(Wanted())).check_prompt(ask(f"git clone https://oauth2:{token}@gitlab.com/a.git"))

    sent_ = guarded.request.messages[0].text

    assert token not in sent_
    assert guarded.restore_text(sent_) == f"git clone https://oauth2:{token}@gitlab.com/a.git"


def test_prompts_checked_at_once_in_threads_agree_on_the_names() -> None:
    guardrails = Guardrails(RULES, clock=FakeClock())
    numbers = [f"{number:03d}-12-{number:04d}" for number in range(300)]

    def check(turn: int) -> Guarded:
        return guardrails.check_prompt(ask(" ".join(numbers[turn:]), "a"))

    with ThreadPoolExecutor(8) as threads:
        checked = list(threads.map(check, range(64)))

    names: dict[str, set[str]] = {}
    for guarded in checked:
        for name, original in guarded.originals.items():
            names.setdefault(name, set()).add(original)
    assert len(names) == 300
    assert all(len(originals) == 1 for originals in names.values())


calls = st.tuples(st.sampled_from(["", "a", "b"]), st.lists(st.sampled_from([ANNA, BOB, CARL, "[SSN_1]", "[SSN_2]"])))


@given(st.lists(calls, max_size=8))
def test_no_answer_ever_holds_a_value_that_its_prompt_did_not(history: list[tuple[str, list[str]]]) -> None:
    guardrails = Guardrails(RULES, clock=FakeClock())

    for session, words in history:
        guarded = guardrails.check_prompt(ask(" ".join(words), session))

        assert guarded.restore_text(guarded.request.messages[0].text) == " ".join(words)
        back = guarded.restore_text(EVERY_NAME)
        assert set(re.findall(r"\d{3}-\d{2}-\d{4}", back)) == {word for word in words if word[0].isdigit()}
        assert all(word in back for word in words)
