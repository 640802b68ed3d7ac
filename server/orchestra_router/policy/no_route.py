"""What is said when nothing that is configured can serve a request: why, and what to set or start."""

from collections.abc import Sequence

from orchestra_router.deployments import Exclusion
from orchestra_router.errors import NoRoute
from orchestra_router.policy.health import Block
from orchestra_router.policy.surroundings import Surroundings
from orchestra_router.types import CompletionRequest


def no_route(
    request: CompletionRequest,
    around: Surroundings,
    *,
    excluded: Sequence[Exclusion],
    blocks: Sequence[Block],
    notes: Sequence[str],
) -> NoRoute:
    config = around.config
    due = [block.until_ms for block in blocks if block.until_ms is not None]
    retry_after_s = max(0.0, (min(due) - around.health.now_ms) / 1000) if due else None
    reasons = "; ".join(f"{item.deployment}: {item.reason}" for item in excluded)
    usable = [p for p in config.catalog.providers.values() if p.key_env and p.name in config.keys]
    if not usable and not around.local and request.provider is None and request.model is None:
        variables = ", ".join(
            config.catalog.providers[name].key_env[0]
            for name in config.catalog.hierarchy
            if config.catalog.providers[name].key_env
        )
        local = next((p for p in config.catalog.providers.values() if p.local and p.enabled), None)
        where = f", or start a local server ({local.title or local.name} at {local.base_url})" if local else ""
        return NoRoute(f"No provider is configured. Set one of {variables} in this server's environment{where}.")
    replacement = next((block.replacement for block in blocks if block.replacement), "")
    advice = [f"Use {replacement} instead."] if replacement else []
    if request.web_search and request.model is None and request.provider is None and not blocks:
        advice.append(to_search(around))
    # That somebody was passed over stands among the reasons already.
    told = [note for note in notes if "passed over" not in note]
    sentences = ["Nothing can serve this request.", f"{reasons or 'No deployment matches it'}.", *told, *advice]
    return NoRoute(" ".join(sentence for sentence in sentences if sentence), retry_after_s=retry_after_s)


def to_search(around: Surroundings) -> str:
    """How to get somebody who searches the web; "" where everybody who can has a key."""
    providers = (around.config.catalog.providers[name] for name in around.config.catalog.hierarchy)
    missing = [
        provider.key_env[0]
        for provider in providers
        if provider.search_style != "none" and provider.key_env and provider.name not in around.config.keys
    ]
    return f"To have the web searched, set one of {', '.join(missing)}." if missing else ""
