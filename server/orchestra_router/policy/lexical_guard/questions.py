"""Which kind of thing a text asks for, whatever the words it asks with; and the words that are left."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestra_router.policy.lexical_guard.stems import stem
from orchestra_router.policy.lexical_guard.tables import Tables
from orchestra_router.policy.lexical_guard.wording import Word

_LONGEST_OPENER = 8
_WH = frozenset(["what", "which", "who", "whom", "whose", "when", "where", "why", "how"])
_AUXILIARIES = frozenset(
    [
        "is",
        "are",
        "am",
        "was",
        "were",
        "do",
        "does",
        "did",
        "can",
        "could",
        "should",
        "shall",
        "will",
        "would",
        "may",
        "might",
        "must",
        "has",
        "have",
        "had",
    ]
)
_TELL: frozenset[tuple[str, ...]] = frozenset(
    (
        ("tell", "me"),
        ("explain",),
        ("explain", "to", "me"),
        ("describe",),
        ("show", "me"),
        ("say",),
        ("let", "me", "know"),
    )
)
_TELL_WORDS = frozenset(phrase[0] for phrase in _TELL)
_ASKED = _WH | {"if", "whether"}
_HOW_MUCH = frozenset(
    [
        "many",
        "much",
        "long",
        "often",
        "far",
        "old",
        "big",
        "tall",
        "high",
        "fast",
        "deep",
        "heavy",
        "large",
        "wide",
        "late",
        "soon",
        "expensive",
        "likely",
    ]
)
_WISHED = frozenset(["good", "nice", "great"])
_LONGEST_SEARCH = 12
_SEES = frozenset(["see", "view"])
_DONE_BY_HAND = frozenset(
    [
        "delete",
        "sort",
        "find",
        "count",
        "merge",
        "split",
        "reverse",
        "replace",
        "install",
        "uninstall",
        "run",
        "check",
        "validate",
        "format",
        "parse",
        "add",
        "read",
        "convert",
        "update",
        "deploy",
        "send",
    ]
)
_ALIKE = frozenset(
    frozenset(pair)
    for pair in (
        ("what_is", "explain"),
        ("explain", "how_works"),
        ("what", "what_is"),
        ("give", "recommend"),
        ("give", "noun"),
        ("write", "noun"),
        ("recommend", "noun"),
        ("give", "what"),
        ("recommend", "what"),
        ("what_is", "noun"),
        ("what_is", "calculate"),
        ("noun", "how_to"),
    )
)


@dataclass(frozen=True, slots=True)
class Question:
    kinds: frozenset[str] = frozenset()

    def fits(self, other: "Question") -> bool:
        """The two may ask for the same."""
        return bool(self.kinds & other.kinds) or any(
            frozenset((one, another)) in _ALIKE for one in self.kinds for another in other.kinds
        )

    def __str__(self) -> str:
        return "|".join(sorted(self.kinds))


def question_of(words: Sequence[Word], known: Tables) -> tuple[Question, list[Word]]:
    rest = list(words)
    texts = [word.text for word in rest]
    longest = known.frame_starts.get(texts[0], 0) if texts else 0
    for length in range(min(longest, len(texts)), 0, -1):
        if kinds := known.frames.get(tuple(texts[:length])):
            following = texts[length] if length < len(texts) else ""
            if kinds & {"how_works"} and (following in _HOW_MUCH or texts[0] != "how") and following in _WH | _HOW_MUCH:
                break
            if "how_to" not in kinds and _asks_for_way(texts[length:], known):
                kinds |= {"how_to", "noun"}  # "what is the git command to"
            if "what_is" in kinds and _WISHED & {*texts[length : length + 2]}:
                kinds |= {"recommend"}  # "what is a good name for"
            if "what_is" in kinds and _translated(rest[length:], known):
                return Question(frozenset({"translate"})), [Word("word", "translate", texts[0]), *rest[length:]]
            return Question(kinds | _head(texts[:length])), _looked_at(rest[length:], kinds)
    return _by_first_words(rest, texts, known)


def _looked_at(rest: list[Word], kinds: frozenset[str]) -> list[Word]:
    """How to see or view something is how to check it."""
    if "how_to" in kinds and rest and rest[0].text in _SEES:
        return [rest[0]._replace(text="check"), *rest[1:]]
    return rest


def _asks_for_way(texts: list[str], known: Tables) -> bool:
    """Begins with "git command to", "CSS for" and the like."""
    for place, text in enumerate(texts[:5]):
        if text in {"to", "for", "that", "which", "using"}:
            return place > 0 and stem(texts[place - 1]) in known.ways
    return False


def _translated(rest: Sequence[Word], known: Tables) -> bool:
    """Something quoted, "in" a language."""
    return (
        len(rest) > 2
        and any(word.kind == "literal" for word in rest)
        and rest[-2].text in {"in", "into", "to"}
        and known.class_of.get(rest[-1].text) == "languages"
    )


def _is_search(texts: Sequence[str], known: Tables) -> bool:
    """Typed as into a search box: names a tool or language, and no text to work on."""
    return (
        len(texts) <= _LONGEST_SEARCH
        and any(known.class_of.get(stem(text)) in {"programming", "products"} for text in texts)
        and not {"this", "these", "following", ":"} & {*texts}
    )


def _head(opening: Sequence[str]) -> frozenset[str]:
    if opening[0] in {"what", "who"} and opening[-1] in {"was", "were"}:
        return frozenset({"what"})
    return frozenset()


def _by_first_words(rest: list[Word], texts: list[str], known: Tables) -> tuple[Question, list[Word]]:
    if not texts:
        return Question(frozenset({"noun"})), rest
    start = 1 if texts[0] in known.prepositions and len(texts) > 1 and texts[1] in _WH else 0
    first = texts[start]
    following = texts[start + 1] if start + 1 < len(texts) else ""
    if first == "how":
        kind = f"how {following}" if following in _HOW_MUCH else "how_works"
        return Question(frozenset({kind})), rest[
            start + 1 + (following in _HOW_MUCH and following in {"many", "much"}) :
        ]
    if first in _WH:
        kind = {"which": "what", "whom": "who"}.get(first, first)
        if kind == "what" and {stem(text) for text in texts[start + 1 : start + 3]} & known.ways:
            return Question(frozenset({kind, "how_to"})), rest[start + 1 :]  # "which command lists"
        return Question(frozenset({kind})), rest[start + 1 :]
    if first in _AUXILIARIES:
        return Question(frozenset({"yes_no"})), rest
    if (verb := known.task_verbs.get(first)) and not rest[0].is_name:
        if verb == "calculate":
            return Question(frozenset({verb})), rest[1:]  # "calculate 5% of 80", "what is 5% of 80"
        kinds = {verb, "how_to"} if verb in _DONE_BY_HAND and _is_search(texts, known) else {verb}
        return Question(frozenset(kinds)), [rest[0]._replace(text=verb), *rest[1:]]
    return _without_asking(rest, texts, known)


def _without_asking(rest: list[Word], texts: list[str], known: Tables) -> tuple[Question, list[Word]]:
    """Begins neither with a question word nor with a verb of a request."""
    first = texts[0]
    later = next(
        (place for place, text in enumerate(texts) if text in _WH and place and rest[place - 1].kind == "stop"), None
    )
    if later is not None:
        inner, _ = question_of(rest[later:], known)
        return inner, rest
    if texts[-1] == "how" or texts[-2:] == ["how", "?"]:
        return Question(frozenset({"how_to"})), rest[:-1]
    if first.endswith("ing") and len(first) > 5 and not rest[0].is_name:
        return Question(frozenset({"noun"})), rest
    if any(stem(text) in known.artefacts for text in texts[:5]):
        return Question(frozenset({"noun"})), rest
    kinds = {"noun" if len(texts) <= 4 else f"do {first}"}
    if _is_search(texts, known):
        kinds.add("how_to")  # "rename files in Linux"
    return Question(frozenset(kinds)), rest


def without_polite_words(words: list[Word], known: Tables) -> list[Word]:
    while words and words[-1].kind == "stop":
        words.pop()
    for length in (4, 3, 2, 1):
        if (
            len(words) > length
            and words[-1].text in known.ending_words
            and tuple(word.text for word in words[-length:]) in known.endings
        ):
            words = words[:-length]
            while words and words[-1].kind == "stop":
                words.pop()
    taken = True
    while taken and words:
        taken = False
        if words[0].kind == "stop":
            words, taken = words[1:], True
            continue
        if words[0].text not in known.opening_words and words[0].text not in _TELL_WORDS:
            break
        for length in range(min(_LONGEST_OPENER, len(words) - 1), 0, -1):
            if _carries_nothing(tuple(word.text for word in words[:length]), words[length].text, known):
                words, taken = words[length:], True
                break
    return words


def _carries_nothing(opening: tuple[str, ...], following: str, known: Tables) -> bool:
    """`opening` says nothing, or only that what follows is a request."""
    if opening in known.openers:
        return True
    if opening in known.polite:
        return following in known.task_verbs or (following,) in known.openers
    return opening in _TELL and following in _ASKED and (*opening, following) not in known.frames


_BEFORE_COMMA = frozenset(
    ["in", "with", "using", "on", "for", "as", "at", "during", "after", "before", "if", "without"]
)
_LONGEST_BEFORE_COMMA = 14


def with_place_last(words: list[Word], known: Tables) -> list[Word]:
    """What says where or on what condition, put last: "In Java, how do I ..." as "how do I ... in Java"."""
    if len(words) < 3:
        return words
    if words[1].kind == "stop" and known.class_of.get(stem(words[0].text)) in {"programming", "products"}:
        return [*words[2:], Word("word", "in", "in"), words[0]]
    if words[0].text in _BEFORE_COMMA and words[1].text not in _WH:
        comma = next((place for place, word in enumerate(words[:_LONGEST_BEFORE_COMMA]) if word.kind == "stop"), None)
        if comma and comma + 1 < len(words):
            return [*words[comma + 1 :], *words[:comma]]
    return words
