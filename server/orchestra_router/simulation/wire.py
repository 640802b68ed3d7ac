"""What the four formats share: an incoming call, an outgoing event, and the contract between them."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from orchestra_router.simulation.answering import Ask, Outcome, Piece
from orchestra_router.simulation.failures import Failure, Refused
from orchestra_router.simulation.models import Model


class Body(BaseModel):
    """A part of a request. What is not declared is kept in `model_extra`, for vendors that refuse it."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True, defer_build=True)


BodyT = TypeVar("BodyT", bound=Body)


@dataclass(frozen=True, slots=True)
class Call:
    """A request for an answer, authenticated and decoded. `find` is the provider's list of models."""

    json: Any
    """The body; whatever JSON the client sent."""
    headers: Mapping[str, str] = field(repr=False)
    find: Callable[[str], Model]
    """Raises `Refused` for a model that is not served."""
    path_model: str = ""
    """The model, where the path names it."""
    stream: bool = False
    """The path asked for a stream."""
    sse: bool = True
    """False: a stream is one JSON array (Gemini without alt=sse)."""

    def read(self, shape: type[BodyT]) -> BodyT:
        """The body as `shape`.

        Raises:
            Refused: it is not of that shape; names the first field that is wrong.
        """
        try:
            return shape.model_validate(self.json)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(step) for step in first["loc"])
            raise Refused("bad_request", f"{where}: {first['msg']}", param=where) from None


Moment = Literal["opening", "thought", "visible", "closing"]


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream, encoded, and the tokens produced once it is out."""

    data: bytes
    moment: Moment
    visible: int = 0
    reasoning: int = 0


def sse(document: Mapping[str, Any], event: str = "") -> bytes:
    """One server-sent event."""
    name = f"event: {event}\n" if event else ""
    return f"{name}data: {json.dumps(document, separators=(',', ':'))}\n\n".encode()


def shown(data: bytes, piece: Piece) -> Event:
    """The event that brings `piece`."""
    moment: Moment = "thought" if piece.kind == "thought" else "visible"
    return Event(data, moment, visible=piece.visible, reasoning=piece.reasoning)


class Format(Protocol):
    """One wire format as one vendor speaks it."""

    def read(self, call: Call) -> Ask:
        """Raises: Refused."""
        ...

    def plain(self, outcome: Outcome) -> bytes: ...

    def events(self, outcome: Outcome) -> Iterator[Event]: ...

    def stream_error(self, failure: Failure, outcome: Outcome) -> bytes:
        """The error as it shows inside a stream that began with 200."""
        ...

    def error_with_200(self, failure: Failure, outcome: Outcome) -> bytes:
        """The error as a plain body under status 200."""
        ...
