"""What may leave this machine, and what may come back.

Every text that a model would read is scanned: all messages, tool arguments, tool results, tool descriptions and
the response schema. A redacted value becomes a numbered placeholder; the answer gets the value back. The map from
one to the other lives in memory, for one request, and nowhere else.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from orchestra_router.errors import GuardrailBlocked
from orchestra_router.types import Answer, CompletionRequest, Image, Message, Part, Text, Tool, ToolCall, ToolResult

Action = Literal["redact", "block", "flag", "off"]

SSN = r"\b\d{3}-\d{2}-\d{4}\b"
CREDIT_CARD = r"\b\d{16}\b"


@dataclass(frozen=True, slots=True)
class Rule:
    """A pattern, the name of what it finds, and what to do about it."""

    kind: str
    pattern: re.Pattern[str]
    action: Action


def given_rules(*, ssn: Action, credit_card: Action) -> tuple[Rule, ...]:
    """The two patterns every installation has. Both match in time linear in the text."""
    rules = (Rule("ssn", re.compile(SSN), ssn), Rule("credit_card", re.compile(CREDIT_CARD), credit_card))
    return tuple(rule for rule in rules if rule.action != "off")


@dataclass(frozen=True, slots=True)
class Guarded:
    """A request that may be sent, and what is needed to give the answer its values back."""

    request: CompletionRequest
    originals: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """Placeholder -> what stood there. Never logged, stored or sent."""
    found: Mapping[str, int] = field(default_factory=dict[str, int])
    """How many of each kind were redacted or flagged."""

    def restore(self, answer: Answer) -> Answer:
        """`answer` with the caller's own values in place of the placeholders."""
        if not self.originals:
            return answer
        calls = tuple(replace(call, arguments=self._restore_json(call.arguments)) for call in answer.tool_calls)
        return replace(answer, text=self.restore_text(answer.text), tool_calls=calls)

    def restore_text(self, text: str) -> str:
        for placeholder, original in self.originals.items():
            text = text.replace(placeholder, original)
        return text

    def _restore_json(self, text: str) -> str:
        for placeholder, original in self.originals.items():
            text = text.replace(placeholder, json.dumps(original)[1:-1])
        return text


class Guardrails:
    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = tuple(rules)

    def check_prompt(self, request: CompletionRequest) -> Guarded:
        """`request` as it may be sent.

        Raises:
            GuardrailBlocked: it holds something that must not be sent.
        """
        if not self._rules:
            return Guarded(request)
        scan = _Scan(self._rules, avoid=_all_text(request))
        checked = replace(
            request,
            messages=tuple(_checked_message(message, scan) for message in request.messages),
            tools=tuple(_checked_tool(tool, scan) for tool in request.tools),
            response_schema=None if request.response_schema is None else scan.value(request.response_schema),
            stop=tuple(scan.text(stop) for stop in request.stop),
        )
        return Guarded(checked, originals=scan.originals, found=dict(scan.found))

    def check_answer(self, answer: Answer) -> Answer:
        """`answer` with what the rules find in it replaced. Run before the caller's own values are put back.

        Raises:
            GuardrailBlocked: it holds something that must not be handed on.
        """
        if not self._rules:
            return answer
        scan = _Scan(self._rules, avoid="", whose="The answer")
        return replace(
            answer,
            text=scan.text(answer.text),
            tool_calls=tuple(replace(call, arguments=scan.json(call.arguments)) for call in answer.tool_calls),
        )


class _Scan:
    """One pass over one request or answer: the same value gets the same placeholder everywhere in it."""

    def __init__(self, rules: Sequence[Rule], *, avoid: str, whose: str = "The prompt") -> None:
        self._rules = rules
        self._avoid = avoid
        self._whose = whose
        self._placeholders: dict[tuple[str, str], str] = {}
        self.found: Counter[str] = Counter()

    @property
    def originals(self) -> dict[str, str]:
        return {placeholder: original for (_, original), placeholder in self._placeholders.items()}

    def text(self, text: str) -> str:
        for rule in self._rules:
            text = rule.pattern.sub(self._act(rule), text)
        return text

    def json(self, text: str) -> str:
        """`text`, which is JSON, scanned value by value, so that it stays JSON (a bare number becomes a string)."""
        try:
            value = json.loads(text)
        except ValueError:
            return self.text(text)
        checked = self.value(value)
        return text if checked == value else json.dumps(checked, ensure_ascii=False)

    def value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.value(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]  # any JSON
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]  # pyright: ignore[reportUnknownVariableType]  # any JSON
        if isinstance(value, int | float) and not isinstance(value, bool):
            checked = self.text(str(value))
            return value if checked == str(value) else checked
        return value

    def opaque(self, text: str, what: str) -> None:
        """Something that cannot be changed without breaking it: what would be redacted is refused."""
        for rule in self._rules:
            if rule.action in ("redact", "block") and rule.pattern.search(text):
                raise GuardrailBlocked(
                    f"{what} holds what looks like a {rule.kind}, and nothing in it can be replaced."
                )

    def _act(self, rule: Rule) -> Callable[[re.Match[str]], str]:
        def act(match: re.Match[str]) -> str:
            if rule.action == "block":
                raise GuardrailBlocked(
                    f"{self._whose} holds what looks like a {rule.kind}; it was not passed on. Remove it, or set"
                    f' guard_{rule.kind} = "redact" to send a placeholder in its place.'
                )
            self.found[rule.kind] += 1
            return match[0] if rule.action == "flag" else self._placeholder(rule.kind, match[0])

        return act

    def _placeholder(self, kind: str, original: str) -> str:
        if (known := self._placeholders.get((kind, original))) is not None:
            return known
        taken = set(self._placeholders.values())
        number = 1
        # A placeholder that the caller wrote himself would be "restored" to somebody's number.
        while (name := f"[{kind.upper()}_{number}]") in taken or name in self._avoid:
            number += 1
        self._placeholders[kind, original] = name
        return name


def _checked_message(message: Message, scan: _Scan) -> Message:
    scan.opaque(message.provider_state, "provider_state")
    return replace(message, parts=tuple(_checked_part(part, scan) for part in message.parts))


def _checked_part(part: Part, scan: _Scan) -> Part:
    match part:
        case Text():
            return Text(scan.text(part.text))
        case ToolCall():
            return replace(part, arguments=scan.json(part.arguments))
        case ToolResult():
            return replace(part, content=scan.json(part.content))
        case Image():
            scan.opaque(part.url, "An image's address")
            return part


def _checked_tool(tool: Tool, scan: _Scan) -> Tool:
    return replace(tool, description=scan.text(tool.description), parameters=scan.value(tool.parameters))


def _all_text(request: CompletionRequest) -> str:
    return "\n".join(
        part.text if isinstance(part, Text) else part.content if isinstance(part, ToolResult) else part.arguments
        for message in request.messages
        for part in message.parts
        if not isinstance(part, Image)
    )
