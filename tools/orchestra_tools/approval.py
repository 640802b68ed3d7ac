"""One call over its budget, if the person at the client allows it. Nothing else raises a budget over MCP.

Older clients are asked while the call waits. Since 2026-07-28 the question is a result, and the client repeats the call
with the answer. An answer counts once, and for the very call that was refused.
"""

import secrets
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import anyio
from mcp.server.mcpserver import AcceptedElicitation, Context
from mcp.shared.exceptions import MCPError
from mcp.types import ElicitRequest, ElicitRequestFormParams, ElicitResult, InputRequiredResult
from pydantic import BaseModel, Field

from orchestra_router.errors import BudgetExceeded, RouterError
from orchestra_router.policy.guardrails import is_id
from orchestra_router.types import LOCAL_KEY, Approval

QUESTION = "over_budget"
ASKS_BY_RESULT = "2026-07-28"
"""The first protocol version whose questions are results. Versions are dates, so they compare as text."""
MOST_OPEN = 100
"""Questions that may wait for their answer; the oldest is forgotten first."""

SINGLY = "A person whose client can ask may let one call go over its budget, but no batch: ask with `prompt`."

_given: ContextVar[Approval | None] = ContextVar("approval", default=None)
_waited_s: ContextVar[float] = ContextVar("waited_s", default=0.0)


class Consent(BaseModel):
    approve: bool = Field(title="Pay for this call", description="Once, and for this call only.")


def given() -> Approval | None:
    """What the person has allowed for the call that is being carried out."""
    return _given.get()


def waited_s() -> float:
    """Seconds of the client's patience that went by until the person had answered."""
    return _waited_s.get()


def is_possible(error: RouterError) -> bool:
    """Whether a person may lift what `error` says."""
    return isinstance(error, BudgetExceeded) and error.over_nusd > 0 and not error.in_flight


@contextmanager
def granted(approval: Approval | None, *, after_s: float = 0.0) -> Generator[None]:
    """What is asked in here has that approval, which came `after_s` seconds after the call."""
    tokens = _given.set(approval), _waited_s.set(after_s)
    try:
        yield
    finally:
        _given.reset(tokens[0])
        _waited_s.reset(tokens[1])


class Approvals:
    """The questions that were asked as results, and what each would allow."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[Mapping[str, Any], int]] = {}

    async def ask(
        self, context: Context[Any, Any], error: BudgetExceeded, arguments: Mapping[str, Any], *, within_s: float
    ) -> Approval | InputRequiredResult | None:
        """What the person allows, or the question to send; None where nobody can be asked, or the answer is no."""
        capabilities = context.client_capabilities
        if capabilities is None or capabilities.elicitation is None or not is_possible(error):
            return None
        from orchestra_router.policy.budget import dollars  # noqa: PLC0415 - it loads the store

        message = f"{error} Let this one call go over the budget, by at most {dollars(error.over_nusd)}?"
        if (context.protocol_version or "") >= ASKS_BY_RESULT:
            return self._question(message, arguments, error.over_nusd)
        with anyio.move_on_after(within_s):
            try:
                answer = await context.elicit(message, Consent)
            except (MCPError, ValueError):  # it cannot be asked after all, or answered something else
                return None
            if isinstance(answer, AcceptedElicitation) and answer.data.approve:
                return _approval(context, error.over_nusd)
        return None

    def answered(self, context: Context[Any, Any], arguments: Mapping[str, Any]) -> Approval | None:
        """What the answer that came with this call allows: nothing, unless it was asked for this very call."""
        answer = (context.input_responses or {}).get(QUESTION)
        asked = self._open.pop(context.request_state or "", None)
        if asked is None or asked[0] != arguments or not isinstance(answer, ElicitResult):
            return None
        if answer.action != "accept" or (answer.content or {}).get("approve") is not True:
            return None
        return _approval(context, asked[1])

    def _question(self, message: str, arguments: Mapping[str, Any], over_nusd: int) -> InputRequiredResult:
        state = secrets.token_hex(16)
        while len(self._open) >= MOST_OPEN:
            del self._open[next(iter(self._open))]
        self._open[state] = (dict(arguments), over_nusd)
        params = ElicitRequestFormParams(message=message, requested_schema=Consent.model_json_schema())
        return InputRequiredResult(input_requests={QUESTION: ElicitRequest(params=params)}, request_state=state)


def _approval(context: Context[Any, Any], over_nusd: int) -> Approval:
    client = context.session.client_params
    name = client.client_info.name if client is not None else ""
    return Approval(over_nusd, f"{LOCAL_KEY} at {name}" if is_id(name) else LOCAL_KEY)
