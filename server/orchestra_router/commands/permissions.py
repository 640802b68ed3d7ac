"""Who may run which command, where `ORCHESTRA_KEY` says that it is not the person at this machine who asks."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from orchestra_router import key_sources
from orchestra_router.commands.base import with_router
from orchestra_router.errors import AccessDenied

if TYPE_CHECKING:
    from orchestra_router.policy.access import Verb
    from orchestra_router.router import Router

NO_DATA: "Mapping[str, str]" = {
    "serve": "whoever calls is checked call by call",
    "bench": "has data folders of its own",
    "demo": "has a data folder of its own",
    "chaos": "has data folders of its own",
    "doctor": "asks the router, which checks",
    "init": "writes a configuration",
    "install": "writes a client's configuration",
    "completion": "prints a script",
    "guard test": "reads a file",
    "route eval": "reads a file",
    "cache eval": "reads a file",
    "cache install-embedder": "fetches public weights",
}
"""Commands that need no verb, and why."""

VERBS: "Mapping[str, Verb]" = {
    "config": "config",
    "dashboard": "dashboard",
    "models": "status",
    "probe": "probe",
    "report": "costs_own",
    "reconcile": "costs_all",
    "reprice": "adjust_costs",
    "requests list": "requests_all",
    "requests show": "requests_own",
    "route plan": "plan",
    "route learned": "learned",
    "route forget": "forget_learned",
    "cache stats": "cache",
    "cache list": "cache",
    "cache show": "cache",
    "cache shadow": "cache",
    "cache delete": "change_cache",
    "cache clear": "change_cache",
    "cache wrong": "change_cache",
    "cache warm": "complete",
    "keys create": "keys",
    "keys list": "keys",
    "keys show": "keys",
    "keys edit": "keys",
    "keys rotate": "keys",
    "keys revoke": "keys",
    "audit verify": "audit",
    "audit export": "audit",
    "export": "export",
    "erase": "erase",
    "backup": "maintain",
    "vacuum": "maintain",
}


def check(command: str) -> None:
    """Raises: AccessDenied: whoever asks may not run `command`, or nobody has said who may."""
    if command in NO_DATA:
        return
    verb = VERBS.get(command)
    if verb is None:
        raise AccessDenied(f"Nobody has said who may run `orchestra {command}`, so nobody may.")
    # Without it the person at this machine asks, who may do everything.
    if any(source in os.environ for source in key_sources.variables("ORCHESTRA_KEY")):
        with_router(lambda router: _allowed(router, verb))


async def _allowed(router: "Router", verb: "Verb") -> None:
    await router.allowed(verb)
