"""A plan that was recorded with everything it depends on comes out again, to the last word and the last billionth.

After a change that is meant to change plans: `UPDATE_SNAPSHOTS=1 uv run pytest tests/test_recorded_plan.py`.
"""

import json
import os
from pathlib import Path
from typing import Any

import anyio
import pytest

from orchestra_router.config import load
from orchestra_router.policy import routing, tasks, user_rules
from orchestra_router.policy.health import HealthView
from orchestra_router.policy.learning import Learned
from orchestra_router.policy.surroundings import Surroundings
from orchestra_router.pricing import Pricing
from orchestra_router.store.health_records import HealthRow
from orchestra_router.store.learned_records import EscalationRow, LearnedRows, SeenRow
from orchestra_router.types import CompletionRequest, Message, Text
from orchestra_tools.results import planned, without_blanks

Json = dict[str, Any]
FILE = Path(__file__).parent / "snapshots" / "plan.json"
RECORDED: Json = json.loads(FILE.read_text(encoding="utf-8"))


def replayed(inputs: Json, strategy: str, home: Path) -> Json:
    """The plan of the recorded request, catalog apart: that is part of the program."""
    (home / "orchestra.toml").write_text(inputs["rules"], encoding="utf-8")
    config = load({"ORCHESTRA_HOME": str(home), "ORCHESTRA_STRATEGY": strategy} | dict.fromkeys(inputs["keys"], "k"))
    now_ms = inputs["now_ms"]
    request = CompletionRequest(messages=(Message("user", (Text(inputs["prompt"]),)),), metadata=inputs["metadata"])
    request, found = anyio.run(tasks.with_task, request, config.catalog)
    request, rule = user_rules.with_rule(request, config, now_ms=now_ms)
    around = Surroundings(
        config=config,
        pricing=Pricing.of(config.settings),
        health=HealthView({row["target"]: HealthRow(**row) for row in inputs["health"]}, now_ms, ""),
        local=inputs["local"],
        learned=Learned(
            LearnedRows(
                tuple(SeenRow(**row) for row in inputs["seen"]),
                tuple(EscalationRow(**row) for row in inputs["escalations"]),
            )
        ),
        turns={},
    )
    return without_blanks(planned(routing.plan(request, around, task_reason=found.reason, rule=rule), notice=""))


@pytest.mark.parametrize("strategy", sorted(RECORDED["plans"]))
def test_a_recorded_plan_comes_out_again(tmp_path: Path, strategy: str) -> None:
    plan = replayed(RECORDED["inputs"], strategy, tmp_path)

    if os.environ.get("UPDATE_SNAPSHOTS"):
        RECORDED["plans"][strategy] = plan
        FILE.write_text(json.dumps(RECORDED, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    assert plan == RECORDED["plans"][strategy]
