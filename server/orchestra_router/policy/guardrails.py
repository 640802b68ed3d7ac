"""What may leave this machine, and what may come back.

Every text that a model would read is scanned: all messages, tool arguments, tool results, tool descriptions and
the response schema; and the metadata, which is stored. A redacted value becomes a numbered placeholder; the answer
gets the value back. The map from one to the other lives in memory and nowhere else. What has to stay as it is
(names, ids, addresses, a provider's state) is refused where it would have to be changed.

A number that the model came up with gets no number of its own, so it is never taken for one of the caller's.
"""

import base64
import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from itertools import groupby
from operator import is_
from typing import Any
from urllib.parse import unquote

from orchestra_router import dense
from orchestra_router.base64_text import is_base64
from orchestra_router.clock import Clock, SystemClock
from orchestra_router.errors import GuardrailBlocked, InvalidRequest
from orchestra_router.plain_text import without_hidden
from orchestra_router.policy.placeholders import PLACEHOLDER, Placeholders, Sessions
from orchestra_router.policy.rules.base import Rule, Span, replaced
from orchestra_router.policy.rules.seen import Seen
from orchestra_router.policy.rules.sieve import Sieve
from orchestra_router.types import (
    NOBODY,
    Answer,
    Citation,
    CompletionRequest,
    Image,
    Message,
    Part,
    Scope,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    changed,
)

MAX_ID_CHARS = 200
OWN_TOOL_CHOICES = ("auto", "none", "required")
"""Words of ours, which name no tool."""
SHORT_PICTURE = 4_000
"""Characters. What claims to be a picture and is no longer is looked at as a text is."""
MOST_POLICIES = 32
"""Access keys' own policies whose rules are kept ready."""
RulesOfKey = Callable[[tuple[tuple[str, str], ...]], Sequence[Rule]]
MOST_VALUES = 200_000
"""Of JSON that is read while nobody else is served."""
LARGE_TEXT_BYTES = 500_000
"""Scanning this much takes longer than other requests should wait."""

