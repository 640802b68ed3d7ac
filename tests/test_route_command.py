"""`orchestra route`: who would be asked, what was learned of them, and how to forget it."""

import json
from pathlib import Path

import anyio
import pytest

from clocks import FakeClock
from ledgers import a_hold, ended
from orchestra_router.cli import main
from orchestra_router.clock import SystemClock
from orchestra_router.policy.budget import period_at
from orchestra_router.store.db import SqliteStore

CODING = "Write a Python function that parses a date."


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = '[[rules]]\nname = "mine"\nprefer = "openai"\n'
    off = "".join(f"[providers.{name}]\nenabled = false\n" for name in ("ollama", "vllm", "lmstudio", "llamacpp"))
    (tmp_path / "orchestra.toml").write_text(rule + off, encoding="utf-8")
    monkeypatch.setenv("ORCHESTRA_HOME", str(tmp_path))
    for variable in ("OPENAI_API_KEY", "DEEPSEEK_API_KEY"):
        monkeypatch.setenv(variable, "k")


async def see_six_answers(path: Path) -> None:
    """Today, by the machine's own clock, which the command goes by."""
    store = await SqliteStore.open(path, clock=FakeClock())
    period = period_at(SystemClock().now_ms(), "UTC")
    for number in range(6):
        await store.hold(a_hold(f"a{number}", request_id=f"r{number}", provider="deepseek", period=period), [])
        await store.settle(ended(f"a{number}", 2_000_000, latency_ms=1_500))
    await store.close()


def test_a_plan_is_shown_with_its_rule_its_costs_and_who_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["route", "plan", CODING]) == 0

    shown = capsys.readouterr().out
    assert shown.startswith("coding (")
    assert "rule 'mine'" in shown
    assert shown.index("openai/gpt-6.2-sol") < shown.index("deepseek/deepseek-flash")
    assert "no key: set XAI_API_KEY" in shown


def test_a_plan_is_json_for_programs_and_the_same_each_time(capsys: pytest.CaptureFixture[str]) -> None:
    plans: list[dict[str, object]] = []
    for _ in range(2):
        assert main(["route", "plan", CODING, "--strategy", "cheapest", "--json"]) == 0
        plans.append(json.loads(capsys.readouterr().out))

    assert plans[0]["strategy"] == "cheapest"
    assert plans[0] == plans[1]


def test_what_was_learned_is_shown_and_can_be_forgotten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    anyio.run(see_six_answers, tmp_path / "orchestra.db")

    main(["route", "learned"])
    shown = capsys.readouterr().out
    main(["route", "learned", "--json"])
    known = json.loads(capsys.readouterr().out)["seen"]
    assert main(["route", "forget", "coding"]) == 0
    forgotten = capsys.readouterr().out
    main(["route", "learned"])

    assert "deepseek/gpt-6-luna  6         100%      1500 ms      $0.002000" in shown
    assert (known[0]["task"], known[0]["answered"], known[0]["median_ms"]) == ("coding", 6, 1500)
    assert forgotten.startswith("Forgotten: 6 attempts of coding.")
    assert "Nothing was seen yet" in capsys.readouterr().out


def test_a_task_that_does_not_exist_cannot_be_forgotten(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["route", "forget", "codign"]) == 1
    assert "Did you mean coding?" in capsys.readouterr().err
