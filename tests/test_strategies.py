"""The order in which candidates are asked: exact shares, the least cost, the least time, a cheap model first."""

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra_router.catalog import Task
from orchestra_router.deployments import Candidate, Deployment, Figures, Model, Offer, Provider, Turn
from orchestra_router.policy.learning import Learned
from orchestra_router.policy.strategies import Around, Turns, ordered, smooth_period
from orchestra_router.store.learned_records import EscalationRow, LearnedRows, SeenRow
from orchestra_router.types import Strategy

WEIGHTS = {"openrouter": 40, "deepseek": 30, "anthropic": 20, "together": 10}


def candidate(
    provider: str, model: str = "m", *, expected_nusd: int = 100, strength: int = 3, median_ms: int | None = None
) -> Candidate:
    deployment = Deployment(
        Provider(name=provider, base_url="https://example.com"), Model(name=model, strength=strength), Offer(id=model)
    )
    return Candidate(
        deployment=deployment,
        reason="because",
        quote=Figures(worst_nusd=10 * expected_nusd, expected_nusd=expected_nusd),
        expected_ms=median_ms,
    )


def around(*, turns: dict[Turn, int] | None = None, learned: LearnedRows | None = None, good_enough: int = 2) -> Around:
    return Around(
        task=Task(name="coding", good_enough=good_enough),
        prompt_kind="short",
        learned=Learned(learned or LearnedRows()),
        weights=WEIGHTS,
        turns=turns or {},
    )


def seen(
    provider: str, *, answered: int = 0, failed: int = 0, ms: int = 100, nusd: int = 100, model: str = "m"
) -> tuple[SeenRow, ...]:
    common = {"task": "coding", "provider": provider, "model": model}
    rows = [
        SeenRow(
            **common,
            answered=1,
            attempts=answered,
            latency_ms=ms * answered,
            cost_nusd=nusd * answered,
            output_tokens=1,
        ),
        SeenRow(**common, answered=0, attempts=failed, latency_ms=0, cost_nusd=0, output_tokens=0),
    ]
    return tuple(row for row in rows if row.attempts)


def asked(strategy: Strategy, candidates: Sequence[Candidate], standing: Around) -> list[str]:
    return [c.deployment.provider.name for c in ordered(strategy, candidates, standing).route]


def taken(candidates: Sequence[Candidate], turns: int, *, failing: str = "") -> list[str]:
    """Who answers each of `turns` requests when `failing` never does."""
    given = Turns()
    answered: list[str] = []
    for _ in range(turns):
        result = ordered("weighted", candidates, around(turns=given.given))
        given.take(result.turn)
        answered.append(next(n for c in result.route if (n := c.deployment.provider.name) != failing))
    return answered


# --- weighted ------------------------------------------------------------------------------------------------


def test_providers_take_turns_in_their_shares_evenly_spread() -> None:
    names = taken([candidate(name) for name in WEIGHTS], 10)

    assert Counter(names) == {"openrouter": 4, "deepseek": 3, "anthropic": 2, "together": 1}
    assert max(len(run) for run in "".join(name[0] for name in names).split("o")) <= 3
    assert names[:4] != ["openrouter"] * 4


@given(
    weights=st.lists(st.integers(1, 60), min_size=1, max_size=6).map(tuple),
    start=st.integers(0, 1000),
)
def test_shares_are_exact_over_any_window_of_a_period(weights: tuple[int, ...], start: int) -> None:
    period = smooth_period(weights)

    window = [period[(start + step) % len(period)] for step in range(len(period))]

    assert [window.count(place) * sum(weights) for place in range(len(weights))] == [
        weight * len(period) for weight in weights
    ]


