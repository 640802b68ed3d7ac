"""What is set aside after a failure, for how long, and by whose fault."""

import pytest

from orchestra_router import errors
from orchestra_router.deployments import Deployment, Model, Offer, Provider
from orchestra_router.errors import ProviderError
from orchestra_router.policy.health import ACCOUNT_COOLING_S, HealthView, after_failure
from orchestra_router.store.base import HealthRow

NOW = 1_000_000
HERE = Deployment(Provider(name="xai", base_url="http://x"), Model(name="grok"), Offer(id="grok-4.3"))
OTHER_MODEL = Deployment(HERE.provider, Model(name="grok-b"), Offer(id="grok-4.7"))
OTHER_PROVIDER = Deployment(Provider(name="openai", base_url="http://o"), Model(name="gpt"), Offer(id="gpt"))


def fail(error: ProviderError, before: HealthRow | None = None) -> HealthRow | None:
    return after_failure(error, HERE, fingerprint="k1", before=before, now_ms=NOW, cooldown_s=30, catalog="v1")


def view(*rows: HealthRow | None, now_ms: int = NOW, catalog: str = "v1") -> HealthView:
    return HealthView({row.target: row for row in rows if row is not None}, now_ms, catalog)


def seconds_set_aside(row: HealthRow | None) -> float:
    assert row is not None
    assert row.until_ms is not None
    return (row.until_ms - NOW) / 1000


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


def test_a_rate_limit_lasts_as_long_as_the_provider_says() -> None:
    assert seconds_set_aside(fail(errors.RateLimited(status=429, retry_after_s=107))) == 107
    assert seconds_set_aside(fail(errors.RateLimited(status=429))) == 30


def test_an_empty_account_is_asked_again_after_an_hour() -> None:
    assert seconds_set_aside(fail(errors.OutOfMoney(status=402))) == ACCOUNT_COOLING_S


@pytest.mark.parametrize("error", [errors.ServerFailed(status=500), errors.ReadTimeout(), errors.ConnectFailed()])
def test_trouble_that_may_pass_cools_after_three_failures_and_longer_with_each_further_one(
    error: ProviderError,
) -> None:
    rows = [fail(error)]
    for _ in range(8):
        rows.append(fail(error, before=rows[-1]))

    assert [seconds_set_aside(row) for row in rows] == [0, 0, 30, 60, 120, 240, 480, 600, 600]
    assert view(rows[1]).block(HERE, fingerprint="k1") is None
    assert view(rows[2]).block(HERE, fingerprint="k1") is not None
    assert view(rows[2], now_ms=NOW + 30_000).block(HERE, fingerprint="k1") is None


def test_an_unreachable_provider_is_unreachable_with_every_model() -> None:
    row = fail(errors.ConnectFailed())
    for _ in range(2):
        row = fail(errors.ConnectFailed(), before=row)

    assert view(row).block(OTHER_MODEL, fingerprint="k1") is not None
    assert view(row).block(OTHER_PROVIDER, fingerprint="k1") is None


def test_what_the_caller_did_wrong_sets_nothing_aside() -> None:
    assert fail(errors.BadRequest(status=400)) is None
    assert fail(errors.ContextTooLong(status=400)) is None
    assert fail(errors.ContentRefused(status=400)) is None
