"""The circuit breaker as a state machine: when it opens, for how long, who may try, when it closes."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra_router import errors
from orchestra_router.deployments import Deployment, Model, Offer, Provider
from orchestra_router.errors import ProviderError
from orchestra_router.policy import breaker
from orchestra_router.policy.breaker import ACCOUNT_COOLING_S, Claim, Moment, after_failure, after_success, claimed
from orchestra_router.policy.health import HealthView
from orchestra_router.store.health_records import HealthRow, Outcome

NOW = 10_000_000
HERE = Deployment(Provider(name="xai", base_url="http://x"), Model(name="grok"), Offer(id="grok-4.3"))
OTHER_MODEL = Deployment(HERE.provider, Model(name="grok-b"), Offer(id="grok-4.7"))
OTHER_PROVIDER = Deployment(Provider(name="openai", base_url="http://o"), Model(name="gpt"), Offer(id="gpt"))


def at(now_ms: int = NOW, catalog: str = "v1") -> Moment:
    return Moment(now_ms=now_ms, catalog=catalog, cooldown_s=30)


def outcomes(*named: str) -> tuple[Outcome, ...]:
    """One request each, newest first."""
    status = {"connect_failed": None, "timeout": None, "server_failed": 500, "rate_limited": 429}
    return tuple(
        Outcome(
            request_id=f"r{place}",
            created_ms=NOW - place,
            outcome=name.removesuffix("+usage"),
            status=status.get(name, 200),
            counted=name in {"ok", "invalid_answer+usage"},
        )
        for place, name in enumerate(named)
    )


def fail(
    error: ProviderError,
    before: HealthRow | None = None,
    window: tuple[Outcome, ...] | None = None,
    *,
    now_ms: int = NOW,
    began_ms: int | None = None,
) -> HealthRow | None:
    target = breaker.blamed(error, HERE, fingerprint="k1")
    if target is None:
        return None
    return after_failure(
        before,
        error,
        target=target,
        outcomes=outcomes(*[error.code] * 3) if window is None else window,
        began_ms=now_ms if began_ms is None else began_ms,
        at=at(now_ms),
    )


def opened(error: ProviderError | None = None) -> HealthRow:
    row = fail(error or errors.ServerFailed(status=500))
    assert row is not None
    return row


def view(*rows: HealthRow | None, now_ms: int = NOW, catalog: str = "v1") -> HealthView:
    return HealthView({row.target: row for row in rows if row is not None}, now_ms, catalog)


def seconds_set_aside(row: HealthRow | None) -> float:
    assert row is not None
    assert row.until_ms is not None
    return (row.until_ms - row.since_ms) / 1000


def claim(probe_id: str = "p1", *, now_ms: int = NOW, bypass: bool = False) -> Claim:
    return Claim(probe_id=probe_id, process="1/a/b", until_ms=now_ms + 65_000, bypass=bypass)


# --- whose fault it is ---------------------------------------------------------------------------------------


def test_a_model_that_is_gone_is_set_aside_at_that_provider_alone_until_the_catalog_changes() -> None:
    gone = fail(errors.ModelGone(status=404))

    later = NOW + 10**12
    assert view(gone, now_ms=later).block(HERE, fingerprint="k1") is not None
    assert view(gone, now_ms=later).block(OTHER_MODEL, fingerprint="k1") is None
    assert view(gone, now_ms=later, catalog="v2").block(HERE, fingerprint="k1") is None


def test_a_refused_key_is_set_aside_until_it_is_another_key() -> None:
    refused = fail(errors.AuthFailed(status=401))

    assert view(refused, now_ms=NOW + 10**12).block(OTHER_MODEL, fingerprint="k1") is not None
    assert view(refused).block(HERE, fingerprint="k2") is None
    assert view(refused).block(OTHER_PROVIDER, fingerprint="k1") is None


def test_an_unreachable_provider_is_unreachable_with_every_model() -> None:
    row = fail(errors.ConnectFailed())

    assert view(row).block(OTHER_MODEL, fingerprint="k1") is not None
    assert view(row).block(OTHER_PROVIDER, fingerprint="k1") is None


def test_what_the_caller_did_wrong_sets_nothing_aside() -> None:
    assert fail(errors.BadRequest(status=400)) is None
    assert fail(errors.ContextTooLong(status=400)) is None
    assert fail(errors.ContentRefused(status=400)) is None


# --- when it opens -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("window", "opens"),
    [
        (("server_failed",) * 2, False),
        (("server_failed",) * 3, True),
        (("server_failed", "ok", "timeout", "ok", "stream_broken", "ok"), True),
        (("server_failed",) * 3 + ("ok",) * 4, False),
        (("server_failed",) * 5 + ("ok",) * 20, True),  # of the latest ten, half
        (("server_failed",) * 4 + ("ok",) * 20, False),
        (
            ("server_failed", "rate_limited", "bad_request", "server_failed", "server_failed"),
            True,
        ),  # others say nothing
        (("invalid_answer+usage",) * 8, False),  # whole answers that said nothing: their prompts' doing
    ],
)
def test_it_opens_when_half_of_the_latest_requests_failed_and_three_did(window: tuple[str, ...], opens: bool) -> None:
    row = fail(errors.ServerFailed(status=500), window=outcomes(*window))

    assert (row is not None) == opens


def test_one_request_with_many_tries_counts_once() -> None:
    tries = tuple(replace(one, request_id="same") for one in outcomes(*["server_failed"] * 9))

    assert fail(errors.ServerFailed(status=500), window=tries) is None


def test_a_request_whose_retry_answered_speaks_for_the_model() -> None:
    window = outcomes("ok", "server_failed", "server_failed", "server_failed")
    recovered = (replace(window[0], request_id="r1"), *window[1:])

    assert not breaker.too_many(recovered, target="deployment:xai/grok-4.3", since_ms=0)


def test_what_failed_before_it_closed_does_not_open_it_again() -> None:
    closed = after_success(opened(), began_ms=NOW, at=at())
    before = tuple(replace(one, created_ms=NOW - 10) for one in outcomes(*["server_failed"] * 3))

    assert fail(errors.ServerFailed(status=500), closed, before) is None


def test_a_provider_that_answers_anything_is_reachable() -> None:
    window = outcomes("connect_failed", "connect_failed", "connect_failed", *["server_failed"] * 4)

    assert fail(errors.ConnectFailed(), window=window) is None


@pytest.mark.parametrize("error", [errors.RateLimited(status=429), errors.OutOfMoney(status=402)])
def test_one_word_of_the_provider_about_the_key_is_enough(error: ProviderError) -> None:
    assert fail(error, window=()) is not None


# --- for how long --------------------------------------------------------------------------------------------


def test_a_rate_limit_lasts_as_long_as_the_provider_says() -> None:
    assert seconds_set_aside(fail(errors.RateLimited(status=429, retry_after_s=107))) == 107
    assert seconds_set_aside(fail(errors.RateLimited(status=429))) == 30


def test_an_empty_account_is_asked_again_after_an_hour() -> None:
    assert seconds_set_aside(fail(errors.OutOfMoney(status=402))) == ACCOUNT_COOLING_S


@pytest.mark.parametrize("error", [errors.ServerFailed(status=500), errors.ReadTimeout(), errors.ConnectFailed()])
def test_every_probe_that_fails_makes_the_next_wait_longer_within_a_bound(error: ProviderError) -> None:
    rows = [opened(error)]
    for _ in range(6):
        due_ms = rows[-1].until_ms
        assert due_ms is not None
        again = fail(error, rows[-1], now_ms=due_ms)
        assert again is not None
        rows.append(again)

    assert [seconds_set_aside(row) for row in rows] == [30, 60, 120, 240, 480, 600, 600]


def test_one_that_opens_again_soon_after_it_closed_stays_open_for_longer() -> None:
    closed = after_success(opened(), began_ms=NOW, at=at(NOW + 30_000))
    assert closed is not None
    later = tuple(replace(one, created_ms=NOW + 40_000) for one in outcomes(*["server_failed"] * 3))

    soon = fail(errors.ServerFailed(status=500), closed, later, now_ms=NOW + 40_000)
    much_later = fail(
        errors.ServerFailed(status=500),
        closed,
        tuple(replace(one, created_ms=NOW + 10**8) for one in later),
        now_ms=NOW + 10**8,
    )

    assert (seconds_set_aside(soon), seconds_set_aside(much_later)) == (60, 30)


def test_failures_of_attempts_that_began_before_it_opened_change_nothing() -> None:
    row = opened()

    assert fail(errors.ServerFailed(status=500), row, began_ms=NOW - 1) is None


def test_a_longer_wait_replaces_a_shorter_one_and_never_the_other_way_round() -> None:
    short = opened(errors.RateLimited(status=429, retry_after_s=5))

    long = fail(errors.RateLimited(status=429, retry_after_s=50), short)

    assert seconds_set_aside(long) == 50
    assert fail(errors.RateLimited(status=429, retry_after_s=5), long) is None


# --- half open -----------------------------------------------------------------------------------------------


def test_when_its_time_is_up_one_probe_may_be_made_and_no_second() -> None:
    due = NOW + 30_000
    row = opened()

    assert claimed([row], claim(), at()) is None
    taken = claimed([row], claim(now_ms=due), at(due))
    assert taken is not None
    assert claimed(taken, claim("p2", now_ms=due), at(due)) is None
    assert view(*taken, now_ms=due).block(HERE, fingerprint="k1") is not None
    assert view(row, now_ms=due).block(HERE, fingerprint="k1") is None


def test_a_claim_that_was_never_given_back_runs_out() -> None:
    due = NOW + 30_000
    taken = claimed([opened()], claim(now_ms=due), at(due))
    assert taken is not None

    assert claimed(taken, claim("p2"), at(due + 65_000)) is not None


def test_where_everything_is_open_one_probe_is_made_all_the_same_but_not_of_what_is_gone() -> None:
    assert claimed([opened()], claim(bypass=True), at()) is not None
    assert claimed([opened(errors.ModelGone(status=404))], claim(bypass=True), at()) is None


def test_an_answer_closes_it_and_only_if_it_was_asked_for_after_it_opened() -> None:
    row = opened()

    assert after_success(row, began_ms=NOW - 1, at=at()) is None
    closed = after_success(row, began_ms=NOW, at=at())
    assert view(closed).block(HERE, fingerprint="k1") is None


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("fail"), st.integers(0, 60_000)),
        st.tuples(st.just("succeed"), st.integers(0, 60_000)),
        st.tuples(st.just("claim"), st.integers(0, 60_000)),
        st.tuples(st.just("wait"), st.integers(0, 700_000)),
    ),
    max_size=40,
)


@given(STEPS)
def test_whatever_happens_it_is_open_within_its_bounds_and_probed_by_one(steps: list[tuple[str, int]]) -> None:
    now_ms, row, holder = NOW, None, ""
    for number, (step, amount) in enumerate(steps):
        if step == "wait":
            now_ms += amount
        elif step == "fail":
            row = fail(errors.ServerFailed(status=500), row, now_ms=now_ms, began_ms=now_ms - amount) or row
        elif step == "succeed":
            row = after_success(row, began_ms=now_ms - amount, at=at(now_ms)) or row
        elif row is not None and (taken := claimed([row], claim(f"p{number}", now_ms=now_ms), at(now_ms))):
            assert not (row.probe_id == holder and holder and row.probe_until_ms > now_ms)
            row, holder = taken[0], f"p{number}"
        if row is not None and not row.closed:
            assert 30 <= seconds_set_aside(row) <= breaker.LONGEST_COOLING_S
