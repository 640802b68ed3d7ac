"""`orchestra cache stats, list, show, delete, clear, warm, shadow, wrong`: what is kept, for the one who owns it."""

import argparse
import datetime as dt
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from orchestra_router.commands.base import Commands, count, dollars, listed, table, with_router
from orchestra_router.errors import InvalidRequest, RouterError
from orchestra_router.plain_text import lines, one_line
from orchestra_router.policy.periods import Period
from orchestra_router.types import CompletionRequest, nusd, usd

# Each command imports what it needs when it runs: a client waits for `serve`, and needs little of the rest.
# ruff: noqa: PLC0415 - see above

if TYPE_CHECKING:
    from orchestra_router.router import Router
    from orchestra_router.store.cache_records import CacheEntry, CacheRates

Json = dict[str, Any]

SHOWN_CHARACTERS = 60
MOST_SHOWN = 50
MOST_LINES = 10_000
DEFAULT_CAP_USD = 1.0


def add_to(group: Commands) -> None:
    stats = group.reporting("stats", _stats, "Say what is kept, what was a hit, and what that saved.")
    stats.add_argument("--period", choices=get_args(Period), default="all", help="of the calendar")
    listing = group.reporting("list", _list, "List what is kept, used last first.")
    listing.add_argument("--most", type=int, default=MOST_SHOWN, help="how many at most")
    show = group.reporting("show", _show, "Show one entry whole.")
    show.add_argument("id", help="the entry's, as in cache_entry")
    delete = group.reporting("delete", _delete, "Delete entries.")
    delete.add_argument("id", nargs="+", help="the entries', as in cache_entry")
    group.reporting("clear", _clear, "Delete every entry. What was marked wrong stays marked.")
    warm = group.reporting("warm", _warm, "Ask prompts now, so that their answers are kept.")
    warm.add_argument("file", type=Path, help='JSON lines with the arguments of `complete`: {"prompt": "..."}')
    warm.add_argument(
        "--max-cost-usd", type=float, default=DEFAULT_CAP_USD, help="what all of it may cost (%(default)s)"
    )
    warm.add_argument("--yes", action="store_true", help="do not ask before paying")
    shadow = group.reporting("shadow", _shadow, "Show what shadow mode would have served, to judge it.")
    shadow.add_argument("--most", type=int, default=MOST_SHOWN, help="how many at most, the newest")
    wrong = group.reporting("wrong", _wrong, "Delete an entry that was served for another question, for good.")
    wrong.add_argument("id", help="the entry's, as in cache_entry")
    wrong.add_argument("--prompt", help="the question it was wrong for; without it, all it was served for")


# --- looking ---------------------------------------------------------------------------------------------------


def _stats(asked: argparse.Namespace) -> int:
    from orchestra_router.store.cache_records import CacheGroupBy

    groups: tuple[CacheGroupBy, ...] = ("task", "provider", "user", "reason")

    async def ask(router: "Router") -> Json:
        report = await router.cost_report(period=asked.period)
        first, last = report.first_day, report.last_day
        contents = await router.store.cache_contents()
        total = await router.store.cache_rates(first_day=first, last_day=last)
        by_group = {
            f"by_{group}": [
                _rates(row) for row in await router.store.cache_rates(first_day=first, last_day=last, group_by=group)
            ]
            for group in groups
        }
        return by_group | {
            "embedder": _embedder(router),
            "kept": asdict(contents),
            "period": asked.period,
            "total": [_rates(row) for row in total],
        }

    stats = with_router(ask)
    if asked.json:
        print(json.dumps(stats, indent=2))
        return 0
    kept = stats["kept"]
    kept_told = f"{count(kept['entries'], 'answer')} of {count(kept['scopes'], 'scope')}"
    print(f"kept      {kept_told}, {kept['bytes'] / 1e6:.1f} MB")
    print(f"compared  {kept['comparable']:,} by meaning, {kept['embedded']:,} with a vector; {stats['embedder']}")
    print(f"marked    {count(kept['wrong_pairs'], 'pair')} wrong")
    columns = ("", "look-ups", "exact hits", "by meaning", "hit rate", "saved")
    rows = [("total", *_shown_rates(row)) for row in stats["total"]]
    for group in ("task", "provider", "user"):
        rows += [(f"{group} {row['group'] or '(none)'}", *_shown_rates(row)) for row in stats[f"by_{group}"]]
    print(table(columns, rows))
    reasons = [(row["group"], str(row["requests"])) for row in stats["by_reason"] if row["group"]]
    if reasons:
        print(table(("why not", "look-ups"), reasons))
    return 0


def _embedder(router: "Router") -> str:
    state = router.embedder.state()
    return f"embedder {state.identity}" if state.identity else state.problem or "no embedder: the same words only"


