"""The calendar days a report is about."""

import datetime as dt
from typing import Literal, get_args

from orchestra_router.errors import InvalidRequest

Period = Literal["today", "yesterday", "7_days", "week", "month", "last_month", "all"]
ONE_DAY = dt.timedelta(days=1)


def calendar(period: str, today: dt.date) -> tuple[str, str]:
    """The first and last day of `period`, both included. Weeks begin on Monday (ISO 8601); 7 days end today.

    Raises:
        InvalidRequest: there is no such period.
    """
    first = last = today
    match period:
        case "today":
            pass
        case "yesterday":
            first = last = today - ONE_DAY
        case "7_days":
            first = today - 6 * ONE_DAY
        case "week":
            first = today - today.weekday() * ONE_DAY
            last = first + 6 * ONE_DAY
        case "month":
            first = today.replace(day=1)
            last = (first + 31 * ONE_DAY).replace(day=1) - ONE_DAY
        case "last_month":
            last = today.replace(day=1) - ONE_DAY
            first = last.replace(day=1)
        case "all":
            first, last = dt.date.min, dt.date.max
        case _:
            raise InvalidRequest(f"`period` is one of {', '.join(get_args(Period))}.")
    return first.isoformat(), last.isoformat()


def given(first_day: str | None, last_day: str | None, *, today: str) -> tuple[str, str]:
    """The range a caller named; one that names no beginning begins with the records, one without an end ends today.

    Raises:
        InvalidRequest: a day is not written as 2026-11-23, or the days are reversed.
    """
    try:
        first = dt.date.fromisoformat(first_day) if first_day is not None else dt.date.min
        last = dt.date.fromisoformat(last_day if last_day is not None else today)
    except ValueError:
        raise InvalidRequest("`first_day` and `last_day` are dates such as 2026-11-23.") from None
    if first > last:
        todo = "Exchange them." if last_day is not None else "Where no last day is named, it is today."
        raise InvalidRequest(f"The first day ({first}) is after the last ({last}). {todo}")
    return first.isoformat(), last.isoformat()
