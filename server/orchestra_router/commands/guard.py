"""`orchestra guard test FILE`: what the guard would find in it under the settings of this machine."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from orchestra_router.commands.base import Commands, count, load_config, table
from orchestra_router.errors import InvalidRequest

if TYPE_CHECKING:
    from orchestra_router.policy.findings import Finding, Labels, Score
    from orchestra_router.policy.rules.base import Rule

SHOWN_CHARACTERS = 2
"""Of a masked value: enough to find it in one's own file."""


@dataclass(frozen=True, slots=True)
class Line:
    """One text of the file, what was found in it, and what is said to be in it (None where nothing is said)."""

    number: int
    found: "Sequence[Finding]"
    there: "Labels | None"

    @property
    def values(self) -> "Labels":
        return Counter((finding.kind, finding.value) for finding in self.found)

    def judged(self) -> "Iterator[tuple[str, str, str]]":
        """Kind, value and verdict of all that was found; then of what was not."""
        there = Counter[tuple[str, str]]() if self.there is None else self.there.copy()
        for finding in self.found:
            label = (finding.kind, finding.value)
            verdict = "" if self.there is None else "right" if there[label] > 0 else "wrong"
            there[label] -= 1
            yield *label, verdict
        for kind, value in (+there).elements():
            yield kind, value, "missed"


def add_to(commands: Commands) -> None:
    group = commands.group("guard", "See what the guard does with a text.")
    test = group.reporting("test", _test, "Say what would be found in a file, each line of it being a text.")
    test.add_argument(
        "file",
        metavar="FILE",
        type=Path,
        help='lines of text, or of JSON: {"text", "found": [{"kind", "value"}]}; "-" reads standard input',
    )
    test.add_argument("--show", action="store_true", help="show the values, which are masked otherwise")


def _test(asked: argparse.Namespace) -> int:
    from orchestra_router.policy.findings import scores  # noqa: PLC0415 - most commands need no guard
    from orchestra_router.policy.rules.all_rules import rules_for  # noqa: PLC0415 - as above

    config = load_config()
    rules = rules_for(config.settings, keys=config.secrets())
    lines = list(_lines(asked.file, rules))
    actions: dict[str, str] = {rule.kind: rule.action for rule in reversed(rules)}
    labelled = scores((line.values, line.there) for line in lines if line.there is not None)
    rows = [
        {"line": line.number, "kind": kind, "action": actions.get(kind, "off")}
        | {"value": value if asked.show else _masked(value)}
        | ({"label": verdict} if verdict else {})
        for line in lines
        for kind, value, verdict in line.judged()
    ]
    found = Counter(finding.kind for line in lines for finding in line.found)
    kinds = [
        {"kind": kind, "action": actions.get(kind, "off"), "found": found[kind]} | _shares(labelled.get(kind))
        for kind in sorted({*found, *labelled})
    ]
    if asked.json:
        print(json.dumps({"texts": len(lines), "found": rows, "kinds": kinds}, indent=2, ensure_ascii=False))
        return 0
    if rows:
        _print_table(("line", "kind", "action", "value", "label"), rows)
        print()
        _print_table(("kind", "action", "found", "precision", "recall"), kinds)
        print()
    print(f"{count(len(lines), 'text')}, {count(sum(found.values()), 'finding')}.")
    return 0


def _lines(file: Path, rules: "Sequence[Rule]") -> Iterator[Line]:
    from orchestra_router.policy.findings import findings  # noqa: PLC0415 - most commands need no guard

    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidRequest(f"`{file}` is not text in UTF-8. Convert it first.") from None
    except OSError as error:
        raise InvalidRequest(f"`{file}` cannot be read: {error.strerror}.") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            written, there = _read(line, number)
            yield Line(number, findings(rules, written), there)


def _read(line: str, number: int) -> "tuple[str, Labels | None]":
    """The text of a line, and its labels. JSON that is no object with a `text` is text like any other."""
    try:
        row: Any = json.loads(line)
    except ValueError:
        return line, None
    if not isinstance(row, dict):
        return line, None
    fields = cast("dict[str, Any]", row)
    text = fields.get("text")
    if not isinstance(text, str):
        return line, None
    if "found" not in fields:
        return text, None
    try:
        return text, Counter((str(label["kind"]), str(label["value"])) for label in fields["found"])
    except (TypeError, KeyError):
        raise InvalidRequest(
            f'Line {number}: `found` is a list of {{"kind": "...", "value": "..."}}, one for each thing in the text.'
        ) from None


def _shares(score: "Score | None") -> dict[str, float]:
    shares = {} if score is None else {"precision": score.precision, "recall": score.recall}
    return {name: round(share, 3) for name, share in shares.items() if share is not None}


def _masked(value: str) -> str:
    return value[:SHOWN_CHARACTERS] + "*" * min(8, max(2, len(value) - SHOWN_CHARACTERS))


def _print_table(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    shown = [name for name in columns if any(name in row for row in rows)]
    print(table(shown, [[str(row.get(name, "")) for name in shown] for row in rows]))
