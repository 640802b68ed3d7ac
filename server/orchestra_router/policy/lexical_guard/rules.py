"""The rules, in the order they are asked; the first that finds a difference names it.

Level 1: literals, quantities, negations, opposites. Level 2: the kind of question, tense, persons, limiting words,
and/or, names, order and prepositions, one replaced word. Level 3: words that only one side has, and the limits of a
rewording. Level 4: the same content words.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from orchestra_router.policy.lexical_guard.order import exchanged, left_out_differs
from orchestra_router.policy.lexical_guard.parsing import Parsed
from orchestra_router.policy.lexical_guard.tables import tables

GUARD_VERSION = 5
"""Goes up with every change of a rule or table that could let through what was stopped before."""
Level = Literal[1, 2, 3, 4]
Rule = Callable[[Parsed, Parsed], str | None]
LONGEST_REWORDING = 25
"""Content words. What is longer is material, and must have the same words."""
LONGEST_REPLACEMENT = 3
_ASKERS = frozenset(["my", "your"])
_REQUESTS = frozenset(["how_to", "give", "recommend", "write", "noun"])
_LISTS = frozenset(["give", "recommend"])
_LASTING = frozenset(["how long", "how far"])
_SOFT_LIMITS = frozenset(["some", "any", "best", "can", "should", "would"])
"""They add nothing to a request for tips, steps or a text."""
_TELLING = frozenset(["what_is", "how_works"])
_DETAIL = 40


def difference(a: Parsed, b: Parsed, *, level: int) -> str | None:
    """Why an answer to `a` must not be served for `b` at `level`, or None when it may."""
    if a.text == b.text:
        return None
    if not (a.covered and b.covered):
        return "not covered" if _bare(a.text) != _bare(b.text) else None
    for needed, rule in RULES:
        if needed <= level and (reason := rule(a, b)):
            return reason
    return None


def _bare(text: str) -> str:
    """Case stays: in many languages it tells words apart."""
    return text.rstrip(" ?!.。\uff1f\uff01") or text


def _literals(a: Parsed, b: Parsed) -> str | None:
    return _unequal("literal", a.literals, b.literals)


def _quantities(a: Parsed, b: Parsed) -> str | None:
    one, other = Counter(a.quantities), Counter(b.quantities)
    if one == other:
        return None
    only_a, only_b = sorted((one - other).elements()), sorted((other - one).elements())
    kind = (only_a + only_b)[0].partition(" ")[0]
    return _said(kind if kind in {"unit", "date", "time", "ordinal"} else "number", only_a, only_b)


def _negations(a: Parsed, b: Parsed) -> str | None:
    one, other = ([item for item in parsed.items if item.kind == "not"] for parsed in (a, b))
    return (
        _said("negation", [item.said for item in one], [item.said for item in other])
        if len(one) != len(other)
        else None
    )


def _opposites(a: Parsed, b: Parsed) -> str | None:
    known = tables()
    only_a, only_b = a.forms - b.forms, b.forms - a.forms
    for one in sorted(only_a):
        for other in sorted(only_b):
            if (one, other) in known.opposites or _prefixed(one, other) or _prefixed(other, one):
                return _said("opposite", [one], [other])
    return None


def _prefixed(long: str, short: str) -> bool:
    return len(short) > 3 and long.endswith(short) and long[: -len(short)].rstrip("-") in tables().prefixes


def _as_such(a: Parsed, b: Parsed) -> str | None:
    return _unequal("wording", a.as_such or (), b.as_such or ())


def _question(a: Parsed, b: Parsed) -> str | None:
    return None if a.question.fits(b.question) else f"question: {a.question} / {b.question}"


def _tense(a: Parsed, b: Parsed) -> str | None:
    if a.tenses != b.tenses and not (_has_no_verb(a) or _has_no_verb(b)):
        return _said("tense", sorted(a.tenses), sorted(b.tenses))
    for word in a.past_forms.keys() & b.past_forms.keys():
        if a.past_forms[word] != b.past_forms[word] and not (a.tenses or b.tenses or a.forms & b.forms & _PASSIVE):
            return f"tense: {word}"
    return None


def _voice(a: Parsed, b: Parsed) -> str | None:
    """Who paints is not who is painted, unless the painter is named after "by"; who is given a thing gives none."""
    of_persons = "who" in a.question.kinds | b.question.kinds
    for one, other in ((a, b), (b, a)):
        for verb in one.passives - other.passives:
            if not (of_persons or verb in tables().given):
                continue
            if "by" not in one.words and any(item.key == verb for item in other.items):
                return f"voice: {verb}"
    return None


def _has_no_verb(parsed: Parsed) -> bool:
    """A request for a thing ("the first president") leaves open when it is, unless it says so."""
    return (
        bool(parsed.question.kinds & {"give", "explain", "noun"})
        and "what_is" not in parsed.question.kinds
        and not parsed.tenses
    )


_PASSIVE = frozenset(["is", "are", "be", "been", "being"])


def _persons(a: Parsed, b: Parsed) -> str | None:
    """He, she and they must be the same; the one who asks and the one who answers must not take each other's place.

    Who asks may go unmentioned ("my phone", "a phone").
    """
    one, other = set(a.persons), set(b.persons)
    if one == other:
        return _unequal("person", a.persons, b.persons)
    if one - _ASKERS == other - _ASKERS and (not one & _ASKERS or not other & _ASKERS):
        return None
    return _said("person", a.persons, b.persons)


def _limits(a: Parsed, b: Parsed) -> str | None:
    one, other = Counter(a.contrast), Counter(b.contrast)
    only_a, only_b = one - other, other - one
    if a.question.kinds & b.question.kinds & _REQUESTS and not (only_a and only_b):
        only_a, only_b = ({word for word in own if word not in _SOFT_LIMITS} for own in (only_a, only_b))
    if a.question.kinds & b.question.kinds & _LASTING:
        only_a, only_b = ({word for word in own if word != "can"} for own in (only_a, only_b))
    if a.question.kinds & b.question.kinds & _LISTS and _some(a, b) and _some(b, a):
        only_a, only_b = ({word for word in own if word != "a_few"} for own in (only_a, only_b))
    return _said("limit", only_a, only_b) if only_a or only_b else None


def _some(parsed: Parsed, other: Parsed) -> bool:
    """What there are a few of in `parsed` is in the plural in `other` too."""
    few = {item.said.lower() for item in parsed.items if "a_few" in item.link}
    return few <= {item.said.lower() for item in other.items}


def _alternatives(a: Parsed, b: Parsed) -> str | None:
    return f"alternatives: {a.alternatives} / {b.alternatives} or" if a.alternatives != b.alternatives else None


def _names(a: Parsed, b: Parsed) -> str | None:
    only_a = sorted(name for name in a.names if name.lower() not in b.words)
    only_b = sorted(name for name in b.names if name.lower() not in a.words)
    if only_a or only_b:
        return _said("name", only_a, only_b)
    cased = {name for name in a.names ^ b.names if name.lower() in tables().case_matters}
    return _said("name", sorted(cased & a.names), sorted(cased & b.names)) if cased else None


def _replaced(a: Parsed, b: Parsed) -> str | None:
    """One word for another, or one stretch of a sentence for another of a few words."""
    if clash := _light_verbs(a, b):
        return clash
    only_a, only_b = _unmatched(a, b)
    if not only_a or not only_b:
        return None
    if min(len(only_a), len(only_b)) == 1 or (
        max(len(only_a), len(only_b)) <= LONGEST_REPLACEMENT and _is_stretch(a, only_a) and _is_stretch(b, only_b)
    ):
        return _said("replaced", (a.items[place].said for place in only_a), (b.items[place].said for place in only_b))
    return None


def _light_verbs(a: Parsed, b: Parsed) -> str | None:
    """To use a thing is not to make it, though both words say little elsewhere."""
    known = tables()
    only_a, only_b = (
        [parsed.items[place] for place in places if place <= 1 and parsed.items[place].key in known.light_verbs]
        for parsed, places in zip((a, b), _unmatched(a, b, with_light=True), strict=True)
    )
    for one in only_a:
        for other in only_b:
            if not known.light_verbs[one.key] & known.light_verbs[other.key]:
                return _said("replaced", [one.said], [other.said])
    return None


def _order(a: Parsed, b: Parsed) -> str | None:
    negated = any(item.kind == "not" for item in a.items)
    if left_out_differs(a, b) or (negated and not _scopes(a) & _scopes(b)):
        return _said("negation", sorted(_scopes(a)), sorted(_scopes(b)))
    if clash := _only_what(a, b):
        return clash
    found = exchanged(a, b)
    if found is None or isinstance(found, str):
        return found
    return _said("order", *((item.said for item in stretch) for stretch in found))


def _only_what(a: Parsed, b: Parsed) -> str | None:
    """To log only errors in tests is not to log errors only in tests; to only log errors may be either."""
    if "only" not in a.contrast or "only" not in b.contrast:
        return None
    (one, first), (other, second) = (_after_only(parsed) for parsed in (a, b))
    is_loose = {first, second} == {0, 1} and a.question.kinds & b.question.kinds & _REQUESTS
    return None if one == other or not (one and other) or is_loose else _said("limit", [one], [other])


def _after_only(parsed: Parsed) -> tuple[str, int]:
    """What is limited, and its place; no place where nothing is."""
    for place, item in enumerate(parsed.items):
        if any(tables().contrast.get(word) == "only" for word in item.link):
            return item.key, place
    return "", -1


def _scopes(parsed: Parsed) -> set[str]:
    """What the negations of a text are about: the words that follow them."""
    places = [place for place, item in enumerate(parsed.items) if item.kind == "not"]
    return {item.key for place in places for item in parsed.items[place + 1 : place + 3]}


def _inserted(a: Parsed, b: Parsed) -> str | None:
    """A word that only one of them has. Words that say little may come and go."""
    only_a, only_b = (_heavy(parsed, places) for parsed, places in zip((a, b), _unmatched(a, b), strict=True))
    if bool(only_a) != bool(only_b):
        return _said("inserted", only_a, only_b)
    return None


def _rewording(a: Parsed, b: Parsed) -> str | None:
    """Both have words of their own: no closed class among them, more in common than not, and no long material."""
    known = tables()
    places = _unmatched(a, b)
    for parsed, own in zip((a, b), places, strict=True):
        for place in own:
            item = parsed.items[place]
            if item.kind != "word" or item.key in known.class_of:
                return _said("own word", [item.said], [])
    most = max(map(len, places))
    longest = max(len(a.items), len(b.items))
    if most and (longest > LONGEST_REWORDING or longest - most < most):
        return "reworded: too much"
    return None


def _same_words(a: Parsed, b: Parsed) -> str | None:
    only_a, only_b = _unmatched(a, b, with_light=True)
    if only_a or only_b:
        return _said("words", (a.items[place].said for place in only_a), (b.items[place].said for place in only_b))
    return None


RULES: tuple[tuple[int, Rule], ...] = (
    (1, _literals),
    (1, _quantities),
    (1, _negations),
    (1, _opposites),
    (2, _as_such),
    (2, _question),
    (2, _tense),
    (2, _voice),
    (2, _persons),
    (2, _limits),
    (2, _alternatives),
    (2, _names),
    (2, _order),
    (2, _replaced),
    (3, _inserted),
    (3, _rewording),
    (4, _same_words),
)


def _unmatched(a: Parsed, b: Parsed, *, with_light: bool = False) -> tuple[list[int], list[int]]:
    """Places of the items that the other has not, without those that say little."""
    return _own(a, b, with_light=with_light), _own(b, a, with_light=with_light)


def _own(parsed: Parsed, other: Parsed, *, with_light: bool) -> list[int]:
    known = tables()
    left = Counter(item.key for item in other.items)
    told = not parsed.question.kinds.isdisjoint(_TELLING)
    ways = not with_light and "how_to" in other.question.kinds and parsed.question.kinds != frozenset({"how_to"})
    places: list[int] = []
    for place, item in enumerate(parsed.items):
        if left[item.key]:
            left[item.key] -= 1
            continue
        says_little = item.kind == "word" and (
            (item.key in known.light and not (told and _is_asked(parsed, place)))
            or (ways and item.key in known.ways)
            or _implied(parsed, other, place)
        )
        if with_light or not says_little:
            places.append(place)
    return places


def _is_asked(parsed: Parsed, place: int) -> bool:
    """What does a plant need? Its last verb is what is asked for."""
    return 0 < place == len(parsed.items) - 1 and parsed.items[place].key in tables().deeds


def _implied(parsed: Parsed, other: Parsed, place: int) -> bool:
    """Says again what a neighbour says ("human body", "which city is the capital")."""
    groups = tables().implied.get(parsed.items[place].key, ())
    if not groups:
        return False
    following = parsed.items[place + 1 : place + 2]
    before = {item.key for item in parsed.items[max(place - 1, 0) : place]}
    if following and following[0].touches and before & {needs[0] for needs in groups}:
        return False  # "human body temperature" is not "human temperature"
    beside = before | {item.key for item in following}
    said = {item.key for item in parsed.items} & {item.key for item in other.items}
    either = {item.key for item in parsed.items} | {item.key for item in other.items}
    return any(needs[0] in beside & said and set(needs[1:]) <= either for needs in groups)


def _heavy(parsed: Parsed, places: Iterable[int]) -> list[str]:
    return [parsed.items[place].said for place in places]


def _is_stretch(parsed: Parsed, places: Sequence[int]) -> bool:
    """Side by side, but for words that say little."""
    return all(
        place in places or parsed.items[place].key in tables().light for place in range(places[0], places[-1] + 1)
    )


def _unequal(name: str, one: Sequence[str], other: Sequence[str]) -> str | None:
    return None if one == other else _said(name, one, other)


def _said(name: str, one: Iterable[str], other: Iterable[str]) -> str:
    return f"{name}: {' '.join(one)[:_DETAIL] or '-'} / {' '.join(other)[:_DETAIL] or '-'}"
