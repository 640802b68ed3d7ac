"""`orchestra cache install-embedder`: fetches the weights that compare prompts by meaning."""

import argparse
import importlib.util

from orchestra_router.commands.base import Commands, load_config

# ruff: noqa: PLC0415 - a command imports what it needs when it runs


def add_to(commands: Commands) -> None:
    added = commands.command(
        "install-embedder", _install, "Fetch the weights that compare prompts by meaning into the data folder."
    )
    added.add_argument("--again", action="store_true", help="also where they are there already, whole")


def _install(asked: argparse.Namespace) -> int:
    from orchestra_router.embedding import install, weights

    home = load_config().settings.home
    if not asked.again and install.installed(home):
        print(f"{weights.MODEL} is in {home / weights.INSTALLED} already.")
    else:
        print(f"Fetching {weights.MODEL}, about {install.MEGABYTES} MB ...", flush=True)
        print(f"Installed into {install.install(home)}. A server that is running needs a restart to see it.")
    if importlib.util.find_spec("numpy") is None:
        print("It needs NumPy, too: install orchestra-router[semantic].")
    return 0
