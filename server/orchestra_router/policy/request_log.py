"""What is kept of requests and answers, where the settings ask for it: what the provider saw, and less.

The guard has taken out what the settings say. Here everything it knows goes, whatever they let pass to a model: a log is
read by others, later.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Protocol

import anyio.to_thread

from orchestra_router.errors import GuardrailBlocked
from orchestra_router.policy.estimate import prompt_bytes
from orchestra_router.policy.guardrails import LARGE_TEXT_BYTES, Guardrails
from orchestra_router.policy.redactor import everything
from orchestra_router.store.log_records import Exchange
from orchestra_router.types import Answer, CompletionRequest, Image, Message, Part, Text, ToolCall, ToolResult

LONGEST_TEXT = 100_000
"""Characters of one text that are kept."""
WITHHELD = "[a text that could not be checked]"


class LogSettings(Protocol):
    @property
    def log_requests(self) -> bool: ...

    @property
    def log_responses(self) -> bool: ...

    @property
    def log_mb(self) -> float: ...


class RequestLog:
    def __init__(self, settings: LogSettings, keys: Iterable[str], patterns: Mapping[str, str]) -> None:
        self._settings = settings
        self._keys, self._patterns = tuple(keys), dict(patterns)
        self._guardrails: Guardrails | None = None

    @property
    def is_kept(self) -> bool:
        return self._settings.log_requests or self._settings.log_responses

    async def exchange(self, sent: CompletionRequest | None, answer: Answer | None) -> Exchange | None:
        """What to keep of a request as it was sent, and of its answer before anything was put back; None where nothing is."""
        asked = sent if self._settings.log_requests else None
        answered = answer if self._settings.log_responses else None
        if asked is None and answered is None:
            return None
        if (0 if asked is None else prompt_bytes(asked)) + len(answered.text if answered else "") < LARGE_TEXT_BYTES:
            return self._exchange(asked, answered)
        with anyio.CancelScope(shield=True):
            return await anyio.to_thread.run_sync(self._exchange, asked, answered)

    def _exchange(self, asked: CompletionRequest | None, answered: Answer | None) -> Exchange:
        return Exchange(
            asked=None if asked is None else self._asked(asked),
            answered=None if answered is None else self._answered(answered),
            most_bytes=round(self._settings.log_mb * 1_000_000),
        )

    def _asked(self, request: CompletionRequest) -> str:
        try:
            request = self._everything().check_prompt(request).request
        except GuardrailBlocked:
            return json.dumps({"withheld": WITHHELD})
        return _json(
            messages=[_message(message) for message in request.messages],
            tools=[
                {"name": tool.name, "description": _cut(tool.description), "parameters": tool.parameters}
                for tool in request.tools
            ],
            response_schema=request.response_schema,
            stop=list(request.stop),
        )

    def _answered(self, answer: Answer) -> str:
        try:
            answer = self._everything().check_answer(answer)
        except GuardrailBlocked:
            return json.dumps({"withheld": WITHHELD})
        return _json(
            text=_cut(answer.text),
            tool_calls=[_part(call) for call in answer.tool_calls],
            citations=[{"url": cited.url, "title": cited.title} for cited in answer.citations],
            finish=answer.finish,
        )

    def _everything(self) -> Guardrails:
        if self._guardrails is None:
            self._guardrails = Guardrails(everything(self._keys, self._patterns))
        return self._guardrails


def _message(message: Message) -> dict[str, object]:
    return {"role": message.role, "parts": [_part(part) for part in message.parts]}


def _part(part: Part) -> dict[str, object]:
    match part:
        case Text():
            return {"text": _cut(part.text)}
        case Image():
            # What is in it cannot be checked.
            return {"image": part.url or f"{part.media_type}, {len(part.data) * 3 // 4:,} bytes"}
        case ToolCall():
            return {"tool": part.name, "arguments": _cut(part.arguments)}
        case ToolResult():
            return {"tool": part.name, "result": _cut(part.content)}


def _cut(text: str) -> str:
    """Only what was checked as a whole is cut: half a number is known by nobody."""
    more = len(text) - LONGEST_TEXT
    return text if more <= 0 else f"{text[:LONGEST_TEXT]} [... {more:,} characters more]"


def _json(**fields: object) -> str:
    return json.dumps({name: value for name, value in fields.items() if value}, ensure_ascii=False)
