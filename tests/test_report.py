"""What `orchestra report` prints."""

import csv
from dataclasses import replace

from orchestra_router.policy.costs import BudgetState, CostReport, Projection
from orchestra_router.report import as_csv, as_text, bar
from orchestra_router.store.report_records import CacheReport, ReportRow
from orchestra_tools.costs import MOST_LINES, costs

CENT = 10_000_000


def a_report(*rows: ReportRow, group_by: str = "user", held_nusd: int = 0) -> CostReport:
    return CostReport(
        period="today",
        first_day="2026-11-23",
        last_day="2026-11-23",
        timezone="UTC",
        group_by=group_by,
        total=ReportRow(spent_nusd=sum(row.spent_nusd for row in rows), attempts=len(rows), requests=len(rows)),
        rows=rows,
        budgets=(
            BudgetState(
                holder="global",
                period="2026-11-23",
                limit_nusd=100 * CENT,
                spent_nusd=25 * CENT,
                held_nusd=held_nusd,
                left_nusd=75 * CENT - held_nusd,
            ),
        ),
        cache=CacheReport(requests=4, hits=1, misses=3, saved_nusd=CENT),
        projection=Projection(
            month="2026-11", spent_nusd=0, projected_nusd=300 * CENT, mean_day_nusd=10 * CENT, days=3
        ),
        alerts=(),
        notes=("Something to know.",),
    )


def test_a_person_sees_groups_bars_budgets_and_what_will_come() -> None:
    report = a_report(ReportRow(group="ada", spent_nusd=80 * CENT), ReportRow(group="", spent_nusd=20 * CENT))

    text = as_text(report).splitlines()

    assert text[0] == "today, 2026-11-23 to 2026-11-23 (UTC)"
    assert text[3].startswith("ada     $0.8000  ████████████████████ ")
    assert text[4].startswith("(none)  $0.2000  █████ ")
    assert any(
        line.startswith("budget 2026-11-23  █████░░░░░░░░░░░░░░░  25%  $0.2500 of $1.00 spent  $0.7500 left")
        for line in text
    )
    assert "2026-11 will come to about $3.00: spent so far, and $0.10 a day (the mean of the last 3 whole days)" in (
        as_text(report)
    )
    assert text[-1] == "Something to know."


def test_bars_are_true_to_an_eighth_of_a_character_and_never_hide_what_is_there() -> None:
    assert bar(0, 100) == ""
    assert bar(1, 1_000_000) == "▏"
    assert bar(50, 100) == "█" * 10
    assert bar(300, 100) == "█" * 20
    assert bar(5, 0) == ""


def test_no_cell_of_a_csv_is_a_formula_and_no_money_is_rounded() -> None:
    names = ["=HYPERLINK()", "+1", "-1", "@x", " =1", "\t=1", "\uff1d1+1", 'ada, "the" first']
    rows = [ReportRow(group=name, spent_nusd=1_234_567_891) for name in names]

    lines = list(csv.DictReader(as_csv(a_report(*rows)).splitlines()))

    assert [line["user"] for line in lines] == [*(f"'{name}" for name in names[:-1]), names[-1]]
    assert {line["spent_usd"] for line in lines} == {"1.234567891"}
    assert {line["spent_nusd"] for line in lines} == {"1234567891"}


def test_a_models_table_is_bounded_and_says_what_it_leaves_out() -> None:
    rows = [ReportRow(group=f"s{number} | x\n", spent_nusd=CENT, attempts=1) for number in range(100)]

    data = costs(a_report(*rows), notice="")

    table = data["table"].splitlines()
    assert len(table) == 2 + MOST_LINES + 2
    assert table[2].startswith("| s0 \\| x  | $0.0100 | 1 |")
    assert table[-2].startswith("| 88 more | $0.8800 | 88 |")
    assert table[-1].startswith("| total | $1.00 |")
    assert len(data["rows"]) == 50
    assert data["more"] == {"rows": 50, "spent_usd": 0.5}


def test_what_escalation_saved_and_wasted_is_in_every_form_and_only_where_somebody_escalates() -> None:
    row = ReportRow(
        group="coding", spent_nusd=CENT, cheap_steps=15, escalated=3, escalation_saved_nusd=12 * CENT, wasted_nusd=CENT
    )
    report = replace(a_report(row, group_by="task"), total=replace(row, group=""))
    without = a_report(ReportRow(group="coding", spent_nusd=CENT), group_by="task")

    data = costs(report, notice="")
    text = as_text(report)
    (line,) = csv.DictReader(as_csv(report).splitlines())

    says = {"cheap_answers": 15, "went_up": 3, "saved_usd": 0.12, "wasted_usd": 0.01}
    assert data["total"]["escalation"] == data["rows"][0]["escalation"] == says
    assert data["table"].splitlines()[0].endswith("| saved | went up | escalation saved | wasted |")
    assert data["table"].splitlines()[-1].endswith("| $0.00 | 3 of 15 | $0.1200 | $0.0100 |")
    assert text.splitlines()[2].endswith("saved  went up  escalation saved   wasted")
    assert text.splitlines()[3].endswith("$0.00  3 of 15           $0.1200  $0.0100")
    assert "3 of 15 cheap answers went one step up; about $0.1200 saved by the others" in text
    assert "$0.0100 on answers that another was used in place of" in text
    assert (line["cheap_steps"], line["escalated"]) == ("15", "3")
    assert (line["escalation_saved_nusd"], line["wasted_nusd"]) == (str(12 * CENT), str(CENT))
    assert "escalation" not in as_text(without)
    assert "went up" not in costs(without, notice="")["table"]
