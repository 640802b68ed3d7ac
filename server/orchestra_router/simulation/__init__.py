"""Simulated providers: real sockets on loopback that speak the real wire formats, fail on demand, and bill."""

from orchestra_router.simulation.answering import Says
from orchestra_router.simulation.faults import (
    Cut,
    Drop,
    Endless,
    Hang,
    Raw,
    Reply,
    ServerError,
    Step,
    StreamError,
    Truncate,
)
from orchestra_router.simulation.providers import Bill, Received, SimulatedProvider
from orchestra_router.simulation.troubles import Troubles
from orchestra_router.simulation.world import SimulatedWorld, simulated_config, simulated_world

__all__ = [
    "Bill",
    "Cut",
    "Drop",
    "Endless",
    "Hang",
    "Raw",
    "Received",
    "Reply",
    "Says",
    "ServerError",
    "SimulatedProvider",
    "SimulatedWorld",
    "Step",
    "StreamError",
    "Troubles",
    "Truncate",
    "simulated_config",
    "simulated_world",
]
