"""Which of a provider's keys are asked with: those that are well, in the order in which they are set.

After a failure that is the key's own fault the same deployment is asked with the next one at once; any other failure
keeps the key.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestra_router.deployments import Candidate, Deployment
from orchestra_router.keys import Keys
from orchestra_router.policy.headroom import Need
from orchestra_router.policy.health import Block, HealthView
from orchestra_router.types import changed


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyring:
    """The keys of a provider, as they stand for one of its deployments."""

    fingerprints: tuple[str, ...]
    """Of those that can be asked with; where none can, of the one that is due first."""
    block: Block | None
    """Why none can be asked with now."""
    set_aside: str = ""
    """Which of several cannot, and why."""
    cause: str = ""
    """Of the first of those."""


def keyring(deployment: Deployment, keys: Keys, view: HealthView, *, need: Need | None = None) -> Keyring:
    """The keys for `deployment`, whose rate limits have to take `need` besides."""
    provider = deployment.provider.name
    if view.knows_nothing:
        return Keyring(fingerprints=keys.fingerprints(provider), block=None)
    blocks = {one: _block(deployment, one, view, need) for one in keys.fingerprints(provider)}
    blocked = {one: block for one, block in blocks.items() if block is not None}
    if not blocked:
        return Keyring(fingerprints=tuple(blocks), block=None)
    said = [f"{keys.variable(provider, one)} {block.reason}" for one, block in blocked.items()]
    cause = next((block.cause for block in blocked.values()), "")
    usable = tuple(one for one in blocks if one not in blocked)
    if usable:
        return Keyring(fingerprints=usable, block=None, set_aside="; ".join(said), cause=cause)
    first, block = min(blocked.items(), key=lambda item: _due(item[1]))
    if len(blocked) > 1:
        same = len({block.reason for block in blocked.values()}) == 1
        block = replace(block, reason=f"{block.reason} (all {len(said)} keys)" if same else "; ".join(said))
    return Keyring(fingerprints=(first,), block=block)


def without_key(candidate: Candidate, failed: Candidate) -> Candidate | None:
    """`candidate` once the key that `failed` was asked with is no more to be used; None when no other is left."""
    if candidate.deployment.provider.name != failed.deployment.provider.name:
        return candidate
    left = tuple(one for one in candidate.keys if one != failed.fingerprint)
    return changed(candidate, keys=left) if left else None


def passed_over(route: Sequence[Candidate]) -> list[Candidate]:
    """What is left of `route` once its first deployment is not to be asked with its first key just now."""
    first, *rest = route
    return [changed(first, keys=first.keys[1:], not_before_ms=0), *rest] if first.keys[1:] else rest


def _block(deployment: Deployment, fingerprint: str, view: HealthView, need: Need | None) -> Block | None:
    block = view.block(deployment, fingerprint=fingerprint)
    if block is None and need is not None:
        block = view.shortage(deployment, need, fingerprint=fingerprint)
    return block


def _due(block: Block) -> float:
    return float("inf") if block.until_ms is None else block.until_ms
