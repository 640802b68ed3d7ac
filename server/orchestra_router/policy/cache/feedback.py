"""A person or a model says that an answer from the cache was wrong."""

from collections.abc import Iterable

from orchestra_router.policy.cache.question import prompt_hash
from orchestra_router.store.cache_records import CacheStore, WrongPair

MOST_SERVED = 1_000


async def take_back(store: CacheStore, entry_id: str, *, who: str | None, asked: str | None, now_ms: int) -> bool:
    """Delete the entry, and see to it that neither prompt's answer is served for the other again.

    `asked` is the prompt it was wrong for; None: every one that it was served for. `who` is the scope that may delete
    it; None: the operator, who may delete anybody's. False: there is no such entry of theirs, nor was there lately.

    Raises:
        StoreError: the database cannot be used.
    """
    entry = await store.cache_entry(entry_id)
    matches = await store.cache_matches(entry_id=entry_id, served=True, most=MOST_SERVED)
    owner = entry.who if entry is not None else matches[0].who if matches else None
    if owner is None or (who is not None and who != owner):
        return False
    earlier = entry.prompt if entry is not None else matches[0].earlier
    prompts = {match.asked for match in matches} if asked is None else {asked}
    return await store.mark_wrong(entry_id, _pairs(owner, earlier, prompts), now_ms=now_ms)


def _pairs(who: str, earlier: str, prompts: Iterable[str]) -> list[WrongPair]:
    """Nothing for entries, or requests, that are never compared: there the exact hit is gone, and that is all."""
    return [
        WrongPair(
            who=who, asked=asked, asked_hash=prompt_hash(asked), earlier=earlier, earlier_hash=prompt_hash(earlier)
        )
        for asked in sorted(prompts)
        if asked and earlier and asked != earlier
    ]
