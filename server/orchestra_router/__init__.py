"""One dependable way to every language model: `from orchestra_router import Router`.

    async with Router.open() as router:
        answer = await router.complete("Why is the sky blue?", max_cost_usd=0.01)

`SyncRouter` is the same for programs without an event loop. Nothing is imported before it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestra_router.batches import Batch, SameAs
    from orchestra_router.config import Config
    from orchestra_router.deployments import Plan
    from orchestra_router.errors import (
        AccessDenied,
        AllAttemptsFailed,
        BudgetExceeded,
        CacheMiss,
        ConfigError,
        DeadlineExceeded,
        GuardrailBlocked,
        InvalidRequest,
        NoRoute,
        ProviderError,
        RouterError,
        StoreError,
    )
    from orchestra_router.keywords import Asking
    from orchestra_router.policy.costs import CostReport
    from orchestra_router.policy.status import StatusReport
    from orchestra_router.router import Router
    from orchestra_router.simulated import simulated_router
    from orchestra_router.sync import SyncRouter
    from orchestra_router.types import (
        Answer,
        Attempt,
        Completion,
        CompletionRequest,
        Delta,
        Image,
        Message,
        Text,
        Tool,
        ToolCall,
        ToolResult,
        Usage,
    )

__all__ = [
    "AccessDenied",
    "AllAttemptsFailed",
    "Answer",
    "Asking",
    "Attempt",
    "Batch",
    "BudgetExceeded",
    "CacheMiss",
    "Completion",
    "CompletionRequest",
    "Config",
    "ConfigError",
    "CostReport",
    "DeadlineExceeded",
    "Delta",
    "GuardrailBlocked",
    "Image",
    "InvalidRequest",
    "Message",
    "NoRoute",
    "Plan",
    "ProviderError",
    "Router",
    "RouterError",
    "SameAs",
    "StatusReport",
    "StoreError",
    "SyncRouter",
    "Text",
    "Tool",
    "ToolCall",
    "ToolResult",
    "Usage",
    "simulated_router",
]

_HOME = {
    "Asking": "keywords",
    "Batch": "batches",
    "Config": "config",
    "CostReport": "policy.costs",
    "Plan": "deployments",
    "Router": "router",
    "SameAs": "batches",
    "StatusReport": "policy.status",
    "SyncRouter": "sync",
    "simulated_router": "simulated",
    **dict.fromkeys(("Answer", "Attempt", "Completion", "CompletionRequest", "Delta", "Image", "Message"), "types"),
    **dict.fromkeys(("Text", "Tool", "ToolCall", "ToolResult", "Usage"), "types"),
}
"""The module of each name; every other is an error's."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOME.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
