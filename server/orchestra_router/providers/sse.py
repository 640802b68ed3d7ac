"""Server-sent events out of a stream of bytes, by the rules of the HTML standard (section 9.2.6), with one exception:
an event that the body's end cut off is delivered, because vendors leave out the last blank line.
"""

import re

from orchestra_router.errors import InvalidAnswer
from orchestra_router.types import StreamEvent

MAX_EVENT_BYTES = 8 * 2**20
"""Far above any real event: the largest carry one image or one page of search results."""

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class EventReader:
    """Reads one stream. Where its chunks begin and end makes no difference to its events."""

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max = max_event_bytes
        self._line = bytearray()
        """The line that has begun and not ended."""
        self._after_cr = False
        """The last chunk ended a line with CR, so an LF that comes next belongs to it."""
        self._first = True
        self._event = ""
        self._data: list[str] = []
        self._data_bytes = 0

    def feed(self, chunk: bytes) -> list[StreamEvent]:
        """The events that `chunk` completes.

        Raises:
            InvalidAnswer: an event is larger than `max_event_bytes`.
        """
        if not chunk:
            return []
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        self._after_cr = chunk.endswith(b"\r")
        *lines, begun = _LINE_END.split(chunk)
        events: list[StreamEvent] = []
        for line in lines:
            if self._line:
                self._extend(line)
                line = self._begun()  # noqa: PLW2901 - the whole of it
            self._end_line(line, events)
        self._extend(begun)
        return events

    def end(self) -> list[StreamEvent]:
        """The event, if any, that the end of the body completes."""
        events: list[StreamEvent] = []
        if self._line:
            self._end_line(self._begun(), events)
        self._dispatch(events)
        return events

    def _extend(self, part: bytes) -> None:
        self._line += part
        self._check(len(self._line))

    def _begun(self) -> bytes:
        line = bytes(self._line)
        self._line.clear()
        return line

    def _check(self, more: int) -> None:
        if self._data_bytes + more > self._max:
            raise InvalidAnswer(provider_code="event_too_large")

    def _end_line(self, line: bytes, events: list[StreamEvent]) -> None:
        if self._first:
            self._first = False
            line = line.removeprefix(_BOM)
        if not line:
            self._dispatch(events)
            return
        # A comment is a field without a name, and like every unknown field it means nothing.
        name, _, value = line.partition(b":")
        if name == b"data":
            self._check(len(line))
            self._data.append(value.removeprefix(b" ").decode(errors="replace"))
            self._data_bytes += len(value) + 1  # and the line's end, so that empty lines count too
        elif name == b"event":
            self._event = value.removeprefix(b" ").decode(errors="replace")

    def _dispatch(self, events: list[StreamEvent]) -> None:
        if self._data:
            events.append(StreamEvent(self._event, self._data[0] if len(self._data) == 1 else "\n".join(self._data)))
            self._data.clear()
            self._data_bytes = 0
        self._event = ""
