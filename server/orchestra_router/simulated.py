"""A router to try things with, and for the tests of programs that use one."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from orchestra_router.config import environ_of, load
from orchestra_router.router import Router, open_router
from orchestra_router.simulation import simulated_config, simulated_world


@asynccontextmanager
async def simulated_router(*, settings: Mapping[str, object] | None = None) -> AsyncGenerator[Router]:
    """A router over simulated providers on this machine: no key, no cost, real sockets, answers that are made up.

    Its data folder is gone afterwards. The simulated providers read the prompt: `docs/simulation.md` says for what.
    """
    with TemporaryDirectory(prefix="orchestra-simulated-") as folder:
        async with simulated_world() as world:
            (Path(folder) / "orchestra.toml").write_text(simulated_config(world), encoding="utf-8")
            environ = environ_of({**(settings or {}), "home": folder}, world.keys)
            async with open_router(load(environ)) as router:
                yield router
