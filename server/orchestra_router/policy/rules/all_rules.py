"""The rules that an installation's settings ask for, in the order in which they are tried.

What is surest comes first: a key that holds an e-mail address is a key.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from orchestra_router.policy.rules import pii, secrets
from orchestra_router.policy.rules.base import Action, Rule
from orchestra_router.policy.rules.phone import PhoneRule


class OwnPattern(Protocol):
    @property
    def pattern(self) -> str: ...

    @property
    def action(self) -> Action: ...


class GuardSettings(Protocol):
    """What the settings say about the guard: an action for each kind."""

    @property
    def guard_secret(self) -> Action: ...
    @property
    def guard_ssn(self) -> Action: ...
    @property
    def guard_credit_card(self) -> Action: ...
    @property
    def guard_iban(self) -> Action: ...
    @property
    def guard_email(self) -> Action: ...
    @property
    def guard_identity_number(self) -> Action: ...
    @property
    def guard_phone(self) -> Action: ...
    @property
    def guard_phone_regions(self) -> Sequence[str]: ...
    @property
    def guard_ip(self) -> Action: ...
    @property
    def guard_name(self) -> Action: ...
    @property
    def guard_name_model(self) -> str: ...
    @property
    def guard_profanity(self) -> Action: ...
    @property
    def guard_patterns(self) -> Mapping[str, OwnPattern]: ...


def rules_for(settings: GuardSettings, *, keys: Iterable[str] = ()) -> tuple[Rule, ...]:
    """Every rule whose action is not "off". `keys` are this process's own, which are redacted at the least."""
    return tuple(rule for rule in _every(settings, keys) if rule.action != "off")


def _every(settings: GuardSettings, keys: Iterable[str]) -> Iterator[Rule]:
    blocks = settings.guard_secret == "block"  # noqa: S105 - an action
    own = secrets.own_keys(keys, "block" if blocks else "redact")
    if own is not None:
        yield own
    yield from secrets.secret(settings.guard_secret)
    yield from pii.given_rules(ssn=settings.guard_ssn, credit_card=settings.guard_credit_card)
    yield pii.spoken_ssn(settings.guard_ssn)
    yield pii.iban(settings.guard_iban)
    yield pii.grouped_card(settings.guard_credit_card)
    yield pii.email(settings.guard_email)
    yield pii.identity_number(settings.guard_identity_number)
    yield PhoneRule(settings.guard_phone, settings.guard_phone_regions)
    yield from pii.ip_address(settings.guard_ip)
    yield from _own_patterns(settings.guard_patterns)
    if settings.guard_name != "off":
        from orchestra_router.policy.rules.names import NamesRule  # noqa: PLC0415 - most do not use it

        yield NamesRule(settings.guard_name, settings.guard_name_model)
    if settings.guard_profanity != "off":
        from orchestra_router.policy.rules.profanity import ProfanityRule  # noqa: PLC0415 - a pattern of thousands of parts

        yield ProfanityRule(settings.guard_profanity)


def _own_patterns(patterns: Mapping[str, OwnPattern]) -> Iterator[Rule]:
    if patterns:
        from orchestra_router.policy.rules.custom import CustomRule  # noqa: PLC0415 - few have any

        for kind, own in patterns.items():
            yield CustomRule(kind, own.pattern, own.action)
