"""Telephone numbers, by the numbering plans of their countries."""

import functools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from orchestra_router.policy.rules.base import BEGIN, END, Action, Needs, Span, looks_like_a_date

if TYPE_CHECKING:
    from phonenumbers import PhoneMetadata

PHONE = rf"(?:{BEGIN}(?<![.+/:=-])|(?<=[:=]))(?:\+|00)?\(?\d(?:[ ()./-]{{0,3}}\d){{6,14}}{END}(?![/:-]|\.\d)"
MOST_LOOKED_UP = 500
"""Candidates of one text that the library is asked about, at 0.1 ms each. Past that the plan's own pattern decides."""

_PHONE_WORDS = re.compile(
    r"(?i)(?:(?:phone|fax|whatsapp|\bmobile?|\btel[eé]fono?|\btéléphone|\bhandy|\bm[oó]vil|\bportable|\bcelular|\bnumer)\w*"
    r"|\b(?:call|text|cell|tel|dial|ring|sms|callback)\b)[^\n]{0,24}\Z"
)
_ADDRESS = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}(?!\.?\d)")
_ABROAD = re.compile(r"\+|00(?=[1-9])")
_FIGURES = re.compile(r"\d+")


class PhoneRule:
    """Numbers that a numbering plan knows: international ones anywhere, national ones where they look like one."""

    kind = "phone"
    setting = "guard_phone"
    needs = Needs(figures=7)

    def __init__(self, action: Action, regions: Sequence[str]) -> None:
        """`regions` are the countries (ISO 3166 codes such as "US") whose national numbers are looked for."""
        self.action: Action = action
        self._regions = tuple(regions)
        self._candidates = re.compile(PHONE)

    def spans(self, text: str) -> Iterator[Span]:
        plans = _Plans()
        for match in self._candidates.finditer(text):
            start, end = _closed(match[0])
            place = match.start() + start
            if self._is_number(match[0][start:end], text[max(0, place - 40) : place], plans):
                yield place, match.start() + end

    def _is_number(self, candidate: str, before: str, plans: "_Plans") -> bool:
        if abroad := _ABROAD.match(candidate):
            number = "+" + candidate[abroad.end() :]
            return plans.may_know(number, "") and plans.know(number, "")
        fitting = [region for region in self._regions if plans.may_know(candidate, region)]
        if not fitting or _ADDRESS.match(candidate):
            return False
        # A row of figures is a date, an order or a sum more often than somebody's number.
        named = _PHONE_WORDS.search(before) is not None
        if not named and (before.endswith((":", "=")) or looks_like_a_date(candidate)):
            return False
        return any((named or _as_written_in(region, candidate)) and plans.know(candidate, region) for region in fitting)


class _Plans:
    """The numbering plans, as they are asked about the candidates of one text."""

    def __init__(self) -> None:
        self._left = MOST_LOOKED_UP
        self._known: dict[tuple[str, str], bool] = {}

    @staticmethod
    def may_know(candidate: str, region: str) -> bool:
        """Whether it is worth asking. `region` is empty where `candidate` begins with its country's code."""
        figures = _figures(candidate)
        patterns = (_pattern(region),) if region else _abroad(figures)
        return any(pattern.fullmatch(figures) for pattern in patterns)

    def know(self, candidate: str, region: str) -> bool:
        """Whether `candidate`, which they may know, is a number."""
        key = _figures(candidate), region
        if (known := self._known.get(key)) is None:
            self._left -= 1
            known = self._known[key] = self._left < 0 or _valid(candidate, region or None)
        return known


def _figures(candidate: str) -> str:
    figures = "".join(_FIGURES.findall(candidate))
    return figures if figures.isascii() else "".join(str(unicodedata.digit(figure)) for figure in figures)


@functools.cache
def _pattern(region: str) -> re.Pattern[str]:
    """What every number of `region` matches, with what is dialled before it; some that are none do, too."""
    import phonenumbers  # noqa: PLC0415 - its tables take a while to load, and few prompts hold a candidate

    return _plan(phonenumbers.PhoneMetadata.metadata_for_region(region))


def _abroad(figures: str) -> Iterator[re.Pattern[str]]:
    """The plans of the countries whose code `figures` may begin with."""
    import phonenumbers  # noqa: PLC0415 - as above

    for length in (1, 2, 3):
        code = int(figures[:length])
        for region in phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(code, ()):
            yield _nowhere(code) if region == "001" else _pattern(region)


@functools.cache
def _nowhere(code: int) -> re.Pattern[str]:
    """The plan of a code that belongs to no country."""
    import phonenumbers  # noqa: PLC0415 - as above

    return _plan(phonenumbers.PhoneMetadata.metadata_for_nongeo_region(code))


def _plan(metadata: "PhoneMetadata | None") -> re.Pattern[str]:
    numbers = metadata.general_desc.national_number_pattern if metadata and metadata.general_desc else None
    if metadata is None or numbers is None or metadata.national_prefix_transform_rule:
        return re.compile(r"\d+")  # not known, or what is dialled is another number than what it stands for
    before = metadata.national_prefix_for_parsing or ""
    return re.compile(rf"(?:{metadata.country_code})?(?:{before})?(?:{numbers})")


def _closed(candidate: str) -> Span:
    """Where in `candidate` the number stands: a bracket that stays open is not part of it, except behind a plus."""
    opened = candidate.rfind("(")
    if opened < 0 or ")" in candidate[opened:] or candidate[:opened] == "+":
        return 0, len(candidate)
    return (1, len(candidate)) if opened == 0 else (0, len(candidate[:opened].rstrip(" ./-")))


def _as_written_in(region: str, candidate: str) -> bool:
    """Whether people there would write their national numbers like `candidate`: in groups, with what one dials first."""
    groups = _FIGURES.findall(candidate)
    first = _dialled_first(region)
    if first == "1":  # North America, where it may be left out
        return [len(group) for group in (groups[1:] if groups[0] == "1" else groups)] == [3, 3, 4]
    return len(groups) >= (2 if first else 3) and groups[0].startswith(first)


@functools.cache
def _dialled_first(region: str) -> str:
    import phonenumbers  # noqa: PLC0415 - as above

    metadata = phonenumbers.PhoneMetadata.metadata_for_region(region)
    return (metadata and metadata.national_prefix) or ""


def _valid(number: str, region: str | None) -> bool:
    import phonenumbers  # noqa: PLC0415 - as above

    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(number, region))
    except phonenumbers.NumberParseException:
        return False