def _rates(row: "CacheRates") -> Json:
    return {
        "group": row.group,
        "requests": row.requests,
        "hits": row.hits,
        "semantic_hits": row.semantic_hits,
        "misses": row.misses,
        "hit_rate": round(row.hit_rate, 4),
        "saved_usd": usd(row.saved_nusd),
    }


def _shown_rates(row: Json) -> tuple[str, ...]:
    counts = (str(row[name]) for name in ("requests", "hits", "semantic_hits"))
    return (*counts, f"{row['hit_rate']:.0%}", dollars(nusd(row["saved_usd"])))


def _list(asked: argparse.Namespace) -> int:
    async def ask(router: "Router") -> list[Json]:
        return [_entry(entry) for entry in await router.store.cache_entries(most=asked.most)]

    entries = with_router(ask)
    if asked.json:
        print(json.dumps(entries, indent=2))
        return 0
    columns = ("entry", "user", "task", "model", "hits", "cost", "expires", "prompt")
    print(listed(columns, [_line(entry) for entry in entries], otherwise="Nothing is kept."))
    return 0


def _entry(entry: "CacheEntry") -> Json:
    return {
        "id": entry.entry_id,
        "access_key": entry.scope.access_key,
        "user": entry.scope.user,
        "session": entry.scope.session,
        "task": entry.task,
        "provider": entry.provider,
        "model": entry.model,
        "prompt": entry.prompt,
        "comparable": bool(entry.rough),
        "embedder": entry.embedder,
        "guard": entry.guard,
        "hits": entry.hits,
        "cost_usd": usd(entry.cost_nusd),
        "created": _time(entry.created_ms),
        "used": _time(entry.used_ms),
        "expires": _time(entry.expires_ms),
    }


def _line(entry: Json) -> tuple[str, ...]:
    return (
        *(entry[name] for name in ("id", "user", "task", "model")),
        str(entry["hits"]),
        f"${entry['cost_usd']:.6f}",
        entry["expires"],
        _short(entry["prompt"]) or "(exact hits only)",
    )


def _show(asked: argparse.Namespace) -> int:
    async def ask(router: "Router") -> Json:
        entry = await router.store.cache_entry(asked.id)
        if entry is None:
            raise InvalidRequest(f"There is no cache entry {asked.id}. `orchestra cache list` shows those there are.")
        return _entry(entry) | {"answer": json.loads(entry.body)["answer"]}

    found = with_router(ask)
    if asked.json:
        print(json.dumps(found, indent=2))
        return 0
    print("\n".join(one_line(f"{name:<11} {value}") for name, value in found.items() if name != "answer"))
    print(f"\n{lines(found['answer']['text'])}")
    return 0


# --- deleting --------------------------------------------------------------------------------------------------


def _delete(asked: argparse.Namespace) -> int:
    async def work(router: "Router") -> int:
        return sum([await router.store.drop_cached(entry_id=entry_id) for entry_id in asked.id])

    return _deleted(with_router(work), asked)


def _clear(asked: argparse.Namespace) -> int:
    async def work(router: "Router") -> int:
        deleted = 0
        while some := await router.store.drop_cached():  # others write in between
            deleted += some
        return deleted

    _deleted(with_router(work), asked)
    return 0


def _deleted(deleted: int, asked: argparse.Namespace) -> int:
    print(json.dumps({"deleted": deleted}) if asked.json else f"{deleted} deleted.")
    return 0 if deleted else 1


def _wrong(asked: argparse.Namespace) -> int:
    from orchestra_router.clock import SystemClock

    async def work(router: "Router") -> bool:
        return await router.cache.wrong_for_all(asked.id, asked.prompt, now_ms=SystemClock().now_ms())

    known = with_router(work)
    if asked.json:
        print(json.dumps({"deleted": known}))
    else:
        said = "deleted; what it answered is not served again for what it was served for." if known else "not known."
        print(f"{asked.id}: {said}")
    return 0 if known else 1


def _shadow(asked: argparse.Namespace) -> int:
    async def ask(router: "Router") -> tuple[list[Json], bool]:
        matches = await router.store.cache_matches(served=False, most=asked.most)
        return [
            {
                "at": _time(match.at_ms),
                "entry": match.entry_id,
                "would_be_hit": not match.refusal,
                "refusal": match.refusal,
                "similarity": None if match.similarity is None else round(match.similarity, 4),
                "earlier": match.earlier,
                "asked": match.asked,
            }
            for match in matches
        ], router.config.settings.cache_shadow

    matches, is_on = with_router(ask)
    if asked.json:
        print(json.dumps(matches, indent=2))
        return 0
    if not matches:
        print("Nothing was compared in shadow mode yet." if is_on else "Shadow mode is off: set `cache_shadow = true`.")
        return 0
    for match in matches:
        verdict = "would be a hit" if match["would_be_hit"] else f"refused: {match['refusal']}"
        print(f"{match['at']}  entry {match['entry']}  similarity {match['similarity']}  {verdict}")
        print(f"    kept   {one_line(match['earlier'])}\n    asked  {one_line(match['asked'])}")
    hits = sum(match["would_be_hit"] for match in matches)
    print(f"{hits} of {len(matches)} would have been hits. What is wrong: orchestra cache wrong ENTRY --prompt ASKED")
    return 0


