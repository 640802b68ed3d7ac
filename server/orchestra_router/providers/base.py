"""What a wire format must do: pure functions between our vocabulary and a provider's bytes.

No socket, no clock, no environment. The module of each format satisfies `Adapter` itself.
"""

from typing import Protocol

from orchestra_router.deployments import Deployment, Provider
from orchestra_router.errors import ProviderError
from orchestra_router.types import Answer, CompletionRequest, ListedModel, StreamEvent, WireRequest, WireResponse


class StreamReader(Protocol):
    """Puts one streamed answer together. One per attempt; fed every event in order."""

    def feed(self, event: StreamEvent) -> str:
        """The visible text this event adds ("" for most).

        Raises:
            ProviderError: the event is an error; classified as the same error in a plain answer would be.
        """
        ...

    @property
    def done(self) -> bool:
        """The format's own end was seen (`[DONE]`, `message_stop`, ...), so nothing after it counts."""
        ...

    def finish(self) -> Answer:
        """The whole answer, once the events have ended.

        Raises:
            StreamBroken: the events ended without a terminator or a finish reason; `partial_text` holds what had
                come, `usage` only what came with the format's own end.
            InvalidAnswer: they ended before any output.
        """
        ...


class Adapter(Protocol):
    def build_request(
        self, deployment: Deployment, request: CompletionRequest, *, api_key: str, stream: bool = False
    ) -> WireRequest:
        """The HTTP request that asks `deployment` for `request`. `api_key` is "" where none is needed.

        Raises:
            InvalidRequest: `strict_params` is set and this deployment cannot take a parameter the caller set,
                or the messages cannot be said in this format.
        """
        ...

    def parse_response(self, body: bytes) -> Answer:
        """The answer in a 2xx body.

        Raises:
            ProviderError: the body carries an error (classified), or is not an answer (`InvalidAnswer`).
        """
        ...

    def parse_error(self, response: WireResponse, *, now_ms: int) -> ProviderError:
        """The class of an answer with a status of 400 and up, by status and machine-readable code, never by prose.

        `now_ms` turns an HTTP date or a reset time in the headers into `retry_after_s`.
        """
        ...

    def stream_reader(self) -> StreamReader: ...

    def build_list_request(self, provider: Provider, *, api_key: str) -> WireRequest:
        """A free GET that lists the models."""
        ...

    def parse_list(self, body: bytes) -> tuple[ListedModel, ...]:
        """Raises: InvalidAnswer."""
        ...
