"""The `orchestra` command. Started by a client's configuration without arguments, it serves MCP over stdio."""

import argparse
import io
import json
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from orchestra_router.commands import (
    audit,
    beginning,
    bench,
    cache,
    chaos,
    dashboard,
    guard,
    install,
    keys,
    money,
    permissions,
    person,
    requests,
    route,
    upkeep,
)
from orchestra_router.commands.base import Commands, Parser, count, load_config, table, with_router
from orchestra_router.errors import ConfigError, RouterError
from orchestra_router.observe import crash_safely
from orchestra_router.plain_text import lines, one_line

# Each command imports what it needs when it runs: a client waits for `serve`, and needs little of the rest.
# ruff: noqa: PLC0415 - see above

if TYPE_CHECKING:
    from orchestra_router.config import Config
    from orchestra_router.router import Router

Json = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0, 1 for a failure that was explained, 2 for wrong arguments."""
    if arguments is None:  # a process of our own
        crash_safely()
        _write_everywhere(sys.stdout)
    if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison] - a caller may have closed it
        print("orchestra: there is no standard output to write to", file=sys.stderr)
        return 1
    try:
        try:
            asked, unknown = _parser().parse_known_args(arguments)
            if unknown:
                asked.own.unknown(unknown)
            permissions.check(asked.command)
            code: int = asked.run(asked)
        finally:
            sys.stdout.flush()
    except RouterError as error:
        print(f"orchestra: {lines(str(error))}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.filename is None:  # it is standard output that takes no more
            # Whatever is still in the buffer goes nowhere; Python complains otherwise when it closes stdout.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # then whoever read our output has had enough
            where = "" if error.filename is None else f"{error.filename}: "
            print(f"orchestra: {one_line(f'{where}{error.strerror or error}')}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def _write_everywhere(stream: object) -> None:
    """Tables have signs that not every terminal has, which then shows another; files and programs get UTF-8 everywhere."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="replace")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="orchestra",
        description="Routes LLM calls for MCP clients. Without a command: serve MCP over stdio.",
    )
    parser.add_argument("--version", action="version", version=f"orchestra {version('orchestra-router')}")
    parser.set_defaults(run=_serve, command="serve", simulate=False, http=None, own=parser)
    commands = Commands(parser, required=False)
    serve = commands.command("serve", _serve, "Serve MCP over stdio, or over HTTP with an OpenAI-compatible gateway.")
    serve.add_argument(
        "--http", nargs="?", const="", metavar="HOST:PORT", help="over HTTP; 127.0.0.1:8765 where nothing is named"
    )
    serve.add_argument("--simulate", action="store_true", help="with simulated providers: no key, no cost")
    commands.reporting("demo", _demo, "Show everything on this machine: no key, no network, no cost.")
    doctor = commands.reporting("doctor", _doctor, "Say what is configured, what is missing, and what would be called.")
    doctor.add_argument("--offline", action="store_true", help="do not ask the providers whether they take their keys")
    beginning.add_to(commands, parser)
    install.add_to(commands)
    keys.add_to(commands)
    bench.add_to(commands)
    money.add_to(commands)
    commands.reporting("models", _models, "List every model of the catalog: price, context, state.")
    probe = commands.reporting("probe", _probe, "Ask every configured provider, for free, whether it can be used.")
    probe.add_argument("provider", nargs="?", help="only this one")
    config = commands.reporting("config", _config_check, "Say whether the configuration can be used, and if not, why.")
    config.add_argument("check", nargs="?", choices=("check",), help="the same")
    audit.add_to(commands)
    cache.add_to(commands)
    chaos.add_to(commands)
    dashboard.add_to(commands)
    guard.add_to(commands)
    person.add_to(commands)
    requests.add_to(commands)
    route.add_to(commands)
    upkeep.add_to(commands)
    return parser


def _serve(asked: argparse.Namespace) -> int:
    if asked.http is not None:
        return _serve_http(asked)
    from orchestra_router import app

    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison] - a caller may have closed it
        raise RouterError("There is no standard input to read a client's requests from.")
    if sys.stdin.isatty():
        print("Waiting for an MCP client on stdin; Ctrl-C ends it. More: orchestra --help", file=sys.stderr)
    if asked.simulate:
        app.serve_simulated()
        return 0
    try:
        config: Config | ConfigError = load_config()
    except ConfigError as error:
        # A client shows its user nothing of a server that does not start; the tools can explain.
        config = error
    app.serve_stdio(config)
    return 0


def _serve_http(asked: argparse.Namespace) -> int:
    from orchestra_router.http import serving

    to = serving.address(asked.http)
    if asked.simulate:
        serving.serve_http_simulated(to)
    else:
        serving.serve_http(load_config(), to)
    return 0


def _demo(asked: argparse.Namespace) -> int:
    from orchestra_router import demo

    return demo.run(as_json=asked.json)


def _doctor(asked: argparse.Namespace) -> int:
    from orchestra_router import doctor

    return doctor.run(os.environ, as_json=asked.json, probe=not asked.offline)


def _config_check(asked: argparse.Namespace) -> int:
    try:
        config = load_config()
    except ConfigError as error:
        if not asked.json:
            raise
        print(json.dumps({"usable": False, "problems": str(error).splitlines()}, indent=2))
        return 1
    if asked.json:
        told = {"usable": True, "file": str(config.file or ""), "keys": len(config.keys), "rules": len(config.rules)}
        print(json.dumps(told, indent=2))
        return 0
    print(f"The configuration can be used; {count(len(config.keys), 'provider')} with a key.")
    return 0


def _models(asked: argparse.Namespace) -> int:
    models, age = with_router(_every_model)
    if asked.json:
        print(json.dumps(models, indent=2))
        return 0
    columns = ("provider", "model", "id", "in $/Mtok", "out $/Mtok", "context", "state")
    lines = [
        (
            *(m["provider"], m["model"], m["id"]),
            *(f"{m['input']:.2f}{'*' if m['peak'] else ''}", f"{m['output']:.2f}{'*' if m['peak'] else ''}"),
            *(f"{m['context']:,}", m["state"]),
        )
        for m in models
    ]
    print(table(columns, lines))
    if any(m["peak"] for m in models):
        print("* at its peak hours; the rest of the day is cheaper")
    print(f"prices: {age}")
    return 0


async def _every_model(router: "Router") -> tuple[list[Json], str]:
    from orchestra_router.clock import SystemClock
    from orchestra_tools.models import every_model

    return await every_model(router, SystemClock(), await router.provider_status())


def _probe(asked: argparse.Namespace) -> int:
    from orchestra_tools.results import status, without_blanks

    async def ask(router: "Router") -> Json:
        return status(await router.provider_status(asked.provider, probe=True), notice="")

    report = without_blanks(with_router(ask))
    if asked.json:
        print(json.dumps(report, indent=2))
    else:
        columns = ("provider", "state", "7 days", "answered", "p50", "p95", "last error", "detail", "fix")
        lines = [
            (
                *(p["name"], p["state"], str(p.get("attempts_7d", ""))),
                f"{p['success_7d']:.1%}" if "success_7d" in p else "",
                *(f"{p[name]} ms" if name in p else "" for name in ("p50_ms", "p95_ms")),
                *(p.get(name, "") for name in ("last_error", "detail", "fix")),
            )
            for p in report["providers"]
        ]
        print(table(columns, lines))
    ready = any(provider["state"] == "ready" for provider in report["providers"])
    return 0 if ready else 1
