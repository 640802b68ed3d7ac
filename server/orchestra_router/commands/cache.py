"""`orchestra cache ...`: what is kept, and what finds it again."""

from orchestra_router.commands.base import Commands


def add_to(commands: Commands) -> None:
    commands.group("cache", "Look after the cache.")
