"""Sentences that say the same in another build, brought to one: "how do X and Y differ", "stop X from doing", "X-free"."""

from collections.abc import Mapping, Sequence

from orchestra_router.policy.lexical_guard.clauses import actively, by_taking, ends_object, judged_first
from orchestra_router.policy.lexical_guard.stems import is_past_form
from orchestra_router.policy.lexical_guard.tables import Tables
from orchestra_router.policy.lexical_guard.wording import Word

GAP = "~"
LONGEST_GAP = 10
"""Words that may stand in the gap of a pattern."""
_LONGEST_OBJECT = 5
_STOPS = frozenset(["keep", "keeps", "prevent", "prevents", "stop", "stops"])
_CAUSES = frozenset(["get", "make", "have", "train", "teach"])
_MOVING = _STOPS | _CAUSES
_BECOMES = frozenset(
    ["turn", "turns", "turning", "go", "goes", "going", "get", "gets", "getting", "become", "becomes", "becoming"]
)
_TO_BE = frozenset(["is", "are", "was", "were"])
_YEAR_DIGITS = 4

Pattern = tuple[str, ...]


def rewritten(words: Sequence[Word], known: Tables) -> list[Word]:
    """`words` are never none."""
    words = _left_out(_stopping(_without_becoming(_years(words), known)))
    words = by_taking(actively(_made(_without_new(words, known), known), known), known)
    words = judged_first(words, known)
    if len(words) > 2 and words[-1].text == "fast":
        words = [*words[:-1], words[-1]._replace(text="quickly")]
    words = _by_whom(_by_pattern(words, known.patterns), known)
    return _judgement_last(words, known)


def _by_pattern(words: list[Word], patterns: Mapping[str, Sequence[tuple[Pattern, Pattern]]]) -> list[Word]:
    """The first pattern that fits, from the first word of `words` on; what it leaves over follows.

    What fits "what" fits "which" too.
    """
    if words and words[0].text == "which":
        asked = [words[0]._replace(text="what"), *words[1:]]
        found = _by_pattern(asked, patterns)
        return words if found is asked else found
    for first in (words[0].text, GAP) if words else ():
        for pattern, form in patterns.get(first, ()):
            gaps = _gaps(pattern, words)
            if gaps is not None:
                taken, end = gaps
                said: list[Word] = []
                for part in form:
                    said.extend(taken.pop(0) if part == GAP else [Word("word", part, part)])
                return said + words[end:]
    return words


def _gaps(pattern: Pattern, words: Sequence[Word]) -> tuple[list[list[Word]], int] | None:
    """What stands in the gaps of `pattern`, each as short as can be, and where it ends."""
    taken: list[list[Word]] = []
    place = 0
    for number, part in enumerate(pattern):
        if part == GAP:
            following = pattern[number + 1]
            end = next(
                (end for end in range(place + 1, min(place + LONGEST_GAP, len(words))) if words[end].text == following),
                None,
            )
            if end is None:
                return None
            taken.append([word for word in words[place:end] if word.kind != "stop"])
            place = end
        elif part == "$":
            return (taken, place) if place == len(words) else None
        elif place < len(words) and words[place].text == part:
            place += 1
        else:
            return None
    return taken, place


def _stopping(words: list[Word]) -> list[Word]:
    """Reads "keep X from doing" and "get X to not do" as "stop X doing"."""
    for place, word in enumerate(words):
        if word.text not in _MOVING or word.kind != "word":
            continue
        within = range(place + 1, min(place + 2 + _LONGEST_OBJECT, len(words) - 1))
        for at in within:
            if words[at].kind == "stop":
                break
            if word.text in _STOPS and words[at].text == "from" and words[at + 1].text.endswith("ing"):
                return [*words[:place], word._replace(text="stop"), *words[place + 1 : at], *words[at + 1 :]]
            if (
                word.text == "get"
                and at > place + 1
                and (words[at].text, words[at + 1].text) in {("out", "of"), ("off", "of")}
            ):
                return [
                    *words[:place],
                    word._replace(text="remove"),
                    *words[place + 1 : at],
                    words[at]._replace(text="from"),
                    *words[at + 2 :],
                ]
            if word.text == "get" and at > place + 1 and words[at].text == "off":
                return [
                    *words[:place],
                    word._replace(text="remove"),
                    *words[place + 1 : at],
                    words[at]._replace(text="from"),
                    *words[at + 1 :],
                ]
            if (
                word.text in _CAUSES
                and words[at].text == "stop"
                and at > place + 1
                and words[at + 1].text.endswith("ing")
            ):
                caused = words[place + 1 : at - 1 if words[at - 1].text == "to" else at]
                return [*words[:place], words[at], *caused, *words[at + 1 :]]
            if (
                word.text in _CAUSES
                and words[at].text == "not"
                and at > place + 1
                and "to" in {words[at - 1].text, words[at + 1].text}
            ):
                return [*words[:place], word._replace(text="stop"), *words[place + 1 : at], *words[at + 1 :]]
    return words


