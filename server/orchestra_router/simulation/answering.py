"""What a simulated model does with a request, whatever its wire format: read, count, think, answer.

Deterministic: the same request gets the same answer. A token is four bytes of UTF-8, begun or whole.
"""

import json
import operator
import re
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from orchestra_router.simulation.models import Model
from orchestra_router.simulation.prices import Charge, Tokens
from orchestra_router.simulation.schemas import example

Finish = Literal["stop", "stop_sequence", "length", "tool_calls", "content_filter", "no_signature"]

IMAGE_TOKENS = 100
THOUGHT_TOKENS: Mapping[str, int] = {
    "none": 0,
    "minimal": 1,
    "low": 2,
    "medium": 4,
    "high": 8,
    "xhigh": 16,
    "max": 32,
}
"""What each reasoning effort costs in tokens."""
PIECE_CHARS = 12
"""Length of a streamed piece: no regard for words, so that a placeholder may be cut in two."""


def count(text: str) -> int:
    """Tokens in `text`: four bytes make one, a rest counts as a whole."""
    return -(-len(text.encode()) // 4)


@dataclass(frozen=True, slots=True)
class Function:
    """A tool on offer."""

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Call:
    """A tool the model wants run; `arguments` is JSON text."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Source:
    """A page a web search found."""

    url: str
    title: str
    snippet: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request in common terms. `parts` is everything the model reads, in order: what is counted and cached."""

    model: Model
    asked_as: str
    """The model id as the caller wrote it."""
    parts: tuple[str, ...]
    question: str
    """The last thing the user said."""
    tool_results: tuple[str, ...] = ()
    """What tools returned since then."""
    images: int = 0
    functions: tuple[Function, ...] = ()
    forced: str = ""
    """Either "", "any", or the name of the tool that must be called."""
    schema: Mapping[str, Any] | None = None
    json_mode: bool = False
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    effort: str = "none"
    searches: int = 0
    search_price: str = ""
    """What 1,000 searches cost, where the request chose the kind of search."""
    stream: bool = False
    stream_usage: bool = False
    """The caller asked for usage in the stream, where that is a choice."""
    one_array: bool = False
    """A stream is one JSON array instead of events (Gemini)."""
    obfuscate: bool = True
    show_thoughts: bool = False
    cache_upto: int | None = None
    """How many of `parts` the caller marked for caching; None: the provider caches by itself."""
    cache_for_an_hour: bool = False
    lost_signature: bool = False
    """A tool call came back without the signature it was given."""


@dataclass(frozen=True, slots=True)
class Says:
    """What a test makes the model say. None: what it would have said."""

    text: str | None = None
    finish: Finish | None = None
    calls: tuple[tuple[str, Mapping[str, Any]], ...] | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """A bit of a streamed answer, and the tokens produced once it is out."""

    kind: Literal["thought", "text", "call"]
    text: str
    call: int
    """Which call it belongs to, from 0."""
    visible: int
    reasoning: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A finished answer, ready to be said in any format."""

    ask: Ask
    id: str
    created_s: int
    text: str
    thought: str
    calls: tuple[Call, ...]
    sources: tuple[Source, ...]
    finish: Finish
    stopped_by: str
    tokens: Tokens
    charge: Charge = field(default_factory=Charge)

    def pieces(self) -> Iterator[Piece]:
        """The answer bit by bit: the thought at once, then text, then each call."""
        reasoning = self.tokens.reasoning
        if reasoning:
            yield Piece("thought", self.thought, 0, 0, reasoning)
        for start in range(0, len(self.text), PIECE_CHARS):
            end = start + PIECE_CHARS
            yield Piece("text", self.text[start:end], 0, count(self.text[:end]), reasoning)
        visible = count(self.text)
        for number, call in enumerate(self.calls):
            visible += count(call.name)
            for start in range(0, len(call.arguments), PIECE_CHARS):
                end = start + PIECE_CHARS
                yield Piece("call", call.arguments[start:end], number, visible + count(call.arguments[:end]), reasoning)
            visible += count(call.arguments)


class PromptCache:
    """The prompts a provider has read lately, part by part: a prompt that begins as one of them is read cheaper."""

    def __init__(self, *, at_least: int, block: int = 1, keep: int = 10_000) -> None:
        """`at_least`: fewest tokens worth keeping. `block`: automatic caches count in whole blocks of so many."""
        self._at_least = at_least
        self._block = block
        self._keep = keep
        self._seen: OrderedDict[int, None] = OrderedDict()

    def read(self, ask: Ask) -> tuple[int, int]:
        """Tokens of `ask` that are known, and tokens that are now kept for the next one."""
        parts = ask.parts[: ask.cache_upto]
        known = total = 0
        chain = hash(ask.model.id)
        unbroken = True
        for part in parts:
            chain = hash((chain, part))
            total += count(part)
            unbroken = unbroken and chain in self._seen
            if unbroken:
                known = total
            self._seen[chain] = None
        while len(self._seen) > self._keep:
            self._seen.popitem(last=False)
        if total < self._at_least:
            return 0, 0
        known = known if known >= self._at_least else 0
        if ask.cache_upto is not None:
            return known, total - known
        known -= known % self._block
        return known, total - total % self._block - known


def answer(ask: Ask, says: Says, *, id_: str, created_s: int, cached: int, written: int, count_writes: bool) -> Outcome:
    """What the model says to `ask`, cut to its stop sequences and its token limit."""
    text, calls, sources = _compose(ask, id_)
    if says.calls is not None:
        calls = tuple(
            Call(f"call_{id_}_{number}", name, json.dumps(arguments))
            for number, (name, arguments) in enumerate(says.calls)
        )
        text = ""
    text = text if says.text is None else says.text
    if ask.lost_signature:
        text, calls = "", ()
    text, stopped_by = _until_stop(text, ask.stop)
    reasoning = THOUGHT_TOKENS[ask.effort]
    thought = "[simulated thought]" if reasoning else ""
    finish: Finish = "tool_calls" if calls else "stop_sequence" if stopped_by else "stop"
    if ask.max_tokens is not None and not calls:
        reasoning = min(reasoning, ask.max_tokens)
        room = (ask.max_tokens - reasoning) * 4
        if len(text.encode()) > room:
            text, finish = text.encode()[:room].decode(errors="ignore"), "length"
    finish = says.finish or ("no_signature" if ask.lost_signature else finish)
    read = max(1, sum(count(part) for part in ask.parts) + ask.images * IMAGE_TOKENS)
    written = written if count_writes else 0
    hour = written if ask.cache_for_an_hour else 0
    return Outcome(
        ask=ask,
        id=id_,
        created_s=created_s,
        text=text,
        thought=thought,
        calls=calls,
        sources=sources,
        finish=finish,
        stopped_by=stopped_by,
        tokens=Tokens(
            fresh=read - cached - written,
            cached=cached,
            written=written - hour,
            written_1h=hour,
            visible=count(text) + sum(count(call.name) + count(call.arguments) for call in calls),
            reasoning=reasoning,
            searches=ask.searches,
        ),
    )


# --- what it says -----------------------------------------------------------------------------------------

_CODE = re.compile(r"\b(code|function|implement|python|class|regex|sql|bug|refactor)\b", re.IGNORECASE)
_VERSE = re.compile(r"\b(poem|haiku|verse|song|story|creative)\b", re.IGNORECASE)
_CAPITAL = re.compile(r"\bcapital(?: city)? of (\w+)", re.IGNORECASE)
_SUM = re.compile(r"(\d{1,9}) ?([+*]) ?(\d{1,9})")
_PLACEHOLDER = re.compile(r"[\[<][A-Z][A-Z_]*_\d+[\]>]")
_CAPITALS = {"france": "Paris", "italy": "Rome", "japan": "Tokyo", "spain": "Madrid", "germany": "Berlin"}
_SIGNS = {"+": operator.add, "*": operator.mul}
_SHORT = (
    "Start with the smallest version that can be checked, then let it grow.",
    "Yes, with two conditions: measure first, and keep a way back.",
    "The short answer is that it depends on how often it changes.",
    "Three things matter here: who reads it, when, and what they do next.",
    "It works, and the simplest way to see that is to try it once by hand.",
)
_FUNCTION = "```python\ndef add(a: int, b: int) -> int:\n    return a + b\n```"
_POEM = "Cold light on the wire,\na question crosses the dark:\nsomething answers, still."
_LONG = tuple(
    f"Point {number}: a long answer is made of short ones, said in order and none of them twice."
    for number in range(1, 41)
)


def _compose(ask: Ask, id_: str) -> tuple[str, tuple[Call, ...], tuple[Source, ...]]:
    mark = f"[simulated {ask.asked_as}]"
    noted = sorted({found for part in ask.parts for found in _PLACEHOLDER.findall(part)})
    sources = _sources(ask.searches)
    if wanted := _wanted(ask):
        calls = (
            Call(
                f"call_{id_}_{number}",
                function.name,
                json.dumps(example({"type": "object", **function.parameters}, " ".join([mark, *noted]))),
            )
            for number, function in enumerate(wanted)
        )
        return "", tuple(calls), sources
    if ask.schema is not None:
        return json.dumps(example(ask.schema, " ".join([mark, *noted]))), (), sources
    if ask.json_mode:
        return json.dumps({"answer": f"{mark} {_sentence(ask)}", "noted": noted}), (), sources
    note = f" Noted: {', '.join(noted)}." if noted else ""
    return f"{mark} {_sentence(ask)}{note}", (), sources


def _wanted(ask: Ask) -> Sequence[Function]:
    """The tools this answer calls: those it must, or those the prompt tells it to use ("use the tools": all)."""
    if not ask.functions or ask.tool_results:
        return ()
    if ask.forced and ask.forced != "any":
        return [function for function in ask.functions if function.name == ask.forced]
    prompt = ask.question.lower()
    if "use the tools" in prompt:
        return ask.functions
    named = [function for function in ask.functions if function.name.lower() in prompt]
    return (named or list(ask.functions))[:1] if ask.forced or "use the tool" in prompt else ()


def _sentence(ask: Ask) -> str:
    question = ask.question
    if ask.tool_results:
        return f"The tool answered: {ask.tool_results[-1][:200]}"
    if "write at length" in question.lower():
        return "\n".join(_LONG)
    if ask.searches:
        return "Two pages agree: the release is out, and it is smaller than the last one."
    if (capital := _CAPITAL.search(question)) and capital[1].lower() in _CAPITALS:
        return f"{_CAPITALS[capital[1].lower()]}."
    if found := _SUM.search(question):
        return f"{_SIGNS[found[2]](int(found[1]), int(found[3]))}."
    if _CODE.search(question):
        return f"\n{_FUNCTION}"
    if _VERSE.search(question):
        return f"\n{_POEM}"
    return _SHORT[zlib.crc32(question.encode()) % len(_SHORT)]


def _sources(searches: int) -> tuple[Source, ...]:
    if not searches:
        return ()
    return (
        Source("https://example.com/release", "Release notes", "The release is out."),
        Source("https://example.org/review", "A review", "Smaller than the last one."),
    )


def _until_stop(text: str, stop: tuple[str, ...]) -> tuple[str, str]:
    """`text` up to the first of `stop` in it, and which one that was."""
    found = [(text.index(word), word) for word in stop if word and word in text]
    if not found:
        return text, ""
    where, word = min(found)
    return text[:where], word
