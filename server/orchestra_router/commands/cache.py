"""`orchestra cache ...`: what is kept, and what finds it again."""

from orchestra_router.commands import cache_embedder, cache_entries, cache_eval
from orchestra_router.commands.base import Commands


def add_to(commands: Commands) -> None:
    group = commands.group("cache", "Look after the cache.")
    cache_entries.add_to(group)
    cache_eval.add_to(group)
    cache_embedder.add_to(group)