def _left_out(words: list[Word]) -> list[Word]:
    """Reads "X-free" and "free of X" as "without X"."""
    found: list[Word] = []
    for place, word in enumerate(words):
        if word.text.endswith("-free") and word.kind == "word" and len(word.text) > len("-free"):
            found.append(Word("word", "without", "without"))
            found.append(word._replace(text=word.text.removesuffix("-free"), is_name=False))
        elif (
            word.text == "free"
            and place + 1 < len(words)
            and words[place + 1].text in {"of", "from"}
            and found
            and found[-1].text in _TO_BE | {"that"}
        ):
            found.append(Word("word", "without", "without"))
        else:
            found.append(word)
    return found


def _by_whom(words: list[Word], known: Tables) -> list[Word]:
    """Reads "by whom was X painted" and "who was X painted by" as "who painted X"."""
    texts = [word.text for word in words]
    if texts[:2] == ["by", "whom"]:
        clause = words[2:]
    elif texts[:1] == ["who"] and texts[-1] == "by":
        clause = words[1:-1]
    else:
        return words
    if not clause or clause[0].text not in {"was", "were"}:
        return words
    verbs = [
        place
        for place, word in enumerate(clause)
        if place > 1 and (is_past_form(word.text) or word.text in known.participles)
    ]
    if not verbs:
        return words
    verb = verbs[-1]
    asked = [Word("word", "who", "who"), Word("word", "did", "did")]
    return [*asked, clause[verb], *clause[1:verb], *clause[verb + 1 :]]


def _years(words: Sequence[Word]) -> list[Word]:
    """Reads "the year 1989" as "1989"."""
    return [word for place, word in enumerate(words) if word.text != "year" or not _is_year(words[place + 1 :])]


def _is_year(following: Sequence[Word]) -> bool:
    return (
        bool(following)
        and following[0].kind == "quantity"
        and following[0].text.isdigit()
        and len(following[0].text) == _YEAR_DIGITS
    )


def _without_becoming(words: list[Word], known: Tables) -> list[Word]:
    """Reads "turning brown", "going brown" and "getting brown" as "becoming brown"."""
    for place, word in enumerate(words[:-1]):
        if word.text in _BECOMES and words[place + 1].text in known.states and ends_object(words, place + 2, known):
            words[place] = word._replace(text="becoming")
    return words


def _made(words: list[Word], known: Tables) -> list[Word]:
    """Reads "make X smaller" as "reduce size of X"."""
    start = next((place for place, word in enumerate(words) if word.text == "make"), None)
    if start is None:
        return words
    for end in range(start + 2, min(start + 2 + _LONGEST_OBJECT, len(words))):
        done = known.comparatives.get(words[end].text)
        if done and words[end - 1].text not in known.goes and ends_object(words, end + 1, known):
            said = [Word("word", text, text) for text in done]
            return [*words[:start], *said, *words[start + 1 : end], *words[end + 1 :]]
    return words


def _without_new(words: list[Word], known: Tables) -> list[Word]:
    """Reads "create a new branch" as "create a branch"."""
    for place, word in enumerate(words[:-1]):
        if word.text == "new" and place and not word.is_name and not words[place + 1].is_name:
            before = place - 2 if words[place - 1].text == "a" else place - 1
            if before >= 0 and words[before].text in known.makers:
                return [*words[:place], *words[place + 1 :]]
    return words


def _judgement_last(words: list[Word], known: Tables) -> list[Word]:
    """Reads "is it safe to eat raw eggs" and "are raw eggs safe to eat" as "is eat raw eggs safe"."""
    if len(words) < 3 or words[0].text not in _TO_BE:
        return words
    judged = [place for place, word in enumerate(words) if word.kind == "word" and word.text in known.judgements]
    if len(judged) != 1:
        return words
    place = judged[0]
    before, after = words[1:place], words[place + 1 :]
    if before and before[0].text == "it" and len(before) == 1:
        if not after or after[0].text != "to":
            return words
        return [words[0], *after[1:], words[place]]
    if len(after) >= 2 and after[0].text == "to" and not is_past_form(after[1].text):
        return [words[0], after[1], *before, *after[2:], words[place]]
    return [words[0], *before, *after, words[place]]
