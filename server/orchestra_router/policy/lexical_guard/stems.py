"""The form under which the inflected forms of a word are compared: plural and singular, -ing and -ed forms.

Only endings are taken off, never a part that changes the meaning (-er, -ly, -less, -tion). `past_form` keeps apart
what tense keeps apart.
"""

import functools

from orchestra_router.policy.lexical_guard.words import words

_VOWELS = frozenset("aeiouy")
_SHORTEST = 4
_SOFT_ENDINGS = ("nge", "nce", "rse", "rce", "rge", "lve", "rve", "dge", "nse", "lse")
"""Of verbs whose -ing form does not show their final e: change, changing."""


@functools.cache
def _whole() -> frozenset[str]:
    """Words that look inflected and are not, or that must not share a stem with another."""
    return frozenset(f"{words()['whole']} {words()['near_misses']['words']}".split())


@functools.cache
def _irregular() -> dict[str, str]:
    pairs = (entry.split(":") for entry in words()["irregular"].split() if ":" in entry)
    forms = {form: verb for verb, forms in pairs for form in forms.split(",")}
    return forms | dict(pair.split(":") for pair in words()["irregular_plurals"].split())


@functools.cache
def _simple_past() -> frozenset[str]:
    """Past forms that are written otherwise than the verb, and come first; participles may stand in any tense."""
    return frozenset(entry.split(":")[1].split(",")[0] for entry in words()["irregular"].split() if ":" in entry)


@functools.lru_cache(maxsize=20_000)
def stem(word: str) -> str:
    """The stem of a lower-case `word`."""
    word = _irregular().get(word, word)
    if word in _whole() or not word.isalpha():
        return word
    word = american(_singular(word))
    if word in _whole() or len(word) < _SHORTEST:
        return word
    if word.endswith("ied") and len(word) > 4:
        return word[:-3] + "y"
    for ending in ("ing", "ed"):
        base = word[: -len(ending)]
        if word.endswith(ending) and len(base) >= 2 and _VOWELS & set(base):
            return _verb(base)
    return _verb_root(word)


def is_past_form(word: str) -> bool:
    """Written as a past form."""
    return word in _simple_past() or (word.endswith("ed") and len(word) > 4 and word not in _whole())


def _singular(word: str) -> str:
    if len(word) < _SHORTEST or not word.endswith("s") or word.endswith(("ss", "us", "is")) or word in _whole():
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "sses", "xes", "zzes")):
        return word[:-2]
    return word[:-1]


@functools.lru_cache(maxsize=20_000)
def american(word: str) -> str:
    """American endings for British ones, in words long enough that the ending is one."""
    if len(word) >= 7:
        for british, american in (
            ("ise", "ize"),
            ("ised", "ized"),
            ("ising", "izing"),
            ("isation", "ization"),
            ("yse", "yze"),
        ):
            if word.endswith(british) and not word.endswith(
                ("wise", "cise", "vise", "tise", "mise", "prise", "chise", "guise")
            ):
                return word[: -len(british)] + american
    return word


def _verb(base: str) -> str:
    """The root of a verb without its -ing or -ed."""
    if len(base) > 2 and base[-1] == base[-2] and base[-1] not in "aeiousflz":
        return _verb_root(base[:-1])
    if _syllables(base) == 1 and len(base) >= 2 and _closed(base):
        return base + "e"
    return _verb_root(base)


def _verb_root(word: str) -> str:
    """Longer words lose a final e, which their -ing forms do not show: create, creating."""
    if word.endswith(_SOFT_ENDINGS):
        return word[:-1]
    return word[:-1] if word.endswith("e") and _syllables(word[:-1]) > 1 and len(word) > 5 else word


def _closed(base: str) -> bool:
    """One vowel before one consonant: a verb that would have doubled it, had it no final e."""
    return base[-1] not in "aeiouywx" and base[-2] in _VOWELS and (len(base) == 2 or base[-3] not in _VOWELS)


def _syllables(word: str) -> int:
    return sum(
        1 for place, letter in enumerate(word) if letter in _VOWELS and (not place or word[place - 1] not in _VOWELS)
    )