_ID = re.compile(r"[A-Za-z0-9@~][A-Za-z0-9._:/@+~-]*")
_DRAWN_ID = re.compile(r"(?=[0-9-]*[a-f])(?:[0-9a-f]{8,64}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.IGNORECASE)
"""As programs draw them by lot, ours and UUIDs among them."""
_WORD = re.compile(r"[!-~\u00a1-\u024f]+|\S")
"""Where words are not written apart, every character is one."""
_GROUP = re.compile(r"\S*\d\S*|\S|[A-Z]{2,}\S*")
"""A word that may be one of several groups: of a number, of an account, of a word spelled out."""
_CONTEXT = re.compile(
    r"(?i)pass|reisep|pasap|licen|identi|\bid\b|ausweis|\bdni\b|\bni[ef]\b|\bcpf\b|\bbsn|pesel|aadh|\bdl\b|sozial|sécur|nhs|\btax|steuer|führers|permis|codice"
    r"|\bssn\b|_ssn|social|pw|secret|key|token|bearer|kennwort|contrase|senha|hasło|wachtw|парол|şifre|authoriz"
    r"|phone|\btel|téléph|mobil|cell|fax|call|text|whatsapp|dial|ring|sms|handy|m[oó]vil|portable|celular|numer"
    r"|\bip\b|\bipv4|dns|server|host|\bping|resolv|proxy|peer|adress|address|direcci|gateway|护照|護照|パス|密|비밀"
)
"""What gives a meaning to a number after it; more words than the rules look for do no harm."""
_LOOKED_AT_CLOSELY = (
    "F*ck: ring (415) 555-2671 or +49 170 1234567, not DE89 3704 0044 0532 0130 00, 4111 1111 1111 1111."
)
"""Holds what the rules compile patterns and read tables for; the first time that takes 50 ms."""
_BEYOND_ASCII = "\u00e9"
"""Reading any such text takes tables too."""
_OPEN_BLOCK = "-----BEGIN"
_TEXT_TYPE = re.compile(r"(?i)\s*(?:text/|[\w.+-]+/(?:[\w.+-]*\+)?(?:json|xml|yaml|csv|sql|rtf|javascript|toml)\b)")
"""Of attachments that are read as text: images drawn in XML (SVG) too."""
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
LAST_WORDS = 3
CONTEXT_CHARACTERS = 64
LOOKED_AT = 512
"""Characters at the end of a growing text in which something unfinished may begin."""
LONGEST_BLOCK = 20_000
"""Characters that a private key may have."""


def is_id(text: str) -> bool:
    """Whether `text` can be the id of a model, a provider or a task: it is put into addresses, logs and messages."""
    steps_up = {".", ".."} & set(text.split("/"))
    return len(text) <= MAX_ID_CHARS and _ID.fullmatch(text) is not None and not steps_up


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
        return PLACEHOLDER.sub(lambda match: self.originals.get(match[0], match[0]), text)

    def _restore_json(self, text: str) -> str:
        return PLACEHOLDER.sub(lambda match: json.dumps(self.originals.get(match[0], match[0]))[1:-1], text)


class Guardrails:
    def __init__(self, rules: Sequence[Rule], *, clock: Clock | None = None, of_key: RulesOfKey | None = None) -> None:
        """`of_key` makes the rules of an access key that is guarded more strictly than `rules` say."""
        self._sieve = Sieve(rules)
        self._of_key = lru_cache(maxsize=MOST_POLICIES)(partial(_sieve_of, of_key)) if of_key is not None else None
        self._sessions = Sessions(clock or SystemClock())

    def warm(self) -> None:
        """Compile and read whatever the rules may need, on any thread."""
        Seen(_BEYOND_ASCII)
        for rule in self._sieve.rules:
            with suppress(GuardrailBlocked):  # it will say so again to whoever is concerned
                deque(rule.spans(_LOOKED_AT_CLOSELY), maxlen=0)

    def check_prompt(self, request: CompletionRequest) -> Guarded:
        """`request` as it may be sent. Neighbouring texts of a message become one, as a model reads them.

        Raises:
            GuardrailBlocked: it holds something that must not be sent.
            InvalidRequest: a schema in it is nested too deep to be read.
        """
        sieve = self._sieve_for(request.scope)
        if not sieve.rules:
            return Guarded(request)
        placeholders = Placeholders(self._sessions.of(request.scope), taken=partial(_placeholders_in, request))
        scan = _Scan(sieve, placeholders.instead, whose="The prompt")
        try:
            _check_names(request, scan)
            changes = _changes(request, scan)
        except RecursionError:
            raise InvalidRequest("`response_schema` or `tools[].parameters` is nested too deep.") from None
        checked = changed(request, **changes) if changes else request
        return Guarded(checked, placeholders.originals, scan.found)

    def check_name(self, name: str) -> None:
        """Check what was given for a name outside of a request, before anything is said of it.

        Raises:
            GuardrailBlocked: it holds something that must not be repeated.
        """
        self._answer_scan().opaque(name, "The name")

    def check_given_id(self, name: str) -> None:
        """The same for the id that a caller gave a request or a trace: it goes on record, whatever becomes of the request."""
        if name and _DRAWN_ID.fullmatch(name) is None:
            self._answer_scan().opaque(name, "The id of the request or of its trace")

    def check_answer(self, answer: Answer, scope: Scope = NOBODY) -> Answer:
        """`answer` to `scope` with what the rules find in it replaced. Run before the caller's own values are put back.

        Raises:
            GuardrailBlocked: it holds something that must not be handed on.
        """
        scan = self._answer_scan(scope)
        changes: dict[str, object] = {}
        if (text := scan.text(answer.text)) is not answer.text:
            changes["text"] = text
        if answer.tool_calls:
            changes["tool_calls"] = tuple(
                replace(call, arguments=scan.json(call.arguments)) for call in answer.tool_calls
            )
        if answer.citations:
            changes["citations"] = tuple(
                Citation(scan.text(cited.url), scan.text(cited.title)) for cited in answer.citations
            )
        return changed(answer, **changes) if changes else answer

    def stream(self, guarded: Guarded) -> "GuardedStream":
        """Checks an answer to `guarded` that comes piece by piece."""
        scope = guarded.request.scope
        return GuardedStream(self._answer_scan(scope), guarded, holds_back=bool(self._sieve_for(scope).rules))

    def _sieve_for(self, scope: Scope) -> Sieve:
        guard = scope.limits.guard
        return self._of_key(guard) if guard and self._of_key is not None else self._sieve

    def _answer_scan(self, scope: Scope = NOBODY) -> "_Scan":
        return _Scan(self._sieve_for(scope), _hidden, whose="The answer", clean=without_hidden)


def _sieve_of(of_key: RulesOfKey, guard: tuple[tuple[str, str], ...]) -> Sieve:
    return Sieve(of_key(guard))


class GuardedStream:
    """A growing answer, handed on as far as it is certain, with the caller's own values put back.

    What is to be hidden may lie across pieces, so the end of the text waits for what follows. A character is looked at
    a bounded number of times, however long the answer grows.
    """

    def __init__(self, scan: "_Scan", guarded: Guarded, *, holds_back: bool) -> None:
        self._scan = scan
        self._guarded = guarded
        self._holds_back = holds_back
        self._waiting = ""

    def feed(self, text: str) -> str:
        """What is certain now, and has not been handed on before.

        Raises:
            GuardrailBlocked: the answer holds something that must not be handed on; nothing more of it may be.
        """
        self._waiting += text
        sure = self._sure()
        ready, self._waiting = self._waiting[:sure], self._waiting[sure:]
        return self._checked(ready)

    def end(self) -> str:
        """The rest, once the answer is whole. Raises as `feed` does."""
        ready, self._waiting = self._waiting, ""
        return self._checked(ready)

    def broken_off(self) -> str:
        """The rest of an answer that ends in the middle, without a number or an address that may not be whole."""
        whole = self._waiting
        for word in reversed(list(_WORD.finditer(whole, max(0, len(whole) - LOOKED_AT)))):
            if not (_GROUP.fullmatch(word[0]) or "@" in word[0]):
                break
            self._waiting = whole[: word.start()]
        return self.end()

    def _checked(self, text: str) -> str:
        return self._guarded.restore_text(self._scan.text(text)) if text else ""

    def _sure(self) -> int:
        """How many characters nothing that follows can change."""
        if not self._holds_back:
            return len(self._waiting)
        sure = _open_end(self._waiting)
        for start, end in self._scan.spans(self._waiting) if sure else ():
            if start - CONTEXT_CHARACTERS < sure < end:
                sure = max(0, start - CONTEXT_CHARACTERS)
        return max(sure, len(self._waiting) - LONGEST_BLOCK)


def _open_end(text: str) -> int:
    """Where in `text` something may begin that what follows would make a thing to hide."""
    begin = max(0, len(text) - LOOKED_AT)
    words = list(_WORD.finditer(text, begin))
    last = max(0, len(words) - LAST_WORDS)
    while last > 0 and _GROUP.fullmatch(words[last - 1][0]):
        last -= 1
    end = words[last].start() if words else len(text)
    if end == begin > 0:  # inside a word
        end = max(0, len(text) - LONGEST_BLOCK, *(text.rfind(space, 0, end) + 1 for space in " \n\t"))
    named = _CONTEXT.search(text, max(begin, end - CONTEXT_CHARACTERS))
    if named is not None:
        end = min(end, named.start())
    block = text.rfind(_OPEN_BLOCK, max(0, len(text) - LONGEST_BLOCK))
    return min(end, block) if block >= 0 else end


def _hidden(kind: str, _: str) -> str:
    return f"[{kind.upper()} redacted]"


class _Scan:
    """One pass over one request or answer. `instead(kind, found)` is what takes the place of something found."""

    def __init__(
        self,
        sieve: Sieve,
        instead: Callable[[str, str], str],
        *,
        whose: str,
        clean: Callable[[str], str] = str,
    ) -> None:
        """`clean` is done to each text first."""
        self._sieve = sieve
        self._instead = instead
        self._whose = whose
        self._clean = clean
        self.found: dict[str, int] = {}

    def text(self, text: str) -> str:
        if not text:
            return text
        return self._sieve.dealt(self._clean(text), self._dealt)

    def spans(self, text: str) -> list[Span]:
        """Where anything stands that some rule finds."""
        seen, rules = Seen(text), self._sieve.rules
        return sorted((span for place in self._sieve.possible(seen) for span in seen.spans(rules[place])), reverse=True)

    def json(self, text: str) -> str:
        """`text`, which is JSON, scanned value by value, so that it stays JSON (a bare number becomes a string).

        What is no JSON, nested too deep or holds too many values, is scanned as it is, or with its escapes read where they hide something.
        """
        repeated = False

        def unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            nonlocal repeated
            kept = dict(pairs)
            if len(kept) < len(pairs):
                repeated = True
                self.value([item for key, item in pairs if item is not kept[key]])
            return kept

        if len(text) > LARGE_TEXT_BYTES and dense.has_more_values(text.encode("utf-8", "replace"), MOST_VALUES):
            return self._as_text(text)
        try:
            value = json.loads(text, object_pairs_hook=unrepeated)
            checked = self.value(value)
            # Of a repeated key only the last value was kept, and of a long fraction only its beginning.
            if checked == value and not repeated and not self._refusable(text):
                return text
            return _encodable(json.dumps(checked, ensure_ascii=False))
        except (ValueError, RecursionError):
            return self._as_text(text)

    def _as_text(self, json_text: str) -> str:
        scanned = self.text(json_text)
        plain = _unescaped(scanned)
        return self.text(plain) if self._refusable(plain) else scanned

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
        if kind := self._refusable(text):
            raise GuardrailBlocked(f"{what} holds what looks like a {kind}, and nothing in it can be replaced.")

    def _refusable(self, text: str) -> str:
        """The kind of what may not be passed on in `text`; "" if all of it may."""
        if not text:
            return ""
        seen = Seen(text)
        for place in self._sieve.possible(seen):
            rule = self._sieve.rules[place]
            if rule.action in ("redact", "block") and seen.spans(rule):
                return rule.kind
        return ""

    def _dealt(self, rule: Rule, text: str, spans: Sequence[Span]) -> str:
        if rule.action == "block":
            raise GuardrailBlocked(
                f"{self._whose} holds what looks like a {rule.kind}; it was not passed on. Remove it, or set"
                f' {rule.setting} = "redact" to send a placeholder in its place.'
            )
        self.found[rule.kind] = self.found.get(rule.kind, 0) + len(spans)
        return replaced(text, spans, partial(self._instead, rule.kind)) if rule.action == "redact" else text


def _check_names(request: CompletionRequest, scan: _Scan) -> None:
    for name in (request.task, request.provider, request.model, *(request.fallback_providers or ())):
        if name is not None:
            scan.opaque(name, "The name of a task, a provider or a model")
    if request.tool_choice not in OWN_TOOL_CHOICES:
        scan.opaque(request.tool_choice, "The name of a tool")
    scan.opaque(request.wrong_cache_entry, "The id of a cache entry")


def _changes(request: CompletionRequest, scan: _Scan) -> dict[str, object]:
    """Those fields of `request` that are not as they were, or may not be."""
    changes: dict[str, object] = {}
    messages = tuple([_checked_message(message, scan) for message in request.messages])
    if not all(map(is_, messages, request.messages)):
        changes["messages"] = messages
    if request.tools:
        changes["tools"] = tuple(_checked_tool(tool, scan) for tool in request.tools)
    if request.response_schema is not None:
        changes["response_schema"] = scan.value(request.response_schema)
    if request.stop:
        changes["stop"] = tuple(scan.text(stop) for stop in request.stop)
    if request.metadata:
        changes["metadata"] = scan.value(request.metadata)
    return changes


def _checked_message(message: Message, scan: _Scan) -> Message:
    if not message.provider_state and len(message.parts) == 1 and isinstance(part := message.parts[0], Text):
        text = scan.text(part.text)
        return message if text is part.text else replace(message, parts=(Text(text),))
    for state in (message.provider_state, _unescaped(message.provider_state)):
        scan.opaque(state, "provider_state")
    parts = tuple(_checked_part(part, scan) for part in _joined(message.parts))
    checked = replace(message, parts=parts)
    if sum(isinstance(part, Text) for part in parts) > 1:
        # Some formats send a message's texts as one, whatever stands between them.
        scan.opaque(checked.text, "The text around an image or a tool call, read as one,")
    return checked


def _joined(parts: Iterable[Part]) -> Iterator[Part]:
    for is_text, group in groupby(parts, key=lambda part: isinstance(part, Text)):
        if is_text:
            yield Text("".join(part.text for part in group if isinstance(part, Text)))
        else:
            yield from group


def _checked_part(part: Part, scan: _Scan) -> Part:
    match part:
        case Text():
            return Text(scan.text(part.text))
        case ToolCall():
            scan.opaque(part.id, "The id of a tool call")
            scan.opaque(part.name, "The name of a tool")
            return replace(part, arguments=scan.json(part.arguments))
        case ToolResult():
            scan.opaque(part.call_id, "The id of a tool call")
            scan.opaque(part.name, "The name of a tool")
            return replace(part, content=scan.json(part.content))
        case Image():
            for url in (part.url, unquote(part.url)):
                scan.opaque(url, "An image's address")
            scan.opaque(part.media_type, "An image's media type")
            # Base64 of a picture holds no words, and takes a second a megabyte to look at; a bare key can be base64, too.
            if len(part.data) <= SHORT_PICTURE or not is_base64(part.data):
                scan.opaque(part.data, "An image")
            document = _document(part)
            if not document:
                return part
            return replace(part, data=base64.b64encode(scan.text(document).encode()).decode())


def _checked_tool(tool: Tool, scan: _Scan) -> Tool:
    scan.opaque(tool.name, "The name of a tool")
    return replace(tool, description=scan.text(tool.description), parameters=scan.value(tool.parameters))


def _placeholders_in(request: CompletionRequest) -> set[str]:
    texts = [*request.stop, *(tool.description for tool in request.tools)]
    texts += (json.dumps(schema) for schema in (request.response_schema, *(tool.parameters for tool in request.tools)))
    for message in request.messages:
        for part in _joined(message.parts):
            match part:
                case Text():
                    texts.append(part.text)
                case ToolCall():
                    texts += (part.arguments, _unescaped(part.arguments))
                case ToolResult():
                    texts += (part.content, _unescaped(part.content))
                case Image():
                    texts.append(_document(part))
    return {name for text in texts for name in PLACEHOLDER.findall(text)}


def _document(part: Image) -> str:
    """The text of an attachment that is one; "" for a picture.

    Raises:
        GuardrailBlocked: it cannot be read, so nobody can tell what is in it.
    """
    if not part.data or _TEXT_TYPE.match(part.media_type) is None:
        return ""
    try:
        return base64.b64decode(part.data).decode()
    except ValueError:
        raise GuardrailBlocked("An attachment that should be text is none in UTF-8, so it was not passed on.") from None


def _unescaped(text: str) -> str:
    """`text` with the escapes of JSON read, whether or not it is JSON."""
    if "\\" not in text:
        return text
    plain = _ESCAPE.sub(_meant, text)
    # An escape may be half of a character: two of them meet here.
    return plain if plain.isascii() else plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _meant(escape: re.Match[str]) -> str:
    digits, letter = escape.groups()
    return chr(int(digits, 16)) if digits else " " if letter in "bfnrt" else letter


def _encodable(text: str) -> str:
    """`text` with "?" for every half of a character, which JSON can spell and nothing can encode."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
