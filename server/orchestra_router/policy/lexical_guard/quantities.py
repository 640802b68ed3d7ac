"""Numbers, dates, times and units, however they are written: "ten percent" and "10%" are one quantity."""

import re
from collections.abc import Sequence

from orchestra_router.policy.lexical_guard.tables import Tables

_ONES = {
    word: value
    for value, word in enumerate(
        [
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
        ]
    )
}
_TENS = {
    word: (place + 2) * 10
    for place, word in enumerate(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"])
}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_ORDINALS = {
    word: value
    for value, word in enumerate(
        [
            "first",
            "second",
            "third",
            "fourth",
            "fifth",
            "sixth",
            "seventh",
            "eighth",
            "ninth",
            "tenth",
            "eleventh",
            "twelfth",
            "thirteenth",
            "fourteenth",
            "fifteenth",
            "sixteenth",
            "seventeenth",
            "eighteenth",
            "nineteenth",
            "twentieth",
        ],
        start=1,
    )
}
_FRACTIONS = {"half": "1/2", "quarter": "1/4", "halves": "1/2"}
MONTHS = {
    name[:length]: f"{month:02d}"
    for month, name in enumerate(
        [
            "january",
            "february",
            "march",
            "april",
            "may",
            "june",
            "july",
            "august",
            "september",
            "october",
            "november",
            "december",
        ],
        start=1,
    )
    for length in (3, len(name))
} | {"sept": "09"}
_COUNTING = frozenset((*_ONES, *_TENS, *_SCALES, *_ORDINALS, *_FRACTIONS))
_NOT_COUNTED_AFTER = frozenset(
    ["which", "this", "that", "no", "any", "every", "each", "another", "the", "some", "only"]
)
_ROMAN = re.compile(r"(?=[IVX]{2,}$)X{0,3}(?:IX|IV|V?I{0,3})$")
_CLOCK = re.compile(r"(\d{1,2})(?::(\d{2}))?")
_SUFFIXES = {"k": 10**3, "K": 10**3, "M": 10**6, "bn": 10**9, "B": 10**9}
SPELLED = frozenset((*_ONES, *_TENS))
"""Words that are numbers by themselves."""
CHANGING = frozenset((*_SCALES, *map(str.lower, _SUFFIXES), *MONTHS, "st", "nd", "rd", "th", "am", "pm"))
"""Words that make something else of the digits before or after them, in lower case."""

_FIRST = CHANGING | {"noon", "midday", "midnight"} | _COUNTING

Reading = tuple[str, int]
"""A quantity, and how many tokens it took."""


def may_begin(word: str, lower: str) -> bool:
    """Whether a quantity may begin with `word`, a word of letters only, `lower` in lower case."""
    return word[0] in "IVX" or lower in _FIRST


def roman(word: str, *, after_name: bool, ends: bool) -> str | None:
    """The value of a Roman numeral; a single letter is one only after a name (Henry V), and I only at the end."""
    if word[0] not in "IVX" or not (
        _ROMAN.match(word) or (after_name and (word in {"V", "X"} or (word == "I" and ends)))
    ):
        return None
    values = [{"I": 1, "V": 5, "X": 10}[letter] for letter in word]
    return str(sum(-one if one < other else one for one, other in zip(values, [*values[1:], 0], strict=True)))


def date(texts: Sequence[str], place: int) -> Reading | None:
    """A day of a month at `place`, as "date 07-04"; what follows (a year) is read as a number of its own."""
    if not (texts[place][0].isdigit() or texts[place].lower() in MONTHS):
        return None
    window = [text.lower() for text in texts[place : place + 4]]
    if len(window) > 1 and window[0] in MONTHS and (day := _day(window[1])):
        return f"date {MONTHS[window[0]]}-{day}", 2
    if len(window) > 1 and (day := _day(window[0])):
        if window[1] in MONTHS:
            return f"date {MONTHS[window[1]]}-{day}", 2
        if len(window) > 2 and window[1] == "of" and window[2] in MONTHS:
            return f"date {MONTHS[window[2]]}-{day}", 3
    return None


def _day(word: str) -> str | None:
    digits = word if word.isdigit() else word.rstrip("sthndr")
    return (
        f"{int(digits):02d}"
        if digits.isdecimal() and digits.isascii() and len(digits) <= 2 and 1 <= int(digits) <= 31
        else None
    )


def clock(texts: Sequence[str], place: int) -> Reading | None:
    """A time of day, on the 24-hour clock."""
    word = texts[place].lower()
    if word in {"noon", "midday"}:
        return "time 12:00", 1
    if word == "midnight":
        return "time 00:00", 1
    found = _CLOCK.fullmatch(word) if word[0].isdigit() else None
    following = texts[place + 1].lower() if place + 1 < len(texts) else ""
    if not found or int(found[1]) > 24:
        return None
    if following in {"am", "pm"}:
        return f"time {int(found[1]) % 12 + 12 * (following == 'pm'):02d}:{found[2] or '00'}", 2
    return (f"time {int(found[1]):02d}:{found[2]}", 1) if found[2] else None


def number(texts: Sequence[str], place: int) -> Reading | None:
    """A number at `place`: digits or words, as digits. Ordinals are another kind: "ordinal 16"."""
    text = texts[place]
    if text[0].isdigit():
        value = text.replace(",", "")
        following = texts[place + 1] if place + 1 < len(texts) else ""
        scale = _SCALES.get(following.lower()) or (
            _SUFFIXES.get(following) if following in {"k", "K", "M", "bn"} else None
        )
        if scale and value.replace(".", "", 1).isdecimal() and len(value) < 30:
            return _scaled(value, scale), 2
        if following.lower() in {"st", "nd", "rd", "th"}:
            return f"ordinal {value}", 2
        return value, 1
    if text.lower().partition("-")[0] not in _COUNTING:
        return None
    return _in_words([word.lower() for word in texts[place : place + 12]], texts[place - 1].lower() if place else "")


def _scaled(value: str, scale: int) -> str:
    whole, _, part = value.partition(".")
    digits = len(str(scale)) - 1
    if len(part) > digits:
        return f"{value}*{scale}"
    return str(int(whole) * scale + int(part.ljust(digits, "0") or "0"))


def _in_words(words: Sequence[str], previous: str) -> Reading | None:
    """Such as "two hundred and five", "twenty-one", "sixteenth"; "one" is often no number."""
    total = current = taken = 0
    ordinal = False
    for place, word in enumerate(words):
        parts = word.split("-")
        following = words[place + 1] if place + 1 < len(words) else ""
        if all(part in _ONES or part in _TENS for part in parts):
            if taken and not (
                current % 100 == 0
                or (current % 10 == 0 and parts[0] in _ONES and _ONES[parts[0]] < 10 and current % 100 >= 20)
            ):
                break
            current += sum(_ONES.get(part, _TENS.get(part, 0)) for part in parts)
        elif word in _SCALES and taken:
            if word == "hundred":
                current *= 100
            else:
                total, current = total + current * _SCALES[word], 0
        elif parts[-1] in _ORDINALS and all(part in _TENS for part in parts[:-1]):
            current += sum(_TENS[part] for part in parts[:-1]) + _ORDINALS[parts[-1]]
            taken, ordinal = place + 1, True
            break
        elif word == "and" and taken and (current % 100 == 0) and (following in _ONES or following in _TENS):
            continue
        else:
            break
        taken = place + 1
    if not taken:
        return (f"{_FRACTIONS[words[0]]}", 1) if words and words[0] in _FRACTIONS and words[0] != "quarter" else None
    if words[0] == "one" and taken == 1 and (previous in _NOT_COUNTED_AFTER or (len(words) > 1 and words[1] == "of")):
        return None
    return (f"ordinal {total + current}" if ordinal else str(total + current)), taken


def unit(word: str, tables: Tables) -> str | None:
    """The unit that `word` is after a number."""
    return tables.units.get(word) or tables.units.get(word.lower())
