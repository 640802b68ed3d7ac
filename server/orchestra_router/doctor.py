"""`orchestra doctor`: what is configured, what is missing and how to mend it, and what would be called."""

import json
import platform
import sqlite3
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import anyio

from orchestra_router.clock import SystemClock
from orchestra_router.config import Config, load
from orchestra_router.doctor_checks import (
    about_clients,
    about_keys,
    about_packages,
    about_the_data_folder,
    about_the_network,
)
from orchestra_router.errors import ConfigError, RouterError, StoreError
from orchestra_router.policy.health import HealthView
from orchestra_router.policy.status import ProviderStatus, provider_status
from orchestra_router.pricing import Pricing
from orchestra_router.router import Router, open_router
from orchestra_router.types import CompletionRequest, Message, Text

Json = dict[str, Any]

PROMPT = Message("user", (Text("Hello"),))
MOST_SHOWN = 4
"""Deployments of a route that are shown; the rest are counted."""


def run(environ: Mapping[str, str], *, as_json: bool, probe: bool) -> int:
    """Print the findings; with `probe`, each provider is asked for free whether it takes its key. 0 if at least one task could be answered, else 1."""
    findings = anyio.run(examine, environ, probe)
    print(json.dumps(findings, indent=2) if as_json else as_text(findings))
    return 0 if findings["ready"] else 1


async def examine(environ: Mapping[str, str], probe: bool) -> Json:
    """What a program would want to know; `ready` says whether any task could be answered."""
    machine = [*about_packages(), *about_clients(environ), *about_the_network(environ)]
    findings: Json = {
        "ready": False,
        "version": version("orchestra-router"),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }
    now_ms = SystemClock().now_ms()
    try:
        config = load(environ)
    except ConfigError as error:
        return findings | {"problems": [str(error), *machine]}
    machine += [*about_keys(environ, config), *about_the_data_folder(config, now_ms=now_ms)]
    settings = config.settings
    findings |= {
        "data_folder": str(settings.home),
        "config_file": str(config.file or settings.home / "orchestra.toml"),
        "config_file_exists": config.file is not None,
        "budget_day_usd": float(settings.budget_day_usd),
        "budget_month_usd": float(settings.budget_month_usd),
        "prices": Pricing.of(settings, checked=config.catalog.checked).age(now_ms=now_ms).told,
    }
    try:
        async with open_router(config) as router:
            return findings | await _examine_router(router, machine, probe=probe)
    except StoreError as error:
        return findings | {"providers": _without_database(config, now_ms), "problems": [str(error), *machine]}


def _without_database(config: Config, now_ms: int) -> list[Json]:
    """The providers by their keys alone. Local servers have none, and were not asked."""
    healthy = HealthView({}, now_ms, "")
    return [
        _provider(provider_status(provider, config, healthy), config)
        for provider in config.catalog.providers.values()
        if not provider.local
    ]


async def _examine_router(router: Router, machine: Sequence[str], *, probe: bool) -> Json:
    config = router.config
    status = await router.provider_status(probe=probe)
    tasks = [await _task(router, name) for name in config.catalog.tasks]
    ready = any("asks" in task for task in tasks)
    problems = [*status.notes, *machine]
    remote = [provider for provider in status.providers if provider.name in config.keys]
    if remote and all(provider.state == "unreachable" for provider in remote):
        problems.append(
            "Nobody whose key is set could be reached: check the network, and `HTTPS_PROXY` where a proxy leads out."
        )
    if not ready:
        problems += dict.fromkeys(task["problem"] for task in tasks)
        problems.append("To look around without any provider: `orchestra demo`.")
    size = config.settings.database.stat().st_size
    return {
        "ready": ready,
        "database": {"path": str(config.settings.database), "bytes": size},
        "embedder": status.embedder,
        "providers": [_provider(provider, config) for provider in status.providers],
        "tasks": tasks,
        "problems": problems,
    }


def _provider(provider: ProviderStatus, config: Config) -> Json:
    about = {
        "name": provider.name,
        "state": provider.state,
        "keys_from": list(config.keys.variables(provider.name)),
        "detail": provider.detail,
        "fix": provider.fix,
        "trouble": [
            f"{model.id} is {model.state}" + (f"; use {model.replacement}" if model.replacement else "")
            for model in provider.models
            if model.state != "ok" and provider.state == "ready"
        ],
    }
    return {name: value for name, value in about.items() if value}


async def _task(router: Router, name: str) -> Json:
    try:
        plan = await router.plan(CompletionRequest(messages=(PROMPT,), task=name))
    except RouterError as error:
        return {"task": name, "problem": str(error)}
    return {"task": name, "asks": [candidate.deployment.key for candidate in plan.route]}


def as_text(findings: Json) -> str:
    lines = [f"Orchestra {findings['version']}, Python {findings['python']}, SQLite {findings['sqlite']}"]
    if "config_file" in findings:
        there = "" if findings["config_file_exists"] else " (none there; not needed)"
        lines += [
            f"configuration  {findings['config_file']}{there}",
            f"prices         {findings['prices']}",
            f"budgets        ${findings['budget_day_usd']:,.2f} a day, ${findings['budget_month_usd']:,.2f} a month",
        ]
    if database := findings.get("database"):
        lines.append(f"database       {database['path']}, {database['bytes'] / 1000:,.0f} kB, can be used")
    if embedder := findings.get("embedder"):
        lines.append(f"embedder       {embedder}")
    if providers := findings.get("providers"):
        lines += ["", "providers", *(line for provider in providers for line in _provider_lines(provider))]
    if findings["ready"]:
        lines += ["", "who would be asked", *(_task_line(task) for task in findings["tasks"])]
    if problems := findings["problems"]:
        lines += ["", "to do", *(f"  {problem}" for problem in problems)]
    return "\n".join(lines)


def _provider_lines(provider: Json) -> list[str]:
    """The provider, and below it each model of its that is no longer what it was."""
    detail = "" if provider["state"] == "no_key" else provider.get("detail", "")  # then the fix says it all
    said = [detail, provider.get("fix", "")]
    if variables := provider.get("keys_from"):
        number = f"{len(variables)} keys" if len(variables) > 1 else "key"
        said.insert(0, f"{number} from {', '.join(variables)}")
    first = f"  {provider['state']:<12} {provider['name']:<12} {'; '.join(filter(None, said))}".rstrip()
    return [first, *(f"{'':<28}{trouble}" for trouble in provider.get("trouble", []))]


def _task_line(task: Json) -> str:
    if "problem" in task:
        return f"  {task['task']:<18} nobody: {task['problem']}"
    asks = task["asks"]
    more = f", then {len(asks) - MOST_SHOWN} more" if len(asks) > MOST_SHOWN else ""
    return f"  {task['task']:<18} {', then '.join(asks[:MOST_SHOWN])}{more}"
