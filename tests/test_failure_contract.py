"""The failure contract, row by row: what follows from each way an attempt can fail."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra_router import errors
from orchestra_router.errors import ProviderError
from orchestra_router.policy.retry import LONGEST_BACKOFF_S, PATIENCE_S, backoff_s, decide

CONTRACT: list[tuple[type[ProviderError], bool, str, str, str]] = [
    # error, same deployment again, next deployment, what cools, the hold without usage
    (errors.ConnectFailed, True, "next", "provider", "release"),
    (errors.AddressRefused, False, "next", "provider", "release"),
    (errors.RateLimited, True, "next", "key", "release"),
    (errors.ServerFailed, True, "next", "deployment", "uncertain"),
    (errors.ReadTimeout, True, "next", "deployment", "uncertain"),
    (errors.InvalidAnswer, True, "next", "deployment", "uncertain"),
    (errors.StreamBroken, False, "no", "deployment", "uncertain"),
    (errors.AuthFailed, False, "next", "key", "release"),
    (errors.PermissionRefused, False, "next", "deployment", "release"),
    (errors.OutOfMoney, False, "next", "key", "release"),
    (errors.ModelGone, False, "next", "deployment", "release"),
    (errors.BadRequest, False, "no", "nothing", "release"),
    (errors.ContextTooLong, False, "larger_context", "nothing", "release"),
    (errors.ContentRefused, False, "no", "nothing", "release"),
]


@pytest.mark.parametrize(("error", "again", "falls_back", "cools", "money"), CONTRACT)
def test_every_row_of_the_contract_is_what_the_error_class_says(
    error: type[ProviderError], again: bool, falls_back: str, cools: str, money: str
) -> None:
    assert (error.retryable, error.falls_back, error.cools, error.money) == (again, falls_back, cools, money)


def test_no_provider_error_is_missing_from_the_contract() -> None:
    def tree(kind: type[ProviderError]) -> set[type[ProviderError]]:
        return {kind}.union(*(tree(sub) for sub in kind.__subclasses__()))

    assert tree(ProviderError) - {ProviderError} == {row[0] for row in CONTRACT}


def step(error: ProviderError, **changes: float) -> str:
    facts = {"tries": 1, "max_retries": 2, "attempts_left": 5, "seconds_left": 50.0, "jitter": 0.5} | changes
    return decide(
        error,
        tries=int(facts["tries"]),
        max_retries=int(facts["max_retries"]),
        attempts_left=int(facts["attempts_left"]),
        seconds_left=facts["seconds_left"],
        has_next=bool(facts.get("has_next", True)),
        jitter=facts["jitter"],
    ).step


def test_a_server_error_is_retried_until_the_retries_are_used_up_and_then_the_next_is_asked() -> None:
    steps = [step(errors.ServerFailed(status=503), tries=tries) for tries in (1, 2, 3)]

    assert steps == ["again", "again", "next"]


def test_an_unreachable_provider_gets_one_quick_retry_however_many_are_allowed() -> None:
    assert step(errors.ConnectFailed(), tries=1, max_retries=9) == "again"
    assert step(errors.ConnectFailed(), tries=2, max_retries=9) == "next"


def test_a_bad_request_is_asked_nowhere_else() -> None:
    assert step(errors.BadRequest(status=400)) == "stop"


def test_a_refused_key_is_not_tried_again_but_the_next_provider_is() -> None:
    assert step(errors.AuthFailed(status=401)) == "next"


def test_the_time_a_provider_names_is_waited_for_in_full() -> None:
    verdict = decide(
        errors.RateLimited(status=429, retry_after_s=7.5),
        tries=1,
        max_retries=2,
        attempts_left=5,
        seconds_left=50,
        has_next=True,
        jitter=0.0,
    )

    assert (verdict.step, verdict.wait_s) == ("again", 7.5)


def test_a_wait_that_does_not_fit_the_deadline_goes_to_the_next_deployment_at_once() -> None:
    assert step(errors.RateLimited(status=429, retry_after_s=60.0)) == "next"
    assert step(errors.RateLimited(status=429, retry_after_s=60.0), has_next=0) == "stop"


def test_a_long_wait_is_not_worth_it_while_another_deployment_can_be_asked() -> None:
    patience = PATIENCE_S + 1

    assert step(errors.RateLimited(status=429, retry_after_s=patience)) == "next"
    assert step(errors.RateLimited(status=429, retry_after_s=patience), has_next=0) == "again"


def test_the_attempt_budget_ends_retries_and_fallbacks_alike() -> None:
    assert step(errors.ServerFailed(status=500), attempts_left=0) == "stop"
    assert step(errors.ModelGone(status=404), attempts_left=0) == "stop"


def test_retries_stop_where_only_the_attempts_kept_for_others_are_left() -> None:
    def verdict(attempts_left: int) -> str:
        return decide(
            errors.ServerFailed(status=503),
            tries=1,
            max_retries=2,
            attempts_left=attempts_left,
            seconds_left=50,
            has_next=True,
            jitter=0.5,
            kept=3,
        ).step

    assert [verdict(left) for left in (5, 4, 3)] == ["again", "again", "next"]


@given(tries=st.integers(1, 40), jitter=st.floats(0, 1, exclude_max=True))
def test_the_backoff_stays_between_nothing_and_its_ceiling(tries: int, jitter: float) -> None:
    assert 0 <= backoff_s(tries, jitter=jitter) <= LONGEST_BACKOFF_S


@given(
    retry_after=st.none() | st.floats(0, 1e6),
    tries=st.integers(1, 20),
    max_retries=st.integers(0, 10),
    attempts_left=st.integers(0, 30),
    seconds_left=st.floats(0, 300),
    has_next=st.booleans(),
    kind=st.sampled_from([row[0] for row in CONTRACT]),
)
def test_no_verdict_waits_past_the_deadline_or_spends_attempts_there_are_not(
    retry_after: float | None,
    tries: int,
    max_retries: int,
    attempts_left: int,
    seconds_left: float,
    has_next: bool,
    kind: type[ProviderError],
) -> None:
    verdict = decide(
        kind(retry_after_s=retry_after),
        tries=tries,
        max_retries=max_retries,
        attempts_left=attempts_left,
        seconds_left=seconds_left,
        has_next=has_next,
        jitter=0.99,
    )

    if verdict.step == "again":
        assert attempts_left > 0
        assert tries <= max_retries
        assert verdict.wait_s < seconds_left
    if verdict.step == "next":
        assert has_next
        assert attempts_left > 0
