"""What a provider wants to see again with the results of the tools it asked for (signatures of its thoughts, say).

OpenAI's API has no place for it, so it is kept here, by the ids of the calls, for as long as a tool may take. Where it
is gone, providers answer all the same, or say that they cannot.
"""

from collections import OrderedDict
from collections.abc import Sequence

from orchestra_router.types import Answer, Scope, ToolCall

MOST_BYTES = 32_000_000


class States:
    def __init__(self, *, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_bytes
        self._bytes = 0
        self._kept: OrderedDict[tuple[str, ...], str] = OrderedDict()

    def keep(self, scope: Scope, answer: Answer) -> None:
        if not (answer.provider_state and answer.tool_calls):
            return
        key = _key(scope, answer.tool_calls[0])
        self._bytes += len(answer.provider_state) - len(self._kept.pop(key, ""))
        self._kept[key] = answer.provider_state
        while self._bytes > self._most:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= len(dropped)

    def of(self, scope: Scope, calls: Sequence[ToolCall]) -> str:
        """The state of the answer that `scope` got and that began with `calls`; "" where none is kept."""
        return self._kept.get(_key(scope, calls[0]), "") if calls else ""


def _key(scope: Scope, call: ToolCall) -> tuple[str, ...]:
    # Some providers count their calls, so an id alone may be that of several.
    return scope.access_key, scope.user, call.id, call.name, call.arguments
