"""Do the words two texts share play the same parts in both? Exchanged arguments make another question, moved ones not.

What stands with its own noun ("the deepest lake", "the lake that is deepest"), names the subject matter ("in Python",
"Python: ...") or is left out ("without eggs", "egg-free") may move. All else keeps its place or its preposition.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from orchestra_router.policy.lexical_guard.parsing import Item, Parsed
from orchestra_router.policy.lexical_guard.stems import is_past_form, stem
from orchestra_router.policy.lexical_guard.tables import tables

SYMMETRIC = frozenset(
    [
        "compare",
        "contrast",
        "difference",
        "differ",
        "distance",
        "between",
        "sum",
        "product",
        "versus",
        "vs",
        "both",
        "similarity",
        "similar",
        "relationship",
        "common",
        "average",
    ]
)
COMMUTATIVE = frozenset(["time", "plus", "*", "+"])
_COMPARED = frozenset(map(stem, ["difference", "differ", "compare"]))
_JOINING = frozenset(["", "between", "versus", "vs", "with", "to", "and"])
_TOPICS = frozenset(["programming", "products"])
_TOPIC_LINKS = frozenset(["in", "on", "for", "'s", "using", ",", "of", "with"])
_WRITES = frozenset(["write", "noun", "give"])
_NOUN_LINKS = frozenset(["in", "of", "on", "at"])

Part = tuple[int, ...]


def exchanged(a: Parsed, b: Parsed) -> tuple[list[Item], list[Item]] | str | None:
    """The stretches whose order differs, why the same order is not the same, or None."""
    common = Counter(item.key for item in a.items if item.kind != "not") & Counter(item.key for item in b.items)
    movable = _movable(a, b)
    if movable is None:
        return "topic: of the thing / of the way"
    adverbs = {item.key for item in a.items if _is_adverb(item.said.lower())}
    bound = {key: key in adverbs or _bound(a, key) == _bound(b, key) for key in _modifiers(a, b)}
    movable |= {key for key, same in bound.items() if same}
    one, other = (_within(parsed.items, common, movable) for parsed in (a, b))
    symmetric = bool(SYMMETRIC & (a.words | b.words))
    if [item.key for item in one] == [item.key for item in other]:
        return _leading_words(one, other, symmetric=symmetric, of_persons="who" in a.question.kinds)
    start = next(place for place, (x, y) in enumerate(zip(one, other, strict=True)) if x.key != y.key)
    stop = next(
        place for place, (x, y) in enumerate(zip(reversed(one), reversed(other), strict=True)) if x.key != y.key
    )
    inner, outer = one[start : len(one) - stop], other[start : len(other) - stop]
    if len(inner) == 3 and inner[1].key in COMMUTATIVE and inner[0].kind == inner[2].kind == "quantity":
        return None
    if not any(item.key in bound for item in inner):
        for turn in range(1, len(inner)):
            if [item.key for item in inner[turn:] + inner[:turn]] == [item.key for item in outer]:
                first, second = inner[:turn], inner[turn:]
                moved_second, moved_first = outer[: len(second)], outer[len(second) :]
                if _may_turn(first, second, moved_second, moved_first, symmetric=symmetric):
                    return None
    return inner, outer


def _movable(a: Parsed, b: Parsed) -> set[str] | None:
    """Words whose place says nothing; None where the subject matter is what is dealt with in only one text."""
    known = tables()
    movable = set(known.adverbs)
    if SYMMETRIC & (a.words | b.words):
        movable |= _COMPARED
    topics = [[item for item in parsed.items if known.class_of.get(item.key) in _TOPICS] for parsed in (a, b)]
    if all(len(own) == 1 for own in topics) and topics[0][0].key == topics[1][0].key:
        key = topics[0][0].key
        if all(_is_topic(parsed, key) for parsed in (a, b)):
            handled = [_material_of(parsed, key) for parsed in (a, b)]
            if handled[0] != handled[1] and not (a.question.kinds & b.question.kinds & _WRITES):
                return None
            movable.add(key)
    return movable | ({*_left_out(a)} & {*_left_out(b)})


def _is_topic(parsed: Parsed, key: str) -> bool:
    """Led to by a loose preposition, or written before a noun or at the very front: not what a verb acts on."""
    place = next(place for place, item in enumerate(parsed.items) if item.key == key)
    link, following = parsed.items[place].link, parsed.items[place + 1 : place + 2]
    if link or not following:
        return bool(link) and set(link) <= _TOPIC_LINKS
    used = place == 1 and parsed.items[0].key == "use"
    return following[0].touches or used or (not place and bool(following[0].link))


def _material_of(parsed: Parsed, key: str) -> bool:
    """The topic says which file or page is meant ("a C file"), not what it is worked on with ("a file in C")."""
    for item, after in zip(parsed.items, parsed.items[1:], strict=False):
        if item.key == key:
            return after.touches and not item.link and after.key in tables().materials
    return False


def _left_out(parsed: Parsed) -> list[str]:
    """What follows each "without"."""
    return [
        after.key
        for item, after in zip(parsed.items, parsed.items[1:], strict=False)
        if item.kind == "not" and item.said.lower() == "without"
    ]


def left_out_differs(a: Parsed, b: Parsed) -> bool:
    """Both leave something out, but not the same."""
    one, other = _left_out(a), _left_out(b)
    return bool(one and other) and sorted(one) != sorted(other)


def _modifiers(a: Parsed, b: Parsed) -> set[str]:
    """Superlatives and participles that are once in each."""
    counts = [Counter(item.key for item in parsed.items) for parsed in (a, b)]
    of_persons = "who" in a.question.kinds
    found: set[str] = set()
    for item in (*a.items, *b.items):
        said = item.said.lower()
        if (
            item.kind == "word"
            and all(count[item.key] == 1 for count in counts)
            and (
                _is_superlative(said)
                or _is_adverb(said)
                or (
                    _is_participle(said)
                    and not of_persons
                    and all(_stands_apart(parsed, item.key) for parsed in (a, b))
                )
            )
        ):
            found.add(item.key)
    return found


def _is_superlative(said: str) -> bool:
    return said.endswith("est") and len(said) > 4 and said not in tables().not_superlative


def _is_adverb(said: str) -> bool:
    """Of manner, which may stand before or after its verb; those that limit are no items."""
    return said.endswith("ly") and len(said) > 5 and said not in tables().not_adverb


def _is_participle(said: str) -> bool:
    return _is_done(said) or (said.endswith("ing") and len(said) > 5)


def _is_done(said: str) -> bool:
    return said in tables().participles or (is_past_form(said) and said.endswith(("ed", "en")))


def _stands_apart(parsed: Parsed, key: str) -> bool:
    """Some small word is before it: it is no verb that follows its subject ("the company acquired")."""
    return not next(item.touches for item in parsed.items if item.key == key)


def _bound(parsed: Parsed, key: str) -> tuple[str, ...]:
    """The noun, with what is written against it, that the modifier `key` belongs to."""
    items = parsed.items
    place = next(place for place, item in enumerate(items) if item.key == key)
    after = place + 1
    if after < len(items) and items[after].touches and items[after].key not in tables().adverbs:
        end = after + 1
        while end < len(items) and items[end].touches and items[end].key not in tables().adverbs:
            end += 1
        return tuple(item.key for item in items[after:end])
    before = place - 1
    while before > 0 and _NOUN_LINKS & {*items[before].link}:
        before -= 1
        while before > 0 and items[before + 1].touches:
            before -= 1
    start = before
    while start > 0 and items[start].touches:
        start -= 1
    return tuple(item.key for item in items[max(start, 0) : before + 1])


def _may_turn(
    first: Sequence[Item],
    second: Sequence[Item],
    moved_second: Sequence[Item],
    moved_first: Sequence[Item],
    *,
    symmetric: bool,
) -> bool:
    """P Q as Q P: plain words joined by and/or, as "P of Q" and "Q P", or when what moved keeps its preposition."""
    joint, moved_joint = second[0].link, moved_first[0].link
    plain = not any(item.link for block in (first, second) for item in block[1:])
    both = {*joint} & {*moved_joint}
    if plain and (("and" in both and symmetric) or ("or" in both and "," not in joint + moved_joint)):
        return True
    joining = {"and", "versus", "vs"}
    if symmetric and plain and joining & {*joint} and joining & {*moved_joint}:
        return True
    if {"between", "and"} & {*joint} and symmetric and joining & {*moved_joint}:
        return True
    loose = {"of", "for", "in", "on", "about", "'s", "with"}
    for led, lead, follow in ((first, joint, moved_joint), (moved_second, moved_joint, joint)):
        # "Made of glass" is nobody's "glass made".
        if lead and {*lead} <= loose and {*follow} <= {"'s"} and not _is_done(led[-1].said.lower()):
            return True
    lead, moved = _preposition(second[0]), _preposition(moved_second[0])
    if lead and lead == moved and _preposition(first[0]) == _preposition(moved_first[0]):
        return True
    lead, moved = _preposition(first[0]), _preposition(moved_first[0])
    return bool(lead) and lead == moved and _preposition(second[0]) == _preposition(moved_second[0])


def _leading_words(one: Sequence[Item], other: Sequence[Item], *, symmetric: bool, of_persons: bool) -> str | None:
    """The same words in the same order, but led to by other prepositions."""
    known = tables()
    for x, y in zip(one, other, strict=True):
        p, q = _preposition(x), _preposition(y)
        if not symmetric and p == q and ("and" in x.link) != ("and" in y.link) and not (x.link and y.link):
            return f"joined: {x.said}"
        genitive = ("'s" in x.link) != ("'s" in y.link)
        if genitive and not (x.link and y.link) and not (x.touches or y.touches):
            return f"joined: {x.said}"
        if p == q or (symmetric and {p, q} <= _JOINING):
            continue
        if not p or not q:
            # "Who wrote Emma" and "who wrote about Emma" are two questions.
            if (p or q) in known.loose_prepositions and not (of_persons and (p or q) != "of"):
                continue
        elif frozenset((p, q)) in known.alike_prepositions:
            continue
        if known.class_of.get(x.key) == "languages" and {p, q} <= {"in", "into", "to"}:
            continue  # translated to, into or in it
        return f"preposition: {p} {x.said} / {q} {y.said}"
    return None


def _preposition(item: Item) -> str:
    found = [word for word in item.link if word in tables().prepositions]
    return found[-1] if found else ""


def _within(items: Iterable[Item], common: Counter[str], movable: set[str]) -> list[Item]:
    left = Counter(common)
    found: list[Item] = []
    owed: tuple[str, ...] = ()
    for item in items:
        if left[item.key]:
            left[item.key] -= 1
            if item.key in movable:
                owed = item.link
                continue
            # "London's oldest bridge" without what moves is "London's bridge".
            found.append(item._replace(link=owed) if owed and item.touches else item)
        owed = ()
    return found
