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
        rest, *begun = _LINE_END.split(chunk)
        self._extend(rest)
        events: list[StreamEvent] = []
        for beginning in begun:
            events += self._end_line()
            self._extend(beginning)
        return events

    def end(self) -> list[StreamEvent]:
        """The event, if any, that the end of the body completes."""
        return [*self._end_line(), *self._dispatch()]

    def _extend(self, part: bytes) -> None:
        self._line += part
        if len(self._line) + self._data_bytes > self._max:
            raise InvalidAnswer(provider_code="event_too_large")

    def _end_line(self) -> list[StreamEvent]:
        line = bytes(self._line)
        self._line.clear()
        if self._first:
            self._first = False
            line = line.removeprefix(_BOM)
        if not line:
            return self._dispatch()
        # A comment is a field without a name, and like every unknown field it means nothing.
        name, _, value = line.partition(b":")
        text = value.removeprefix(b" ").decode(errors="replace")
        if name == b"data":
            self._data.append(text)
            self._data_bytes += len(value) + 1  # and the line's end, so that empty lines count too
        elif name == b"event":
            self._event = text
        return []

    def _dispatch(self) -> list[StreamEvent]:
        event = StreamEvent(event=self._event, data="\n".join(self._data))
        found = bool(self._data)
        self._event = ""
        self._data.clear()
        self._data_bytes = 0
        return [event] if found else []
