"""Draws the trace of one request with a fallback, from the spans that a collector got: the picture in the guide.

uv run python tests/trace_picture.py
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio

from collector import Collector, Seen, collecting
from orchestra_router.router import open_router
from orchestra_router.simulation import Reply, simulated_world
from worlds import ask, config_for

WIDTH = 30
"""Characters that the whole request is long."""


async def fallback(collector: Collector, home: Path) -> str:
    """Ask once whose first provider fails twice, so that the second answers. Returns the request's id."""
    async with simulated_world() as providers:
        config = config_for(providers, home, telemetry_endpoint=collector.url, max_retries=1)
        async with open_router(config, jitter=lambda: 0.1) as router:
            await router.complete(ask("Load what only a first request loads.", fallback_providers=("deepseek",)))
            providers["openrouter"].script(Reply(503), Reply(503))
            completion = await router.complete(ask(provider="openrouter", fallback_providers=("deepseek",)))
    return completion.request_id


def picture(collector: Collector, request_id: str) -> str:
    (root,) = [span for span in collector.spans if span.span_id == request_id]
    children = collector.children(root)
    lines = [_line(root, root, "")]
    lines += [_line(span, root, "└─ " if span is children[-1] else "├─ ") for span in children]
    return "\n".join(line.rstrip() for line in lines)


def _line(span: Seen, root: Seen, branch: str) -> str:
    whole = root.end_ns - root.start_ns
    begin = min(WIDTH - 1, (span.start_ns - root.start_ns) * WIDTH // whole)
    length = max(1, min(WIDTH - begin, round((span.end_ns - span.start_ns) * WIDTH / whole)))
    bar = " " * begin + "█" * length
    milliseconds = (span.end_ns - span.start_ns) / 1e6
    return f"{branch + span.name:<24}{_facts(span):<34}{milliseconds:>8.1f} ms  {bar}"


def _facts(span: Seen) -> str:
    about = span.about
    if span.name.startswith("chat "):
        return f"{about['gen_ai.provider.name']}: {about.get('error.type', 'ok')}"
    if span.name == "orchestra.complete":
        return f"{about['orchestra.outcome']}, {about['orchestra.attempts']} attempts"
    return str(about.get("orchestra.cache.status", ""))


async def main() -> int:
    with collecting() as collector, TemporaryDirectory() as home:
        request_id = await fallback(collector, Path(home))
        sys.stdout.write(f"{picture(collector, request_id)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(anyio.run(main))