@given(start=st.integers(0, 60), failing=st.sampled_from(sorted(WEIGHTS)))
def test_the_share_of_a_provider_that_fails_goes_to_the_others_in_their_proportion(start: int, failing: str) -> None:
    """Sixty turns are a whole number of periods, whoever is missing."""
    lone = {"openrouter": 60, "deepseek": 70, "anthropic": 80, "together": 90}[failing]
    turns = 10 * lone
    names = taken([candidate(name) for name in WEIGHTS], start + turns, failing=failing)[start:]

    others = {name: weight for name, weight in WEIGHTS.items() if name != failing}
    own = {name: turns * weight // 100 for name, weight in others.items()}
    extra = turns * WEIGHTS[failing] // 100
    for name, weight in others.items():
        assert abs(names.count(name) - own[name] - extra * weight / sum(others.values())) <= 1


@given(missing=st.sampled_from(sorted(WEIGHTS)), start=st.integers(0, 40))
def test_the_share_of_a_provider_that_is_set_aside_goes_to_the_others_exactly(missing: str, start: int) -> None:
    left = {name: weight for name, weight in WEIGHTS.items() if name != missing}
    period = sum(left.values()) // 10

    names = taken([candidate(name) for name in left], start + period)[start:]

    assert Counter(names) == {name: weight // 10 for name, weight in left.items()}


def test_the_turns_of_one_set_of_providers_do_not_disturb_those_of_another() -> None:
    given = Turns()
    all_of_them, two = [candidate(name) for name in WEIGHTS], [candidate("deepseek"), candidate("anthropic")]
    names: list[str] = []
    for _ in range(10):
        for group in (all_of_them, two, two):
            result = ordered("weighted", group, around(turns=given.given))
            given.take(result.turn)
            if group is all_of_them:
                names.append(result.route[0].deployment.provider.name)

    assert Counter(names) == {"openrouter": 4, "deepseek": 3, "anthropic": 2, "together": 1}


def test_a_provider_without_a_weight_is_asked_only_when_the_others_fail() -> None:
    assert asked("weighted", [candidate("xai"), candidate("deepseek")], around()) == ["deepseek", "xai"]


# --- cheapest ------------------------------------------------------------------------------------------------


def test_the_cheapest_model_that_is_good_enough_is_asked_and_weaker_ones_only_when_all_others_failed() -> None:
    candidates = [
        candidate("openai", expected_nusd=300),
        candidate("xai", expected_nusd=1, strength=2),
        candidate("deepseek", expected_nusd=200),
    ]

    assert asked("cheapest", candidates, around(good_enough=3)) == ["deepseek", "openai", "xai"]


def test_of_two_at_the_same_price_the_one_that_fails_less_here_is_asked() -> None:
    pair = [candidate("openrouter"), candidate("anthropic")]
    rows = LearnedRows(seen("openrouter", answered=12, failed=8) + seen("anthropic", answered=20))

    assert asked("cheapest", pair, around()) == ["openrouter", "anthropic"]
    assert asked("cheapest", pair, around(learned=rows)) == ["anthropic", "openrouter"]


# --- choices among equals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "moves"),
    [
        (seen("openrouter", answered=12, failed=8), seen("anthropic", answered=20), True),
        (seen("openrouter", answered=12, failed=8), (), True),
        (seen("openrouter", answered=6, failed=4), seen("anthropic", answered=20), False),
        (seen("openrouter", answered=19, failed=1), seen("anthropic", answered=20), False),
        (seen("openrouter", answered=20, ms=900), seen("anthropic", answered=20, ms=300), True),
        (seen("openrouter", answered=20, ms=500), seen("anthropic", answered=20, ms=300), False),
        (seen("openrouter", answered=20, nusd=200), seen("anthropic", answered=20, nusd=100), True),
        (seen("openrouter", answered=20), (), False),
    ],
    ids=[
        "fails",
        "fails, the other unknown",
        "too few seen",
        "as good",
        "slower",
        "hardly slower",
        "dearer",
        "unknown does not overtake",
    ],
)
def test_the_same_model_is_asked_where_it_did_clearly_better_here(
    first: tuple[SeenRow, ...], second: tuple[SeenRow, ...], *, moves: bool
) -> None:
    candidates = [candidate("openrouter"), candidate("deepseek", "other"), candidate("anthropic")]

    order = asked("task", candidates, around(learned=LearnedRows(first + second)))

    assert order == (["anthropic", "deepseek", "openrouter"] if moves else ["openrouter", "deepseek", "anthropic"])


# --- fastest -------------------------------------------------------------------------------------------------


def test_the_fastest_here_is_asked_first() -> None:
    candidates = [
        candidate("openai", median_ms=900),
        candidate("xai", median_ms=300),
        candidate("gemini", median_ms=500),
    ]

    assert asked("fastest", candidates, around()) == ["xai", "gemini", "openai"]


def test_deployments_of_unknown_speed_are_looked_at_in_turn_and_not_at_everybodys_cost() -> None:
    candidates = [candidate("openai", median_ms=900), candidate("xai"), candidate("gemini")]
    given = Turns()
    firsts: list[str] = []
    for _ in range(16):
        result = ordered("fastest", candidates, around(turns=given.given))
        given.take(result.turn)
        firsts.append(result.route[0].deployment.provider.name)

    assert Counter(firsts) == {"openai": 12, "xai": 2, "gemini": 2}


def test_what_was_tried_and_never_answered_is_not_explored_for_ever() -> None:
    candidates = [candidate("openai", median_ms=900), candidate("xai")]

    assert asked("fastest", candidates, around()) == ["xai", "openai"]
    assert asked("fastest", candidates, around(learned=LearnedRows(seen("xai", failed=5)))) == ["openai", "xai"]


# --- escalate ------------------------------------------------------------------------------------------------


def escalated(rate: float, tried: int = 100, kind: str = "short") -> LearnedRows:
    row = EscalationRow(
        task="coding", prompt_kind=kind, provider="openai", model="small", tried=tried, escalated=round(tried * rate)
    )
    return LearnedRows(escalations=(row,))


CHEAP = candidate("openai", "small", expected_nusd=100, strength=2)
MIDDLE = candidate("deepseek", "middle", expected_nusd=200, strength=3)
STRONG = candidate("anthropic", "large", expected_nusd=1000, strength=4)


def steps(candidates: Sequence[Candidate], standing: Around) -> list[tuple[str, str]]:
    return [(c.deployment.model.name, c.step) for c in ordered("escalate", candidates, standing).route]


def test_a_cheap_model_is_tried_first_and_one_stronger_and_several_times_dearer_stands_behind_it() -> None:
    assert steps([MIDDLE, STRONG, CHEAP], around(good_enough=3)) == [
        ("small", "cheap"),
        ("large", "strong"),
        ("middle", ""),
    ]


@pytest.mark.parametrize(
    "candidates",
    [
        [CHEAP, MIDDLE],
        [candidate("openai", "small", strength=4), STRONG],
        [candidate("openai", "tiny", expected_nusd=10, strength=1)],
    ],
    ids=["too little dearer", "not stronger", "too weak to try"],
)
def test_without_a_pair_worth_it_the_tasks_own_order_stands_and_the_plan_says_so(candidates: list[Candidate]) -> None:
    result = ordered("escalate", candidates, around())

    assert [c.deployment.key for c in result.route] == [c.deployment.key for c in candidates]
    assert all(c.step == "" for c in result.route)
    assert "Nothing to escalate to" in result.notes[0]


@pytest.mark.parametrize(
    ("learned", "first"),
    [
        (escalated(0.91), "large"),
        (escalated(0.89), "small"),
        (escalated(1.0, tried=19), "small"),
        (escalated(1.0, kind="long"), "large"),
        (LearnedRows(escalations=escalated(0.1).escalations + escalated(1.0, 200, kind="long").escalations), "small"),
    ],
    ids=["above 1 - p", "below", "too few", "another kind counts while this one has too few", "this kind is enough"],
)
def test_the_cheap_step_is_skipped_where_it_costs_more_than_it_saves(learned: LearnedRows, first: str) -> None:
    """At a tenth of the price the cheap step pays for itself until more than nine in ten answers are escalated."""
    assert steps([CHEAP, STRONG], around(learned=learned))[0][0] == first
