"""Long answers, a page at a time: clients cut off, or put aside, what is longer than they like.

The first page is the result with as much of its text as fits; `more` says with which `request_id` to ask for the rest:

    3fa9c2@20000       an answer, from this character on
    3fa9c2@17          a batch, from the answer to this prompt on
    3fa9c2@17+20000    the same, from this character of that answer on
"""

import json
import re
from dataclasses import dataclass
from typing import cast

from orchestra_router.errors import InvalidRequest
from orchestra_tools.results import Json

NEAR = 200
"""A page may end so many characters early, where that is between words."""

_PLACE = re.compile(r"(?P<id>[^@]+)(?:@(?P<first>\d{1,9})(?:\+(?P<offset>\d{1,9}))?)?")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins. `first` is a character, or in a batch an answer, and then `offset` a character of that."""

    request_id: str
    first: int = 0
    offset: int = 0

    @classmethod
    def of(cls, text: str) -> "Place":
        """Raises: InvalidRequest: it is none."""
        if (found := _PLACE.fullmatch(text)) is None:
            raise InvalidRequest("`request_id` must be one that an earlier result gave, unchanged.")
        return cls(found["id"], int(found["first"] or 0), int(found["offset"] or 0))

    @property
    def is_beginning(self) -> bool:
        return (self.first, self.offset) == (0, 0)


def answer_page(data: Json, place: Place, *, most: int) -> Json:
    """Of the result `data`, the text from `place` on, `most` characters of it; after the first page only that.

    Raises:
        InvalidRequest: the text ends before `place`.
    """
    text: str = data["text"]
    if place.offset or place.first > len(text):
        raise InvalidRequest(f"The answer has {len(text):,} characters: there is nothing at this place.")
    piece = _piece(text, place.first, most)
    end = place.first + len(piece)
    rest = {"text": piece, "more": _more(f"{place.request_id}@{end}", characters=len(text) - end)}
    if place.is_beginning:
        return data if end == len(text) else rest | {name: data[name] for name in data if name != "text"}
    return rest | {"request_id": place.request_id}


def batch_page(data: Json, place: Place, *, most: int) -> Json:
    """Of the result `data`, the answers from `place` on: about `most` characters, but one at least, or a part of it.

    Raises:
        InvalidRequest: there are fewer answers.
    """
    entries: list[Json] = data["results"]
    if place.first >= len(entries):
        raise InvalidRequest(f"The batch has {len(entries)} results: there is nothing at this place.")
    page: list[Json] = []
    left, offset, number = most, place.offset, place.first
    while number < len(entries):
        entry = entries[number]
        text = cast("str", entry.get("text", ""))
        size = len(json.dumps(entry, ensure_ascii=False)) - offset
        if page and size > left:
            break
        piece = _piece(text, offset, left)
        page.append(entry | {"text": piece} if "text" in entry else entry)
        offset += len(piece)
        if offset < len(text):
            break
        left, offset, number = max(0, left - size), 0, number + 1
    rest: Json = {"results": page}
    if place.first or place.offset:
        rest["first"] = place.first
    if number < len(entries):
        where = f"{number}+{offset}" if offset else str(number)
        rest["more"] = _more(f"{place.request_id}@{where}", results=len(entries) - number)
    if place.is_beginning:
        return rest | {name: data[name] for name in data if name != "results"}
    return rest | {"request_id": place.request_id}


def _more(request_id: str, **left: int) -> Json:
    if not any(left.values()):
        return {}
    return {**left, "next": f'There is more: call `complete` with nothing but this request_id: "{request_id}".'}


def _piece(text: str, start: int, most: int) -> str:
    """At most `most` characters of `text` from `start` on, ending between words, or else between what looks like one
    character to a reader.
    """
    end = start + most
    if end >= len(text):
        return text[start:]
    near = max(start + 1, end - NEAR)
    between = max(text.rfind("\n", near, end), text.rfind(" ", near, end))
    return text[start : between if between > 0 else _between_characters(text, start, end)]


def _between_characters(text: str, start: int, end: int) -> int:
    import regex  # noqa: PLC0415 - for long answers without spaces alone

    # One character can be many: a letter and its accents, a flag, a family.
    boundaries = (start + found.start() for found in regex.finditer(r"\X", text[start : end + NEAR]))
    return max((boundary for boundary in boundaries if start < boundary <= end), default=end)
