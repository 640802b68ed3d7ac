"""`orchestra report`: where the money went, for a person, a program or a spreadsheet."""

import csv
import io
import json
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from orchestra_router.errors import InvalidRequest
from orchestra_router.plain_text import one_line
from orchestra_router.policy.budget import dollars as exact
from orchestra_router.policy.costs import BudgetState, CostReport
from orchestra_router.policy.exports import Export
from orchestra_router.policy.reconcile import Difference
from orchestra_router.policy.reprice import Repricing
from orchestra_router.store.report_records import ReportRow
from orchestra_tools.costs import added, costs, dollars, escalation_columns
from orchestra_tools.results import without_blanks

MOST_LINES = 40
MOST_EXPORT_BYTES = 50_000_000
MOST_NAME_CHARS = 40
BAR_WIDTH = 20
_EIGHTHS = " ▏▎▍▌▋▊▉"
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a spreadsheet takes for the beginning of a formula (owasp.org/www-community/attacks/CSV_Injection)."""
_CSV = tuple(field.name for field in fields(ReportRow) if field.name not in {"group", "answered", "latency_ms"})


def show(report: CostReport, *, as_json: bool, csv_to: str | None) -> None:
    """Print `report`, or write it as CSV to the file `csv_to` ("-": standard output).

    Raises:
        OSError: it cannot be written.
    """
    if csv_to == "-":
        sys.stdout.write(as_csv(report))
    elif csv_to is not None:
        Path(csv_to).write_text(as_csv(report), encoding="utf-8", newline="")
    elif as_json:
        print(json.dumps(without_blanks(costs(report, notice="", most_rows=len(report.rows))), indent=2))
    else:
        print(as_text(report))


def show_repricing(found: Repricing, *, as_json: bool, wrote: bool) -> None:
    if as_json:
        print(json.dumps(asdict(found) | {"delta_nusd": found.delta_nusd}, indent=2))
        return
    head = ("deployment", "attempts", "counted", "by the list", "difference")
    lines = [
        (
            _name(key),
            f"{row.attempts:,}",
            exact(row.before_nusd),
            exact(row.after_nusd),
            exact(row.after_nusd - row.before_nusd),
        )
        for key, row in sorted(found.changed.items())
    ]
    print(f"{found.first_day} to {found.last_day}: {found.looked_at:,} attempts of known usage")
    if found.unpriced:
        print(f"{found.unpriced:,} of them no list has a price for any more; they stay as they are.")
    if lines:
        print(table([head, *lines], left=1))
    if wrote:
        print(f"{found.written:,} adjustments were written; spend changed by {exact(found.delta_nusd)}.")
    elif lines:
        print(f"Nothing was written. With --yes, spend changes by {exact(found.delta_nusd)}.")
    else:
        print("Every one counts at what the list says. There is nothing to write.")


def read_export(name: str) -> str:
    """Raises: InvalidRequest: it is too large, or no text."""
    raw = sys.stdin.buffer.read(MOST_EXPORT_BYTES + 1) if name == "-" else _begun(Path(name))
    if len(raw) > MOST_EXPORT_BYTES:
        raise InvalidRequest(f"The export has more than {MOST_EXPORT_BYTES:,} bytes. Give it in parts, by day.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidRequest("The export is no text in UTF-8.") from None


def _begun(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MOST_EXPORT_BYTES + 1)


def show_differences(export: Export, provider: str, found: Sequence[Difference], *, as_json: bool) -> None:
    differing = [difference for difference in found if not difference.agrees]
    if as_json:
        rows = [asdict(difference) | {"delta_nusd": difference.delta_nusd} for difference in found]
        about = {"export": export.kind.name, "provider": provider, "timezone": "UTC"}
        print(json.dumps({**about, "problems": export.problems, "rows": rows}, indent=2))
        return
    print(
        f"{export.kind.name}, {len(export.lines):,} lines, against the ledger of {provider}; days are UTC, as providers count"
    )
    head = ("day", "model", "exported", "ledger", "difference", "tokens exported", "ledger")
    lines = [
        (
            difference.day,
            _name(difference.model),
            "-" if difference.exported_nusd is None else exact(difference.exported_nusd),
            exact(difference.ledger_nusd) + ("*" if difference.uncertain_nusd else ""),
            "-" if difference.delta_nusd is None else exact(difference.delta_nusd),
            "-" if difference.exported_tokens is None else f"{difference.exported_tokens:,}",
            f"{difference.ledger_tokens:,}",
        )
        for difference in differing
    ]
    if lines:
        print(table([head, *lines], left=2))
    print(f"{len(found) - len(differing):,} of {len(found):,} days and models agree.")
    if any(difference.uncertain_nusd for difference in differing):
        print("* includes attempts of unknown outcome, counted at their worst case")
    for problem in export.problems:
        print(f"not understood: {problem}")


def as_csv(report: CostReport) -> str:
    """One line per group, or the total where there are none; money in nano-dollars, so that nothing is rounded."""
    text = io.StringIO(newline="")
    lines = csv.writer(text)
    lines.writerow(["first_day", "last_day", _plain(report.group_by or "group"), "spent_usd", *_CSV])
    for row in report.rows or (() if report.group_by else (report.total,)):
        amount = f"{row.spent_nusd // 10**9}.{row.spent_nusd % 10**9:09d}"
        figures = [getattr(row, name) for name in _CSV]
        lines.writerow([report.first_day, report.last_day, _plain(row.group), amount, *figures])
    return text.getvalue()


def _plain(text: str) -> str:
    """`text`, which a caller may have chosen, as one that no spreadsheet computes."""
    # Compatibility forms too: a full-width equals sign begins a formula in some.
    return f"'{text}" if unicodedata.normalize("NFKC", text).lstrip(" ").startswith(_FORMULA) else text


def as_text(report: CostReport) -> str:
    days = "since the beginning" if report.period == "all" else f"{report.first_day} to {report.last_day}"
    blocks = [f"{report.period}, {days} ({report.timezone})", *_rows(report), _totals(report.total)]
    if report.budgets:
        blocks.append(table([_budget(budget) for budget in report.budgets], left=1))
    blocks.append(_also(report))
    return "\n\n".join(block for block in blocks if block)


def _rows(report: CostReport) -> list[str]:
    if not report.group_by:
        return []
    shown, rest = report.rows[:MOST_LINES], report.rows[MOST_LINES:]
    most = max((row.spent_nusd for row in report.rows), default=0)
    also = escalation_columns(report.total)
    head = (report.group_by, "spent", "", "requests", "attempts", "failed", "tokens in", "tokens out", "saved", *also)
    drawn = [(_name(row.group), row, bar(row.spent_nusd, most)) for row in shown]
    if rest:
        drawn.append((f"{len(rest)} more", added(rest), ""))
    drawn.append(("total", report.total, ""))
    lines = [(*_line(*one), *(figure(one[1]) for figure in also.values())) for one in drawn]
    return [table([head, *lines], left=1)]


def _line(name: str, row: ReportRow, drawn: str) -> tuple[str, ...]:
    counts = (row.requests, row.attempts, row.failed, row.input_total, row.output_total)
    shown = tuple(f"{count:,}" if count else "-" for count in counts)
    return (name, dollars(row.spent_nusd), drawn.ljust(BAR_WIDTH), *shown, dollars(row.saved_nusd))


def _name(text: str) -> str:
    plain = "".join(char if char.isprintable() else "·" for char in text) or "(none)"
    return plain if len(plain) <= MOST_NAME_CHARS else f"{plain[: MOST_NAME_CHARS - 1]}…"


def _totals(total: ReportRow) -> str:
    tokens = (
        ("fresh", total.input_fresh),
        ("cache read", total.cache_read),
        ("cache write", total.cache_write),
        ("output", total.output),
        ("reasoning", total.reasoning),
    )
    lines = [
        ("spent", f"{dollars(total.spent_nusd)} for {total.requests:,} requests in {total.attempts:,} attempts"),
        ("failed", f"{total.failed:,} attempts"),
        ("tokens", ", ".join(f"{count:,} {name}" for name, count in tokens)),
    ]
    if total.compared:
        ours = f"our prices {dollars(total.computed_nusd)}"
        said = f"providers put {dollars(total.reported_nusd)} on {total.compared:,} attempts, {ours}"
        lines.append(("check", said))
    if total.cheap_steps:
        went_up = f"{total.escalated:,} of {total.cheap_steps:,} cheap answers went one step up"
        lines.append(("escalation", f"{went_up}; about {dollars(total.escalation_saved_nusd)} saved by the others"))
    if total.wasted_nusd:
        lines.append(("wasted", f"{dollars(total.wasted_nusd)} on answers that another was used in place of"))
    return table(lines, left=2)


def _budget(budget: BudgetState) -> tuple[str, ...]:
    used = budget.spent_nusd + budget.held_nusd
    share = f"{100 * used // budget.limit_nusd}%" if budget.limit_nusd else "-"
    holder = "" if budget.holder == "global" else f" {budget.holder}"
    return (
        f"budget {budget.period}{holder}",
        bar(used, budget.limit_nusd, full="░"),
        share,
        f"{dollars(budget.spent_nusd)} of {dollars(budget.limit_nusd)} spent",
        f"{dollars(budget.left_nusd)} left",
    )


def _also(report: CostReport) -> str:
    cache = report.cache
    lines = [f"cache: {cache.hits} of {cache.requests} look-ups were hits, {dollars(cache.saved_nusd)} saved"]
    if report.projection is not None:
        projection = report.projection
        lines.append(f"{projection.month} will come to about {dollars(projection.projected_nusd)}: {projection.method}")
    lines += [f"alert: spend of {alert['holder']} in {alert['period']} passed its threshold" for alert in report.alerts]
    return "\n".join([*lines, *report.notes])


def bar(amount: int, most: int, *, full: str = " ") -> str:
    """`amount` of `most` as a bar of at most `BAR_WIDTH`; `full` is what the empty rest is drawn with."""
    eighths = 0 if most <= 0 else min(8 * BAR_WIDTH, -(-8 * BAR_WIDTH * max(0, amount) // most))
    drawn = "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
    return drawn.ljust(BAR_WIDTH, full).rstrip()


def table(lines: Sequence[Sequence[str]], *, left: int) -> str:
    """`lines` in columns; the first `left` and bars to the left, figures to the right."""
    lines = [tuple(map(one_line, cells)) for cells in lines]
    columns = range(len(lines[0]))
    widths = [max(_width(line[place]) for line in lines) for place in columns]
    return "\n".join(
        "  ".join(
            f"{cell}{' ' * (width - _width(cell))}"
            if place < left or cell[:1] in ("█", *_EIGHTHS[1:], "░")
            else f"{' ' * (width - _width(cell))}{cell}"
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _width(text: str) -> int:
    """Columns of a terminal: wide characters take two, marks none."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )
