"""What was measured, as a table, as JSON, and as a picture: ratios first, for absolute figures are this machine's."""

import os
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from orchestra_router.bench.kinds import BARE, BARE_CHUNK, EMPTY_TOOL
from orchestra_router.bench.measure import Results, Taken
from orchestra_router.bench.provider import CHUNKS
from orchestra_router.bench.servers import Start

TARGETS: Mapping[tuple[str, int], tuple[float, str]] = {
    ("routed, everything on", 1): (1.0, "time"),
    ("routed, everything on", 64): (5.0, "rate"),
    ("exact hit", 1): (0.3, "time"),
    ("gateway, a streamed chunk", 1): (3.0, "time"),
}
"""By kind and number of callers: the most its time, or the least its rate, may be, in those of the bare call."""


MOST_CPU: Mapping[tuple[str, int], float] = {
    ("routed, everything on", 1): 10,
    ("routed, everything on", 64): 6,
    ("exact hit", 1): 3,
}
"""The CPU time that a kind may take, in those of the bare call: far more than it does, so that only a defect passes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    results: Results
    commit_us: float
    """What the disk takes for one durable write, in the folder that was used: the median."""
    starts: Mapping[str, Start]
    megabytes: float
    """Of this process, which holds the routers and their clients, at the end."""

    def rows(self) -> Iterator[tuple[str, int, Taken, float, float]]:
        """Kind, callers, what they took, and that in times of the bare call: time, and calls per second."""
        for (name, callers), taken in self.results.items():
            bare = self.results.get((BARE_CHUNK if "chunk" in name else BARE, callers))
            if bare is not None:
                yield name, callers, taken, taken.p50_us / bare.p50_us, taken.rate / bare.rate

    def mcp_in_calls(self) -> float | None:
        """How many bare calls a routed call over MCP's stdio takes beyond a tool that does nothing."""
        found = [self.results.get((name, 1)) for name in (EMPTY_TOOL, "MCP stdio, a routed call", BARE)]
        if any(taken is None for taken in found):
            return None
        empty, routed, bare = (taken.p50_us for taken in found if taken is not None)
        return (routed - empty) / bare


def table(report: Report) -> str:
    lines = ["callers  x time   x rate     p50 us     p99 us   calls/s  CPU us"]
    for callers in sorted({callers for _, callers in report.results}):
        for name, at, taken, times, rate in report.rows():
            if at == callers:
                per = CHUNKS if "chunk" in name else 1
                cpu = f"{taken.cpu_us / per:7.0f}" if not _elsewhere(name) else "      -"
                lines.append(
                    f"{callers:7}  {times:6.2f}  {rate:7.2f}  {taken.p50_us / per:9.1f}  {taken.p99_us / per:9.1f}"
                    f"  {taken.rate * per:8,.0f} {cpu}  {name}{_verdict(name, callers, times, rate)}"
                )
    if (calls := report.mcp_in_calls()) is not None:
        lines.append(f"MCP stdio: a routed call takes {calls:.2f} bare calls more than a tool that does nothing (1.0).")
    for name, start in report.starts.items():
        lines.append(f"{name}: {start.seconds:.3f} s to the listed tools, {start.megabytes:.0f} MB at rest.")
    lines.append(f"One durable write takes the disk {report.commit_us:,.0f} us; a routed call waits for one.")
    lines.append(f"This process: {report.megabytes:.0f} MB. {_machine()}")
    return "\n".join(lines)


def as_json(report: Report) -> dict[str, Any]:
    return {
        "machine": _machine(),
        "commit_us": round(report.commit_us, 1),
        "megabytes": round(report.megabytes, 1),
        "mcp_stdio_in_bare_calls": report.mcp_in_calls(),
        "starts": {
            name: {"seconds": start.seconds, "megabytes": start.megabytes} for name, start in report.starts.items()
        },
        "calls": [
            {
                "kind": name,
                "callers": callers,
                "times": round(times, 3),
                "rate_times": round(rate, 3),
                "p50_us": round(taken.p50_us, 1),
                "p99_us": round(taken.p99_us, 1),
                "calls_per_s": round(taken.rate, 1),
                "cpu_us": round(taken.cpu_us, 1),
            }
            for name, callers, taken, times, rate in report.rows()
        ],
    }


def picture(report: Report) -> str:
    """An SVG: for each kind a bar, of its time in bare calls, with one caller; the bare call is the line at 1."""
    rows = [(name, times) for name, callers, _, times, _ in report.rows() if callers == 1 and "chunk" not in name]
    width, left, height = 760, 300, 26
    most = max(times for _, times in rows)
    scale = (width - left - 60) / most
    bars: list[str] = []
    for place, (name, times) in enumerate(sorted(rows, key=lambda row: row[1])):
        y = 40 + height * place
        colour = "#888" if name == BARE else "#2b6cb0" if not _is_another(name) else "#c05621"
        bars += [
            f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{left}" y="{y}" width="{max(1.0, times * scale):.1f}" height="18" fill="{colour}"/>',
            f'<text x="{left + times * scale + 6:.1f}" y="{y + 14}">{times:.2f}</text>',
        ]
    bottom = 40 + height * len(rows)
    line = f'<line x1="{left + scale:.1f}" x2="{left + scale:.1f}" y1="32" y2="{bottom}" stroke="#444" stroke-dasharray="3 3"/>'
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {bottom + 10}" font-family="sans-serif" font-size="13">',
            '<rect width="100%" height="100%" fill="#fff"/>',
            '<text x="10" y="20" font-weight="bold">Time of one call, in bare httpx calls (less is better)</text>',
            *bars,
            line,
            "</svg>",
            "",
        )
    )


def missed(report: Report) -> Sequence[str]:
    """The targets that were not met, in words."""
    found = [
        f"{name} at {callers}: {times:.2f} x time, {rate:.2f} x rate" for name, callers, times, rate in _late(report)
    ]
    calls = report.mcp_in_calls()
    return [*found, *([f"MCP stdio: {calls:.2f} bare calls"] if calls is not None and calls > 1 else [])]


def defects(report: Report) -> Sequence[str]:
    """What takes so much CPU time that something must be wrong, on whatever machine."""
    found: list[str] = []
    for (name, callers), most in MOST_CPU.items():
        taken, bare = report.results.get((name, callers)), report.results.get((BARE, callers))
        if taken is not None and bare is not None and taken.cpu_us > most * bare.cpu_us:
            found.append(f"{name} at {callers}: {taken.cpu_us / bare.cpu_us:.1f} times a bare call's CPU, over {most}")
    return found


def _late(report: Report) -> Iterator[tuple[str, int, float, float]]:
    for name, callers, _, times, rate in report.rows():
        if _verdict(name, callers, times, rate):
            yield name, callers, times, rate


def _verdict(name: str, callers: int, times: float, rate: float) -> str:
    bound, of = TARGETS.get((name, callers), (0.0, ""))
    if of == "time" and times > bound:
        return f"  (target: {bound} x time)"
    return f"  (target: {bound} x rate)" if of == "rate" and rate < bound else ""


def _elsewhere(name: str) -> bool:
    """Whether the work is done in another process."""
    return name.startswith(("MCP", "gateway"))


def _is_another(name: str) -> bool:
    return name.startswith(("openai", "litellm"))


def _machine() -> str:
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"Python {platform.python_version()} on {sys.platform}, {os.cpu_count()} cores{load}."
