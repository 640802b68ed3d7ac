# ruff: noqa: RUF001 - people write in many alphabets
"""When an answer is not good enough, and above all when it is."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra_router.policy import escalation
from orchestra_router.types import Answer, CompletionRequest, ToolCall
from worlds import ask

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def wrong(text: str, request: CompletionRequest | None = None, **answer: object) -> str:
    """The name of what is wrong with an answer of `text`; "" when nothing is."""
    flaw = escalation.flaw(Answer(text=text, **answer), request or ask("How?"))  # pyright: ignore[reportArgumentType]
    return flaw.name if flaw else ""


@pytest.mark.parametrize("text", ["", " \n\t", "\u3000"])
def test_an_answer_without_text_is_empty(text: str) -> None:
    assert wrong(text) == "empty"


def test_an_answer_that_calls_a_tool_needs_no_text() -> None:
    assert wrong("", tool_calls=(ToolCall("1", "look", "{}"),)) == ""


def test_an_answer_cut_at_its_limit_is_truncated() -> None:
    assert wrong("Once upon a", finish="length") == "truncated"


@pytest.mark.parametrize(
    "text",
    [
        "I cannot help with that.",
        "I'm sorry, but I can't assist with that request.",
        "I’m sorry, I can’t help with this.",
        "Sorry, I am unable to provide real-time data.",
        "As an AI language model, I don't have access to your files.",
        "I do not have access to the internet, so I can't look that up.",
        "Unfortunately, I am not able to open links.",
        "I don't know.",
        "Es tut mir leid, aber ich kann dabei nicht helfen.",
        "Ich kann Ihnen bei dieser Anfrage leider nicht weiterhelfen.",
        "Je suis désolé, mais je ne peux pas vous aider.",
        "Lo siento, pero no puedo ayudar con eso.",
        "Mi dispiace, ma non posso aiutarti.",
        "Desculpe, mas não posso ajudar com isso.",
        "Het spijt me, maar ik kan daar niet bij helpen.",
        "Przykro mi, ale nie mogę w tym pomóc.",
        "Извините, но я не могу помочь с этим.",
        "Üzgünüm, bu konuda yardımcı olamam.",
        "抱歉，我无法提供这方面的帮助。",
        "申し訳ありませんが、お手伝いできません。",
        "죄송하지만 도와드릴 수 없습니다.",
        "عذرًا، لا أستطيع مساعدتك في ذلك.",
        "क्षमा करें, मैं इसमें मदद नहीं कर सकता।",
    ],
)
def test_a_refusal_is_seen_in_many_languages(text: str) -> None:
    assert wrong(text) == "refused"


@pytest.mark.parametrize(
    "text",
    [
        "I cannot recommend this restaurant enough: the soup alone is worth the trip.",
        "I can't believe how well this works.",
        "I don't know a single better introduction than the first chapter of SICP, which begins with procedures.",
        "Sorry to hear that! Try turning it off and on again.",
        "Unfortunately, the meeting was moved to Friday.",
        "As an AI engineer, you will write a lot of Python.",
        "You cannot divide by zero, so the function raises.",
        "The model can't help but repeat itself when the temperature is 0.",
        "No puedo evitar sonreír cuando llueve.",
        "Je ne regrette rien.",
        "Ich kann dir drei Bücher empfehlen.",
        "我不能同意更多：这是最好的一章。",
        "죄송하지만 늦을 것 같습니다라고 쓰면 됩니다.",
        "I'm sorry for your loss. Here is a draft of the letter you asked for.",
        "Извините за опоздание.",
        "42",
    ],
)
def test_what_only_sounds_like_a_refusal_is_an_answer(text: str) -> None:
    assert wrong(text) == ""


def test_a_long_answer_that_begins_with_a_regret_is_an_answer() -> None:
    assert (
        wrong("I'm sorry, but I can't help with the first part. " + "As to the second: it works like this. " * 30) == ""
    )


def test_a_refusal_that_the_question_asks_to_translate_is_an_answer() -> None:
    question = ask("Put into formal English: sry, i can't help with that")

    assert wrong("I can't help with that.", question) == ""


def test_a_refusal_that_the_provider_marks_is_one_in_any_words() -> None:
    assert wrong("No.", finish="content_filter") == "refused"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('{"n": 1}', ""),
        ('```json\n{"n": 1}\n```', ""),
        ('{"n": "one"}', "off_schema"),
        ("{}", "off_schema"),
        ("The number is 1.", "off_schema"),
        ('Here it is: {"n": 1}', "off_schema"),
    ],
)
def test_an_answer_must_be_what_the_schema_says(text: str, name: str) -> None:
    assert wrong(text, ask("How many?", response_schema=SCHEMA)) == name


def test_what_does_not_fit_a_schema_is_said_without_the_answers_own_words() -> None:
    flaw = escalation.off_schema(Answer(text='{"n": "secret"}'), ask("?", response_schema=SCHEMA))

    assert str(flaw) == "off_schema: `type` of the schema does not hold at properties/n"


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "https://example.com/schema.json"},
        {"type": 7},
        {"properties": []},
        {"pattern": "("},
        {"pattern": "((?:a{500}){500}){500}"},
        {"$defs": {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(60)}, "$ref": "#/$defs/d0"},
    ],
    ids=["itself", "elsewhere", "no type", "no properties", "no pattern", "a bomb", "references that multiply"],
)
def test_a_schema_that_cannot_be_checked_holds_nothing_against_an_answer(schema: dict[str, object]) -> None:
    assert wrong('"text"', ask("?", response_schema=schema)) == ""


def test_the_callers_pattern_must_match_somewhere() -> None:
    assert wrong("Total: 12 EUR", ask("?", accept=r"\d+ EUR")) == ""
    assert wrong("Twelve euros", ask("?", accept=r"\d+ EUR")) == "not_accepted"


CODING = ask("Write it.", task="coding")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("```python\ndef f():\n    return 1\n```", ""),
        ("```python\ndef f(:\n```", "broken_code"),
        ("1. First:\n\n   ```python\n   x = 1\n   ```\n", ""),
        ("```python\n>>> f()\n1\n```", ""),
        ("```python\ndef f():\n    ...\n```", ""),
        ("```python\n%matplotlib inline\nimport numpy\n```", ""),
        ("```python\ntype Pair = tuple[int, int]\n```", ""),
        ('```python\nx = "\\d"\n```', ""),
        ('```json\n{"a": 1}\n```', ""),
        ('```json\n{"a": 1,}\n```', "broken_code"),
        ('```json\n{"a": 1, ...}\n```', ""),
        ('```json\n{\n  // the name\n  "a": 1\n}\n```', ""),
        ('```json\n{"a": 1}\n{"a": 2}\n```', ""),
        ("```toml\na = 1\n```", ""),
        ("```toml\na = \n```", "broken_code"),
        ("```rust\nfn main( {\n```", ""),
        ("```python\ndef f():\n    return 1", "broken_code"),
        ("Use `sorted`.", ""),
        ("```python\nx = " + "-" * 50_000 + "1\n```", ""),
    ],
)
def test_code_that_was_asked_for_must_parse_where_we_can_tell(text: str, name: str) -> None:
    assert wrong(text, CODING) == name


def test_code_that_nobody_asked_for_is_not_looked_at() -> None:
    assert wrong("```python\ndef f(:\n```") == ""


def test_our_own_code_parses() -> None:
    for path in sorted(Path(escalation.__file__).parent.glob("*.py")):
        assert wrong(f"```python\n{path.read_text(encoding='utf-8')}\n```", CODING) == ""


@given(text=st.text(max_size=300), task=st.sampled_from(["coding", "general_chat"]))
def test_any_text_can_be_looked_at(text: str, task: str) -> None:
    request = ask("?", task=task, response_schema=SCHEMA if len(text) % 2 else None)

    assert wrong(text, request) in {"", "empty", "refused", "off_schema", "broken_code"}
