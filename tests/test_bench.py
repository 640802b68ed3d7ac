"""`orchestra bench` measures what it says, and shows it in every form."""

import json
from pathlib import Path

import pytest

from orchestra_router.bench import report
from orchestra_router.bench.measure import Taken
from orchestra_router.cli import main

QUICK = ["bench", "--quick", "--calls", "3", "--rounds", "1"]


def taken(microseconds: float, per_s: float) -> Taken:
    return Taken([microseconds / 1e6], [per_s], [microseconds / 1e6])


def test_a_quick_run_measures_the_router_beside_a_bare_call_and_draws_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main([*QUICK, "--json", "--folder", str(tmp_path), "--svg", str(tmp_path / "bench.svg")])

    calls = json.loads(capsys.readouterr().out)["calls"]
    measured = {(call["kind"], call["callers"]): call for call in calls}
    assert code == 0
    assert measured["bare httpx call", 1]["times"] == 1
    assert {("routed, everything on", 64), ("exact hit", 1), ("fallback after a 429", 1)} <= measured.keys()
    assert all(call["p50_us"] > 0 and call["cpu_us"] > 0 for call in calls)
    picture = (tmp_path / "bench.svg").read_text(encoding="utf-8")
    assert picture.startswith("<svg")
    assert ">routed, everything on</text>" in picture
    assert [left.name for left in tmp_path.iterdir()] == ["bench.svg"]


def test_ratios_are_to_the_bare_call_of_as_many_callers_and_missed_targets_are_named() -> None:
    measured = report.Report(
        results={
            ("bare httpx call", 1): taken(700, 1_400),
            ("bare httpx call", 64): taken(90_000, 600),
            ("routed, everything on", 1): taken(1_400, 700),
            ("routed, everything on", 64): taken(18_000, 3_600),
            ("MCP stdio, an empty tool of the bare SDK", 1): taken(400, 2_500),
            ("MCP stdio, a routed call", 1): taken(1_800, 500),
        },
        commit_us=100,
        starts={},
        megabytes=80,
    )

    assert report.missed(measured) == [
        "routed, everything on at 1: 2.00 x time, 0.50 x rate",
        "MCP stdio: 2.00 bare calls",
    ]
    assert "   2.00     0.50     1400.0" in report.table(measured)


def test_only_what_must_be_a_defect_fails_a_check() -> None:
    def of(microseconds: float) -> report.Report:
        results = {("bare httpx call", 1): taken(700, 1), ("routed, everything on", 1): taken(microseconds, 1)}
        return report.Report(results=results, commit_us=1, starts={}, megabytes=1)

    assert report.defects(of(6_900)) == []
    assert report.defects(of(7_100)) == ["routed, everything on at 1: 10.1 times a bare call's CPU, over 10"]