# --- warming ---------------------------------------------------------------------------------------------------


def _warm(asked: argparse.Namespace) -> int:
    async def work(router: "Router") -> Json:
        requests = list(_requests(asked.file, router.config.settings.max_tokens))
        cap_nusd = nusd(asked.max_cost_usd)
        expected_nusd = sum([await _expected_nusd(router, request) for request in requests])
        if not asked.yes and not _agreed(len(requests), expected_nusd, cap_nusd):
            raise RouterError("Nothing was asked and nothing paid. With --yes it is done without a question.")
        return await _warmed(router, requests, cap_nusd)

    done = with_router(work)
    if asked.json:
        print(json.dumps(done, indent=2))
    else:
        print(
            f"{done['asked']} asked for {dollars(nusd(done['cost_usd']))}, {done['hits']} were there already,"
            f" {len(done['failed'])} failed, {done['left']} left out at the cap of ${asked.max_cost_usd:.2f}."
        )
        for failed in done["failed"]:
            print(f"  line {failed['line']}: {failed['error']}")
    return 0 if not done["failed"] and not done["left"] else 1


def _requests(file: Path, max_tokens: int) -> Iterator[tuple[int, CompletionRequest]]:
    """The number of each line, and the request it stands for."""
    from pydantic import ValidationError

    from orchestra_router.asking import CompleteArguments
    from orchestra_router.explain import explain

    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise InvalidRequest(f"{file} cannot be read as text. Name a file of JSON lines.") from None
    if len(lines) > MOST_LINES:
        raise InvalidRequest(f"{file} has {len(lines):,} lines; at most {MOST_LINES:,} are asked at once. Split it.")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            arguments = CompleteArguments.model_validate(json.loads(line))
        except ValidationError as error:
            raise InvalidRequest(f"{file}:{number}: {explain('complete', CompleteArguments, error)}") from None
        except ValueError:
            raise InvalidRequest(
                f'{file}:{number} is no JSON. Write one object per line: {{"prompt": "..."}}'
            ) from None
        yield number, arguments.request(max_tokens=max_tokens)


async def _expected_nusd(router: "Router", request: tuple[int, CompletionRequest]) -> int:
    """What the first choice is expected to cost; 0 for what cannot be routed, which fails by itself later."""
    try:
        return (await router.plan(request[1])).route[0].expected_nusd
    except RouterError:
        return 0


def _agreed(requests: int, expected_nusd: int, cap_nusd: int) -> bool:
    print(
        f"{count(requests, 'prompt')}, about {dollars(expected_nusd)}, at most ${usd(cap_nusd):.2f}. Ask them now? [y/N] ",
        end="",
        file=sys.stderr,
        flush=True,
    )
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


async def _warmed(router: "Router", requests: Sequence[tuple[int, CompletionRequest]], cap_nusd: int) -> Json:
    """One after the other, each with what is left of the cap, until nothing is left of it."""
    spent_nusd = asked = hits = 0
    failed: list[Json] = []
    for place, (number, request) in enumerate(requests):
        left_nusd = cap_nusd - spent_nusd
        if left_nusd <= 0:
            return _outcome(asked, hits, spent_nusd, failed, left=len(requests) - place)
        own_nusd = request.max_cost_nusd
        capped = left_nusd if own_nusd is None else min(own_nusd, left_nusd)
        try:
            completion = await router.complete(replace(request, max_cost_nusd=capped))
        except RouterError as error:
            failed.append({"line": number, "error": str(error)})
            spent_nusd += sum(attempt.cost_nusd for attempt in error.attempts)
        else:
            spent_nusd += completion.cost_nusd
            hits += "HIT" in completion.cache
            asked += "HIT" not in completion.cache
    await router.cache.settled()
    return _outcome(asked, hits, spent_nusd, failed, left=0)


def _outcome(asked: int, hits: int, spent_nusd: int, failed: Sequence[Json], *, left: int) -> Json:
    return {"asked": asked, "hits": hits, "cost_usd": usd(spent_nusd), "failed": list(failed), "left": left}


# --- words -----------------------------------------------------------------------------------------------------


def _time(at_ms: int) -> str:
    return dt.datetime.fromtimestamp(at_ms / 1000, dt.UTC).isoformat(timespec="seconds") if at_ms else ""


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_CHARACTERS else f"{line[: SHOWN_CHARACTERS - 1]}…"
