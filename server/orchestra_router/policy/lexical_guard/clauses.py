"""Clauses turned round: "how often should plants be watered" as "how often should I water plants", and the like."""

from collections.abc import Sequence

from orchestra_router.policy.lexical_guard.stems import is_past_form, stem
from orchestra_router.policy.lexical_guard.tables import Tables
from orchestra_router.policy.lexical_guard.wording import Word

_MODALS = frozenset(["can", "could", "should", "must"])
_ASK_HOW = frozenset(["how", "when", "where", "why"])
_I_MATTERS = frozenset([("how",), ("when",), ("where",)])
"""What is asked with these and "I" has frames and patterns of its own."""
_LATEST_MODAL = 4
_LONGEST_OBJECT = 6
_WERE = frozenset(["was", "were"])
_ARE = frozenset(["is", "are"])
_GOOD = frozenset(["best", "good"])
_LONGEST_OF_CHOICE = 7


def actively(words: list[Word], known: Tables) -> list[Word]:
    """Turns a question about what is done into one about doing it, unless it says by whom."""
    texts = [word.text for word in words]
    if "by" in texts:
        return words
    if "be" in texts:
        return _in_general(words, texts, known)
    return _in_the_past(words, texts, known) if texts[0] in _ASK_HOW and not _WERE.isdisjoint(texts) else words


def _in_general(words: list[Word], texts: Sequence[str], known: Tables) -> list[Word]:
    """Reads "how can rice be stored" as "how can I store rice"."""
    modal = next((place for place, text in enumerate(texts[: _LATEST_MODAL + 1]) if text in _MODALS), None)
    if modal is None or not (modal == 0 or texts[0] in _ASK_HOW or texts[:2] == ["at", "what"]):
        return words
    being = texts.index("be")
    verb = being + 2 if texts[being + 1 : being + 2] and texts[being + 1].endswith("ly") else being + 1
    if verb >= len(words) or not _is_thing(words[modal + 1 : being], known) or not _is_participle(words[verb], known):
        return words
    asker = [Word("word", "i", "i")] if tuple(texts[:modal]) in _I_MATTERS else []
    return [
        *words[: modal + 1],
        *asker,
        _active(words[verb], known),
        *words[modal + 1 : being],
        *words[being + 1 : verb],
        *words[verb + 1 :],
    ]


def by_taking(words: list[Word], known: Tables) -> list[Word]:
    """Reads "how long should I roast a chicken" as "how long does it take to roast a chicken"."""
    texts = [word.text for word in words[:5]]
    if texts[:2] != ["how", "long"] or texts[2:3] not in (["should"], ["do"]):
        return words
    verb = 4 if texts[3:4] in (["i"], ["you"], ["one"], ["we"]) else 3
    if verb >= len(words) or stem(texts[verb]) not in known.cooked:
        return words
    return [*words[:2], *(Word("word", text, text) for text in ("does", "it", "take", "to")), *words[verb:]]


def _in_the_past(words: list[Word], texts: Sequence[str], known: Tables) -> list[Word]:
    """Reads "when was the wall built" and "when the wall was built" as "when did they build the wall"."""
    being = next(place for place, text in enumerate(texts) if text in _WERE)
    for verb in range(being + 1, len(words)):
        if not _is_participle(words[verb], known) or not ends_object(words, verb + 1, known):
            continue
        if (being == 1) == (verb == being + 1):
            return words
        done_to = words[being + 1 : verb] if being == 1 else words[1:being]
        if not _is_thing(done_to, known):
            return words
        asked = [words[0], Word("word", "did", "did"), Word("word", "they", "they")]
        return [*asked, _active(words[verb], known), *done_to, *words[verb + 1 :]]
    return words


def _is_thing(words: Sequence[Word], known: Tables) -> bool:
    """One thing, neither a person that could do it nor anything of somebody's."""
    if len(words) > _LONGEST_OBJECT or all(word.text in known.free for word in words):
        return False
    return not any(
        word.kind == "stop"
        or word.text in known.negations
        or word.text in known.pronouns
        or known.class_of.get(stem(word.text)) == "people"
        for word in words
    )


def _is_participle(word: Word, known: Tables) -> bool:
    return (
        word.kind == "word"
        and not word.is_name
        and (word.text in known.participles or word.text in known.unchanged or is_past_form(word.text))
    )


def _active(word: Word, known: Tables) -> Word:
    verb = known.past_of.get(word.text) or stem(word.text)
    return Word("word", verb, verb)


def ends_object(words: Sequence[Word], place: int, known: Tables) -> bool:
    """No noun follows that the word before `place` could belong to."""
    if place >= len(words) or words[place].kind != "word":
        return True
    text = words[place].text
    return not words[place].is_name and (
        text in known.prepositions or text in {"and", "or", "but", "so", "if", "when", "again", "without", "not"}
    )


def judged_first(words: list[Word], known: Tables) -> list[Word]:
    """Reads "which lake is the deepest on earth" as "what is the deepest lake on earth"."""
    if words[0].text not in {"which", "what"}:
        return words
    if len(words) > 4 and words[1].text in _ARE and _is_comparative(words[2].text) and words[3].kind == "stop":
        return [words[1], *words[4:], words[2]]  # "which is better, tea or coffee" as "is tea or coffee better"
    being = next((place for place, word in enumerate(words[: _LONGEST_OF_CHOICE + 2]) if word.text in _ARE), None)
    if being is None or being < 2 or words[1].text in known.prepositions:
        return words
    start = being + 2 if being + 1 < len(words) and words[being + 1].text == "the" else being + 1
    end = start + 2 if start < len(words) and words[start].text in {"most", "least"} else start + 1
    if end > len(words) or not ends_object(words, end, known):
        return words
    judged = words[start:end]
    if not (len(judged) == 2 or judged[0].text in _GOOD or _is_superlative(judged[0].text, known)):
        return words
    the = [Word("word", "the", "the")] if judged[0].text != "good" else []
    owner = 1 + max((place for place, word in enumerate(words[:being]) if word.text == "'s"), default=0)
    choice = [*words[1:owner], *the, *judged, *words[owner:being]]
    return [words[0]._replace(text="what"), words[being], *choice, *words[end:]]


def _is_comparative(text: str) -> bool:
    return text == "worse" or (text.endswith("er") and len(text) > 4)


def _is_superlative(text: str, known: Tables) -> bool:
    return text.endswith("est") and len(text) > 4 and text not in known.not_superlative
