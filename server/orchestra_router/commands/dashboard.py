"""`orchestra dashboard`: the page over this installation's own ledger, for whoever's client starts Orchestra over stdio."""

import argparse

from orchestra_router.commands.base import Commands, load_config

# Each command imports what it needs when it runs: a client waits for `serve`, and needs little of the rest.
# ruff: noqa: PLC0415 - see above

PORTS = 65_536


def add_to(commands: Commands) -> None:
    dashboard = commands.command(
        "dashboard", _dashboard, "Show what was asked, what it cost and how it went, in a browser. Ctrl-C ends it."
    )
    dashboard.add_argument("--no-open", action="store_true", help="only print the address")
    dashboard.add_argument("--port", type=_port, default=0, help="of 127.0.0.1; a free one if left out")


def _port(text: str) -> int:
    if not (text.isdecimal() and int(text) < PORTS):
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to {PORTS - 1:,}, such as 8766")
    return int(text)


def _dashboard(asked: argparse.Namespace) -> int:
    from orchestra_router.http.looking import look

    look(load_config(), port=asked.port, open_browser=not asked.no_open)
    return 0
