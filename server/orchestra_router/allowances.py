"""What a person may say about budgets: the `[budgets]` table of `orchestra.toml`.

[budgets]
at = { 80 = "warn", 100 = "refuse" }          # every budget that says nothing else, everyone's included

[budgets.user."*"]                            # each user; a row of its own changes it field by field
day_usd = 5

[budgets.user.ada]
month_usd = 100
at = { 90 = "downgrade", 100 = "refuse" }
"""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Action = Literal["warn", "downgrade", "refuse"]
Payer = Literal["key", "user", "task"]
Usd = Annotated[Decimal, Field(ge=0, le=1_000_000_000)]
Percent = Annotated[int, Field(ge=1, le=1000)]

EACH = "*"
"""The row that counts for each one without a row of its own: every user has this much, not all of them together."""
WHOLE = 100


def _refusing_in_time(at: dict[int, Action]) -> dict[int, Action]:
    if any(action == "refuse" and percent > WHOLE for percent, action in at.items()):
        raise ValueError('must refuse at 100 at the latest; leave "refuse" out of a budget that only warns')
    return at


Actions = Annotated[dict[Percent, Action], AfterValidator(_refusing_in_time)]
"""What happens once this much of a budget, in percent, is spent."""


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)


class Allowance(_Said):
    """What one access key, user or task may spend. None: not limited, or as the row of each says."""

    day_usd: Usd | None = None
    month_usd: Usd | None = None
    at: Actions | None = None
    """None: as `Budgets.at` says."""

    def over(self, below: "Allowance") -> "Allowance":
        """What is said here, and what `below` says of the rest."""
        return below.model_copy(update={name: getattr(self, name) for name in self.model_fields_set})


class Budgets(_Said):
    """Budgets besides everyone's, by access key (its public id), user and task."""

    at: Actions = Field(default_factory=lambda: {80: "warn", WHOLE: "refuse"})
    key: dict[str, Allowance] = Field(default_factory=dict[str, Allowance])
    user: dict[str, Allowance] = Field(default_factory=dict[str, Allowance])
    task: dict[str, Allowance] = Field(default_factory=dict[str, Allowance])

    def of(self, payer: Payer, name: str) -> Allowance:
        rows: Mapping[str, Allowance] = getattr(self, payer)
        return rows.get(name, Allowance()).over(rows.get(EACH, Allowance()))


def from_environment(text: str) -> object:
    """The table as JSON, for the environment has no tables.

    Raises:
        ValueError: it is not JSON.
    """
    try:
        return json.loads(text, parse_float=Decimal)
    except ValueError:
        raise ValueError('must be JSON there, like {"user": {"ada": {"day_usd": 5}}}') from None
