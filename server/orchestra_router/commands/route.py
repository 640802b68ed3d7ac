"""`orchestra route ...`: how requests find their way."""

from orchestra_router.commands.base import Commands


def add_to(commands: Commands) -> None:
    commands.group("route", "See how requests are routed.")
