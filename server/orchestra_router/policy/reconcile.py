"""What a provider says it was used for, held against the ledger: the differences by UTC day and model."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from orchestra_router.policy.exports import Export, Line
from orchestra_router.store.adjustment_records import UsedRow
from orchestra_router.types import nusd


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One day and model. None: the export does not tell."""

    day: str
    model: str
    exported_nusd: int | None
    ledger_nusd: int
    uncertain_nusd: int
    """Of the ledger's: counted at the worst case, for nobody knew."""
    exported_tokens: int | None
    ledger_tokens: int

    @property
    def delta_nusd(self) -> int | None:
        """What the provider says, less what the ledger does."""
        return None if self.exported_nusd is None else self.exported_nusd - self.ledger_nusd

    @property
    def agrees(self) -> bool:
        same_tokens = self.exported_tokens in (None, self.ledger_tokens)
        return self.delta_nusd in (None, 0) and same_tokens


def span(export: Export) -> tuple[str, str]:
    """The first and last day of its lines; of which there has to be one."""
    days = [line.day for line in export.lines]
    return min(days), max(days)


def compare(export: Export, used: Iterable[UsedRow]) -> tuple[Difference, ...]:
    """Every day and model that either knows, in their order. A model is known by its id or our name, whichever fits."""
    ledger: dict[tuple[str, str], list[int]] = {}
    named: dict[str, str] = {}
    for row in used:
        named.setdefault(_plain(row.offer_id), row.offer_id)
        named.setdefault(_plain(row.model), row.offer_id)
        sums = ledger.setdefault((row.day, row.offer_id), [0, 0, 0])
        for place, amount in enumerate((row.cost_nusd, row.uncertain_nusd, row.tokens)):
            sums[place] += amount
    exported: dict[tuple[str, str], list[Line]] = {}
    for line in export.lines:
        exported.setdefault((line.day, _known(line.model, named)), []).append(line)
    return tuple(
        _difference(day, model, exported.get((day, model), []), ledger.get((day, model), [0, 0, 0]), export)
        for day, model in sorted({*ledger, *exported})
    )


def _difference(day: str, model: str, lines: list[Line], sums: list[int], export: Export) -> Difference:
    tells_cost = any(line.cost_usd is not None for line in export.lines)
    tells_tokens = any(line.tokens is not None for line in export.lines)
    return Difference(
        day=day,
        model=model,
        exported_nusd=nusd(sum((line.cost_usd or Decimal(0) for line in lines), Decimal(0))) if tells_cost else None,
        ledger_nusd=sums[0],
        uncertain_nusd=sums[1],
        exported_tokens=sum(line.tokens or 0 for line in lines) if tells_tokens else None,
        ledger_tokens=sums[2],
    )


def _known(model: str, named: dict[str, str]) -> str:
    """The ledger's name of what the export calls `model`: also dated ("gpt-6-luna-2026-09-02"), or with a kind of
    token after it ("gpt-6-luna, cached input").
    """
    plain = _plain(model.partition(",")[0])
    fitting = [known for known in named if plain == known or plain.startswith(f"{known}-")]
    return named[max(fitting, key=len)] if fitting else model


def _plain(model: str) -> str:
    return model.strip().lower().replace(".", "-").replace(" ", "-")
