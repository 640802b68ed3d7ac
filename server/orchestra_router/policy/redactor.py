"""Takes out of a text what must not be written down: the keys of this process, and what the guard knows by its form.

Every sink for people's eyes has it: log lines and the trace of a crash. What the settings let pass to a model is no
business of a log either, so it looks for everything.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from orchestra_router.errors import GuardrailBlocked
from orchestra_router.policy.rules.base import Rule, Span, replaced
from orchestra_router.policy.rules.sieve import Sieve

if TYPE_CHECKING:  # it loads the catalog
    from orchestra_router.config import Config

REGIONS = ("US", "GB", "DE", "FR")


class Redactor:
    def __init__(self, keys: Iterable[str] = (), patterns: Mapping[str, str] | None = None) -> None:
        """`patterns` are a person's own: kind -> regular expression."""
        self._keys = tuple(keys)
        self._patterns = dict(patterns or {})
        self._sieve: Sieve | None = None

    def __call__(self, text: str) -> str:
        try:
            return self._loaded().dealt(text, _redacted)
        except GuardrailBlocked:
            return "[a text that could not be checked]"

    def _loaded(self) -> Sieve:
        """Made for the first line that is written; most processes write none."""
        if self._sieve is None:
            self._sieve = Sieve(everything(self._keys, self._patterns))
        return self._sieve


def _redacted(rule: Rule, text: str, spans: Sequence[Span]) -> str:
    return replaced(text, spans, lambda _: f"[{rule.kind.upper()} redacted]")


def redactor(config: "Config") -> Redactor:
    """One that knows the keys and the patterns of `config`."""
    own = {kind: own.pattern for kind, own in config.settings.guard_patterns.items()}
    return Redactor(config.secrets(), own)


def everything(keys: Iterable[str], patterns: Mapping[str, str]) -> tuple[Rule, ...]:
    """A rule to redact each thing that must not be written down."""
    from orchestra_router.policy.rules import phone, pii, secrets  # noqa: PLC0415 - most processes write nothing

    own = secrets.own_keys(keys, "redact")
    return (
        *((own,) if own is not None else ()),
        *secrets.secret("redact"),
        *pii.given_rules(ssn="redact", credit_card="redact"),
        pii.spoken_ssn("redact"),
        pii.iban("redact"),
        pii.grouped_card("redact"),
        pii.email("redact"),
        pii.identity_number("redact"),
        phone.PhoneRule("redact", REGIONS),
        *_own_patterns(patterns),
    )


def _own_patterns(patterns: Mapping[str, str]) -> Iterable[Rule]:
    if not patterns:
        return ()
    from orchestra_router.policy.rules.custom import CustomRule  # noqa: PLC0415 - few have any

    return (CustomRule(kind, pattern, "redact") for kind, pattern in patterns.items())
