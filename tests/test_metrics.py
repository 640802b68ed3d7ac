"""What Prometheus reads at `/metrics`, with Prometheus' own parser; and that the dashboard asks for what there is."""

import json
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from http_worlds import HttpWorld, code_of, open_http
from orchestra_router.errors import AllAttemptsFailed
from orchestra_router.observe.metrics import TABLE, Lag, metrics_table
from orchestra_router.simulation import Reply
from worlds import ask

ROOT = Path(__file__).parent.parent
GUIDE = ROOT / "docs" / "telemetry.md"
DASHBOARD = ROOT / "docs" / "grafana" / "orchestra.json"


class Scrape:
    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self.samples: list[Sample] = [sample for family in self.families.values() for sample in family.samples]

    def values(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """Of the series `name`, by those of its labels."""
        return {tuple(s.labels[label] for label in labels): s.value for s in self.samples if s.name == name}

    def value(self, name: str) -> float:
        (value,) = [sample.value for sample in self.samples if sample.name == name]
        return value


async def scrape(world: HttpWorld) -> Scrape:
    response = await world.client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return Scrape(response.text)


async def test_requests_calls_tokens_and_cost_are_counted(tmp_path: Path) -> None:
    async with open_http(tmp_path) as world:
        world.providers["deepseek"].script(Reply(503))
        first = await world.router.complete(ask(provider="deepseek"))
        hit = await world.router.complete(ask(provider="deepseek"))

        seen = await scrape(world)

    usage = first.answer.usage
    assert usage is not None
    assert seen.values("orchestra_requests_total", "outcome", "cache", "task") == {
        ("ok", "MISS", first.task): 1,
        ("ok", "HIT", first.task): 1,
    }
    assert seen.values("orchestra_attempts_total", "provider", "model", "outcome") == {
        ("deepseek", first.model, "server_failed"): 1,
        ("deepseek", first.model, "ok"): 1,
    }
    tokens = seen.values("orchestra_tokens_total", "type")
    assert tokens[("output",)] + tokens.get(("reasoning",), 0) == usage.output_total
    assert sum(seen.values("orchestra_cost_usd_total", "source").values()) == pytest.approx(first.cost_usd)
    assert seen.value("orchestra_cache_saved_usd_total") == pytest.approx(hit.saved_nusd / 1e9)
    assert seen.value("orchestra_attempt_duration_seconds_count") == 1
    waited = sum(attempt.waited_ms for attempt in first.attempts) / 1000
    assert seen.value("orchestra_retry_wait_seconds_total") == pytest.approx(waited)


async def test_how_things_stand_is_there_before_anything_was_asked(tmp_path: Path) -> None:
    async with open_http(tmp_path, budget_day_usd="7") as world:
        seen = await scrape(world)

    assert seen.values("orchestra_budget_limit_usd", "period") == {("day",): 7, ("month",): 3000}
    assert seen.values("orchestra_budget_spent_usd", "period") == {("day",): 0, ("month",): 0}
    assert seen.values("orchestra_provider_ready", "provider")[("openai",)] == 1
    assert seen.values("orchestra_breaker_open", "provider", "model")[("openai", "")] == 0
    assert seen.value("orchestra_build_info") == 1
    assert seen.value("orchestra_event_loop_lag_seconds") >= 0


async def test_the_budget_shows_what_was_spent_and_a_breaker_that_it_is_open(tmp_path: Path) -> None:
    async with open_http(tmp_path, max_retries=0) as world:
        paid = await world.router.complete(ask(provider="openai"))
        world.providers["xai"].script(Reply(401))
        with pytest.raises(AllAttemptsFailed):
            await world.router.complete(ask("Again.", provider="xai", fallback_providers=()))

        seen = await scrape(world)

    assert seen.values("orchestra_budget_spent_usd", "period")[("day",)] == pytest.approx(paid.cost_usd)
    assert [key for key, how in seen.values("orchestra_breaker_open", "provider", "model").items() if how] == [
        key for key in seen.values("orchestra_breaker_open", "provider", "model") if key[0] == "xai"
    ]


async def test_no_name_of_a_callers_own_is_a_label(tmp_path: Path) -> None:
    async with open_http(tmp_path, user="ada", toml="\n[budgets.user]\nada = { day_usd = 5 }\n") as world:
        for name in ("made-up-1", "made-up-2"):
            with pytest.raises(AllAttemptsFailed):
                await world.router.complete(ask(provider="ollama", model=name, metadata={"app": "wombat"}))

        text = (await world.client.get("/metrics")).text

    assert [word for word in ("made-up", "ada", "wombat", "app=") if re.search(rf"\b{word}", text)] == []
    assert Scrape(text).values("orchestra_attempts_total", "model") == {("_other",): 2}


async def test_a_key_is_asked_for(tmp_path: Path) -> None:
    async with open_http(tmp_path) as world:
        response = await world.client.get("/metrics", headers={"authorization": "Bearer wrong"})

    assert (response.status_code, code_of(response)) == (401, "access_denied")


async def test_everything_in_the_table_is_exported_with_its_kind_and_its_labels(tmp_path: Path) -> None:
    async with open_http(tmp_path) as world:
        seen = await scrape(world)

    ours = {name: family.type for name, family in seen.families.items() if name.startswith("orchestra_")}
    assert ours == {row.name: row.kind for row in TABLE}


def test_the_longest_time_that_the_loop_was_late_is_told_once() -> None:
    lag = Lag()
    for seconds in (0.1, 1.5, 0.2):
        lag.was_late(seconds)

    assert (lag.longest(), lag.longest()) == (1.5, 0)


def test_the_table_in_the_guide_is_made_from_the_metrics() -> None:
    shown = GUIDE.read_text(encoding="utf-8").partition("<!-- metrics -->\n")[2].partition("\n<!-- /metrics -->")[0]

    assert shown == metrics_table()


# --- the dashboard --------------------------------------------------------------------------------------------


def exported() -> dict[str, set[str]]:
    """The labels of every series that there can be."""
    names: dict[str, set[str]] = {"process_resident_memory_bytes": set()}
    for row in TABLE:
        if row.kind == "histogram":
            names[f"{row.name}_bucket"] = {*row.labels, "le"}
        else:
            names[f"{row.name}_total" if row.kind == "counter" else row.name] = set(row.labels)
    return names


def queries() -> Iterable[str]:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    for panel in dashboard["panels"]:
        assert panel["title"]
        yield from (target["expr"] for target in panel["targets"])


def test_each_query_of_the_dashboard_names_metrics_and_labels_that_are_exported() -> None:
    names = exported()
    for query in queries():
        selected = re.findall(r"\b((?:orchestra|process)_\w+)\{([^}]*)\}", query)
        assert len(selected) == len(re.findall(r"\b(?:orchestra|process)_\w+", query)) > 0
        for metric, selector in selected:
            assert metric in names, query
            assert set(re.findall(r"(\w+)[=!]", selector)) <= {*names[metric], "instance"}, query
        grouped = {label.strip() for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(",")}
        assert grouped <= {"instance"}.union(*(names[metric] for metric, _ in selected)), query


def test_every_metric_of_ours_is_on_the_dashboard() -> None:
    asked = " ".join(queries())

    assert [row.name for row in TABLE if row.name not in asked] == []


def test_the_dashboard_fits_on_grafanas_grid() -> None:
    places = [panel["gridPos"] for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]]
    taken = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]

    assert len(taken) == len(set(taken))
    assert all(x < 24 for x, _ in taken)
