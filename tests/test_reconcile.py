"""A provider's export and the ledger: what agrees, what differs, and what could not be read."""

import json
import sqlite3
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledgers import a_database, a_hold, ended
from orchestra_router.errors import InvalidRequest
from orchestra_router.policy.exports import read
from orchestra_router.policy.reconcile import compare
from orchestra_router.store import adjustments, ledger
from orchestra_router.types import Usage

NOON_MS = 1_795_435_200_000
"""2026-11-23T12:00:00Z."""
USAGE = Usage(input_fresh=600, cache_read=400, output=100)

EXPORTS = {
    "OpenRouter activity": "generation_id,created_at,cost_total,tokens_prompt,tokens_completion,model_permaslug\n"
    "g1,2026-11-23 09:30:00.123,0.00017224,1000,100,openai/gpt-6-luna-20260902\n",
    "OpenRouter activity by day": json.dumps(
        {
            "data": [
                {
                    "date": "2026-11-23",
                    "model": "openai/gpt-6-luna",
                    "usage": 0.00017224,
                    "prompt_tokens": 1000,
                    "completion_tokens": 100,
                }
            ]
        }
    ),
    "Anthropic cost": "usage_date_utc,model,workspace,token_type,cost_usd\n"
    "2026-11-23,openai/gpt-6-luna,Default,input,0.00007224\n2026-11-23,openai/gpt-6-luna,Default,output,0.0001\n",
    "Anthropic usage": "usage_date_utc,model_version,usage_input_tokens_no_cache,usage_input_tokens_cache_read,"
    "usage_output_tokens\n2026-11-23,openai/gpt-6-luna,600,400,100\n",
    "OpenAI costs": json.dumps(
        {
            "data": [
                {
                    "start_time": 1795392000,
                    "results": [
                        {"amount": {"value": 0.00007224, "currency": "usd"}, "line_item": "openai/gpt-6-luna, input"},
                        {"amount": {"value": 0.0001, "currency": "usd"}, "line_item": "openai/gpt-6-luna, output"},
                    ],
                }
            ]
        }
    ),
    "OpenAI usage": "start_time,model,input_tokens,output_tokens\n1795392000,openai/gpt-6-luna-2026-09-02,1000,100\n",
    "a table of days": '\ufeffDay,Model,Cost,Tokens\r\n2026-11-23,gpt-6-luna,$0.00017224,"1,100"\r\n',
}


def a_ledger() -> sqlite3.Connection:
    db = a_database()
    for attempt_id, at_ms in (("a1", NOON_MS), ("before midnight", NOON_MS - 12 * 3_600_000 - 1)):
        ledger.hold(db, replace(a_hold(attempt_id, 10**6), created_ms=at_ms), [], owner="1/life/place")
        ledger.settle(db, ended(attempt_id, 172_240, usage=USAGE))
    return db


@pytest.mark.parametrize("kind", EXPORTS)
def test_every_export_is_known_by_its_header_and_agrees_to_the_nano_dollar(kind: str) -> None:
    export = read(EXPORTS[kind])

    used = adjustments.used(a_ledger(), "openrouter", first_day="2026-11-23", last_day="2026-11-23")
    (difference,) = compare(export, used)

    assert (export.kind.name, export.problems) == (kind, ())
    assert (difference.day, difference.model) == ("2026-11-23", "openai/gpt-6-luna")
    assert difference.exported_nusd in (None, 172_240)
    assert difference.exported_tokens in (None, 1_100)
    assert (difference.exported_nusd, difference.exported_tokens) != (None, None)
    assert difference.agrees


def test_what_only_one_of_them_knows_is_a_difference() -> None:
    export = read("day,model,cost\n2026-11-23,another-model,0.5\n")
    used = adjustments.used(a_ledger(), "openrouter", first_day="2026-11-22", last_day="2026-11-23")

    found = {(row.day, row.model): row.delta_nusd for row in compare(export, used)}

    assert found == {
        ("2026-11-22", "openai/gpt-6-luna"): -172_240,
        ("2026-11-23", "openai/gpt-6-luna"): -172_240,
        ("2026-11-23", "another-model"): 500_000_000,
    }


def test_a_time_with_an_offset_counts_on_its_utc_day() -> None:
    export = read("day,model,cost\n2026-11-23T23:30:00-05:00,m,1\n")

    assert export.lines[0].day == "2026-11-24"


def test_what_is_not_understood_is_told_with_its_place() -> None:
    export = read("day,model,cost\n23.11.2026,m,1\n2026-11-23,m,one\n2026-11-23,m,NaN\n2026-11-23,m,1\n")

    assert len(export.lines) == 1
    assert export.problems == (
        "line 2: its day is no date such as 2026-11-23",
        "line 3: its cost is no number",
        "line 4: its cost is no amount that anybody was billed",
    )


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "{", '{"data": 5}', "[]", "\x00"])
def test_a_file_that_is_no_export_is_refused_with_what_would_be(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"no export that is known|is none|no list of entries|no CSV"):
        read(text)


@given(amounts=st.lists(st.decimals(0, 10, places=12), min_size=1, max_size=30))
def test_fractions_of_a_nano_dollar_are_not_lost_line_by_line(amounts: list[Decimal]) -> None:
    lines = "".join(f"2026-11-23,m,{amount:f}\n" for amount in amounts)

    (difference,) = compare(read(f"day,model,cost\n{lines}"), [])

    assert difference.exported_nusd is not None
    assert abs(difference.exported_nusd - sum(amounts) * 10**9) <= Decimal("0.5")
