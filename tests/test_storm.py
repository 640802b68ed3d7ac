"""What a user notices of bad weather at the providers: next to nothing."""

from pathlib import Path

from storms import storm


async def test_requests_are_answered_through_a_storm_and_the_same_seed_decides_the_same(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()

    first = await storm(tmp_path / "first", requests=300, seed=7)
    second = await storm(tmp_path / "second", requests=300, seed=7)

    assert first.success > 0.999
    assert first.failures.total() == first.broken_off
    assert first.attempts < 2 * first.requests
    assert first.spent_nusd >= first.billed_nusd
    assert first.held_nusd == 0
    assert first.trail == second.trail
