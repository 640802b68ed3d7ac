"""What a broken or hostile provider could send: real bodies with something changed, cut off, or replaced."""

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from orchestra_router.errors import ProviderError
from orchestra_router.providers.base import Adapter
from orchestra_router.providers.sse import EventReader
from orchestra_router.types import Answer, StreamEvent

WIRE = Path(__file__).parent / "wire"

any_text = st.text(alphabet=st.characters(exclude_categories=()), max_size=12)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(min_value=-(10**30), max_value=10**30)
    | st.floats()
    | any_text
    | st.sampled_from(["stop", "error", "failed", "completed", "429", -1, 10**400, "https://a.example"])
)
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3), max_leaves=6
)


def events_of(path: Path) -> list[StreamEvent]:
    reader = EventReader()
    return [*reader.feed(path.read_bytes()), *reader.end()]


@st.composite
def mutations(draw: st.DrawFn, original: Any) -> Any:
    """`original` with up to four of its values replaced or removed, at any depth."""
    value = copy.deepcopy(original)
    for _ in range(draw(st.integers(0, 4))):
        holder, key = draw(st.sampled_from(_places(value) or [(None, None)]))
        if holder is None:
            return draw(json_values)
        if draw(st.booleans()):
            holder[key] = draw(json_values)
        else:
            del holder[key]
    return value


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every container in `value` with each of its keys."""
    if isinstance(value, dict | list):
        holder: Any = value  # pyright: ignore[reportUnknownVariableType] - any JSON
        keys = list[Any](holder if isinstance(value, dict) else range(len(holder)))
        return [(holder, key) for key in keys] + [place for key in keys for place in _places(holder[key])]
    return []


@st.composite
def bodies(draw: st.DrawFn, originals: Sequence[bytes]) -> bytes:
    original = draw(st.sampled_from(originals))
    match draw(st.sampled_from(["mutated", "mutated", "cut", "garbage"])):
        case "mutated":
            return json.dumps(draw(mutations(json.loads(original)))).encode()
        case "cut":
            return original[: draw(st.integers(0, len(original)))]
        case _:
            return draw(st.binary(max_size=40) | json_values.map(lambda value: json.dumps(value).encode()))


@st.composite
def streams(draw: st.DrawFn, originals: Sequence[list[StreamEvent]]) -> list[StreamEvent]:
    """The events of a real stream, each perhaps changed, lost, cut off, doubled or out of place."""
    events: list[StreamEvent] = []
    for event in draw(st.sampled_from(originals)):
        fate = draw(st.sampled_from(["whole"] * 6 + ["mutated", "mutated", "lost", "cut", "twice", "first"]))
        if fate == "mutated" and event.data.startswith("{"):
            events.append(StreamEvent(event.event, json.dumps(draw(mutations(json.loads(event.data))))))
        elif fate == "cut":
            events.append(StreamEvent(event.event, event.data[: draw(st.integers(0, len(event.data)))]))
        elif fate == "first":
            events.insert(0, event)
        elif fate != "lost":
            events += [event] * (2 if fate == "twice" else 1)
    return events


def read_stream(adapter: Adapter, events: Sequence[StreamEvent]) -> tuple[str, Answer]:
    """What a caller saw as it came, and the whole answer."""
    reader = adapter.stream_reader()
    seen = "".join(reader.feed(event) for event in events)
    return seen, reader.finish()


def check_answer(answer: Answer) -> None:
    """What every answer promises, whoever sent it."""
    usage = answer.usage
    if usage is not None:
        counts = (usage.input_fresh, usage.cache_read, usage.cache_write, usage.output, usage.reasoning, usage.searches)
        assert all(0 <= count < 2**63 for count in counts)
    assert answer.cost_nusd is None or 0 <= answer.cost_nusd < 2**63
    assert answer.text.strip() or answer.tool_calls or answer.finish in {"length", "content_filter", "continue"}
    texts = (answer.text, answer.model, answer.provider_state, answer.provider_request_id)
    calls = [text for call in answer.tool_calls for text in (call.id, call.name, call.arguments)]
    pages = [text for page in answer.citations for text in (page.url, page.title)]
    "".join([*texts, *calls, *pages]).encode()


def check_error(error: ProviderError) -> None:
    str(error).encode()
    assert error.retry_after_s is None or error.retry_after_s >= 0
    assert error.cost_nusd is None or 0 <= error.cost_nusd < 2**63
    error.partial_text.encode()
