"""What a benchmark asks and is asked through: the provider's process, and a router's configuration that leads to it."""

import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestra_router.types import CompletionRequest, Message, Text

CHAT_PROVIDERS = ("openrouter", "openai", "deepseek", "together", "xai")
"""Those that speak chat completions; the others have a key all the same, so that every route is planned over eight."""
OTHERS = ("anthropic", "gemini", "perplexity")


@dataclass(frozen=True, slots=True)
class Place:
    """A data folder whose configuration leads to the provider on `port`."""

    folder: Path
    port: int

    @property
    def url(self) -> str:
        """Where chat completions are asked for."""
        return f"http://127.0.0.1:{self.port}/v1/chat/completions"

    def environ(self, **settings: str) -> Mapping[str, str]:
        keys = {f"{name.upper()}_API_KEY": f"benchmark-key-{name}" for name in (*CHAT_PROVIDERS, *OTHERS)}
        return {
            "ORCHESTRA_HOME": str(self.folder),
            **keys,
            **{f"ORCHESTRA_{k.upper()}": v for k, v in settings.items()},
        }


@contextmanager
def provider() -> Generator[int]:
    """The port of a provider that lives in a process of its own."""
    command = [sys.executable, "-m", "orchestra_router.bench.provider"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603 - our own
        if process.stdout is None:
            raise RuntimeError("A process that was given pipes has none.")
        yield int(process.stdout.readline())
        process.kill()


def place(folder: Path, port: int) -> Place:
    """`folder`, made ready. Budgets and limits on concurrency are there, and far away."""
    rows = ["budget_day_usd = 100000", "budget_month_usd = 1000000", "alert_day_usd = 100000"]
    for name in (*CHAT_PROVIDERS, *OTHERS):
        path = "busy" if name == "xai" else "v1"
        rows += [f"[providers.{name}]", f'base_url = "http://127.0.0.1:{port}/{path}"', "max_concurrent = 1000"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "orchestra.toml").write_text("\n".join(rows), encoding="utf-8")
    return Place(folder, port)


def prompt(number: int) -> str:
    """Never the same twice, and plainly a task for the rules, so that nothing needs embedding."""
    return f"Write a Python function that adds {number} to a list of integers, and unit tests for it."


def request(text: str, **more: Any) -> CompletionRequest:
    return CompletionRequest(messages=(Message("user", (Text(text),)),), **more)
