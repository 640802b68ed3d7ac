"""Which of the user's own rules a request meets, and what it makes of the request."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace

from orchestra_router.config import Config
from orchestra_router.policy import budget, estimate
from orchestra_router.routing_rules import WEEKDAYS, Rule, When
from orchestra_router.types import CompletionRequest, nusd


def with_rule(request: CompletionRequest, config: Config, *, now_ms: int) -> tuple[CompletionRequest, Rule | None]:
    """`request`, whose task is known, as the first rule that it meets wants it; and that rule."""
    if not config.rules:
        return request, None
    moment = dt.datetime.fromtimestamp(now_ms / 1000, budget.zone(config.settings.timezone))
    rule = first_match(config.rules, request, moment)
    if rule is None:
        return request, None
    caps = [request.max_cost_nusd, None if rule.max_cost_usd is None else nusd(rule.max_cost_usd)]
    return (
        replace(
            request,
            strategy=request.strategy or rule.strategy,
            effort=request.effort or rule.effort,
            max_cost_nusd=min((cap for cap in caps if cap is not None), default=None),
        ),
        rule,
    )


def first_match(rules: Sequence[Rule], request: CompletionRequest, moment: dt.datetime) -> Rule | None:
    """The first of `rules` that `request` meets at `moment`, a time in the configured zone."""
    tokens = estimate.measure(request).likely_input
    return next((rule for rule in rules if _meets(request, tokens, moment, rule.when)), None)


def _meets(request: CompletionRequest, tokens: int, moment: dt.datetime, when: When) -> bool:
    scope = request.scope
    named = (
        (request.task, when.task),
        (WEEKDAYS[moment.weekday()], when.weekdays),
        (scope.user, when.user),
        (scope.session, when.session),
        (scope.access_key, when.access_key),
        *((request.metadata.get(key), values) for key, values in when.metadata.items()),
    )
    return (
        all(wanted is None or value in wanted for value, wanted in named)
        and (when.min_prompt_tokens or 0) <= tokens
        and (when.max_prompt_tokens is None or tokens <= when.max_prompt_tokens)
        and moment.hour * 60 + moment.minute in when.minutes
    )
