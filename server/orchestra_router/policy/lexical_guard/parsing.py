"""What the rules compare of one text. Parsed once, kept with a cache entry, compared often."""

import functools
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from orchestra_router.policy.lexical_guard.characters import plain
from orchestra_router.policy.lexical_guard.questions import Question, question_of, with_place_last, without_polite_words
from orchestra_router.policy.lexical_guard.rewriting import rewritten
from orchestra_router.policy.lexical_guard.stems import is_past_form, stem
from orchestra_router.policy.lexical_guard.tables import Tables, tables
from orchestra_router.policy.lexical_guard.tokens import Token, tokenize
from orchestra_router.policy.lexical_guard.wording import Word, worded

LONGEST = 6_000
"""Characters. A longer text is material rather than a question: only the same text passes."""
_WORDS_AS_SUCH = frozenset(
    [
        "translate",
        "translation",
        "say",
        "spell",
        "spelling",
        "pronounce",
        "pronunciation",
        "plural",
        "singular",
        "tense",
        "conjugate",
        "rhyme",
        "rhymes",
        "synonym",
        "synonyms",
        "antonym",
        "antonyms",
        "etymology",
        "anagram",
        "letters",
        "vowel",
        "vowels",
        "syllables",
        "grammar",
        "grammatical",
        "sentence",
        "verb",
        "noun",
        "correct",
        "proofread",
    ]
)
_MATERIAL_VERBS = frozenset(
    [
        "fix",
        "correct",
        "translate",
        "summarize",
        "proofread",
        "rewrite",
        "explain",
        "classify",
        "extract",
        "grammar",
        "improve",
        "edit",
        "shorten",
        "review",
        "paraphrase",
        "rephrase",
        "debug",
        "refactor",
        "sort",
        "count",
        "reverse",
    ]
)


class Item(NamedTuple):
    """A word, quantity or literal that carries meaning, with the small words that lead to it."""

    key: str
    said: str
    link: tuple[str, ...]
    kind: str
    """word, name, quantity, literal or not."""
    touches: bool = False
    """Right after the item before, with no word between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    text: str
    """The whole text with one form for each character and blank: equal here is equal."""
    covered: bool
    """The rules know this language. If not, only an equal text is the same."""
    question: Question
    items: tuple[Item, ...] = ()
    literals: tuple[str, ...] = ()
    quantities: Mapping[str, int] = field(default_factory=dict[str, int])
    contrast: Mapping[str, int] = field(default_factory=dict[str, int])
    words: frozenset[str] = frozenset()
    """Every word as it is written, in lower case."""
    forms: frozenset[str] = frozenset()
    """Every word as the tables of opposites know it."""
    names: frozenset[str] = frozenset()
    """Words with a capital inside a sentence, as written."""
    persons: tuple[str, ...] = ()
    """Who is spoken of, in order, each run of one person once."""
    tenses: frozenset[str] = frozenset()
    alternatives: int = 0
    as_such: tuple[str, ...] | None = None
    """All words in order, where the question is about the words themselves or about material after a colon."""
    passives: frozenset[str] = frozenset()
    """Verbs that say what was done to their subject ("is painted")."""
    past_forms: Mapping[str, bool] = field(default_factory=dict[str, bool])


@functools.lru_cache(maxsize=2_000)
def parse(text: str) -> Parsed:
    """Bounded in time by the length of `text`, whatever it is made of."""
    if len(text) > LONGEST:
        return Parsed(text=text.strip(), covered=False, question=Question())
    same = " ".join(plain(text).split())
    if len(same) > LONGEST:
        return Parsed(text=same, covered=False, question=Question())
    known = tables()
    tokens = tokenize(known.asides.sub(" ", plain(text)))
    words = worded(tokens, known)
    asked = without_polite_words(words, known) if _is_english(words, known) else []
    if not asked:
        return Parsed(text=same, covered=False, question=Question())
    words = rewritten(with_place_last(asked, known), known)
    question, rest = question_of(words, known)
    return _parsed(same, tokens, words, question, rest, known)


def _is_english(words: Sequence[Word], known: Tables) -> bool:
    """No letters of another script, and no more words of another language than English ones."""
    plain_words = [word.text for word in words if word.kind == "word"]
    if not all(word.isascii() or _latin(word) for word in plain_words):
        return False
    english = sum(map(known.english.__contains__, plain_words))
    foreign = sum(map(known.foreign.__contains__, plain_words))
    return (foreign < 2 or foreign * 2 <= english) and (
        english > 0 or (len(plain_words) <= 6 and all(map(str.isascii, plain_words)))
    )


def _latin(word: str) -> bool:
    return all(character < "\u0250" or not character.isalpha() for character in word)


def _parsed(
    same: str, tokens: Sequence[Token], words: Sequence[Word], question: Question, rest: Sequence[Word], known: Tables
) -> Parsed:
    texts, literals, quantities, names = _sorted_out(words)
    keys: dict[str, str] = {}
    shown = [word.text for word in rest if word.kind == "word"]
    for text in shown:
        if text not in keys:
            keys[text] = _key(text, known)
    return Parsed(
        text=same,
        covered=True,
        question=question,
        items=tuple(_items(rest, known)),
        literals=tuple(literals),
        quantities=Counter(quantities),
        contrast=Counter([known.contrast[text] for text in shown if text in known.contrast]),
        words=frozenset([*texts, *(token.text.lower() for token in tokens if token.kind == "word")]),
        forms=frozenset(keys).union(keys.values()),
        names=frozenset(names),
        persons=tuple(
            person
            for person, _ in itertools.groupby([known.pronouns[text] for text in shown if text in known.pronouns])
        ),
        tenses=_tenses(words),
        alternatives=shown.count("or"),
        as_such=_material(words, known),
        passives=_passives(words, known),
        past_forms={keys[text]: is_past_form(text) for text in shown},
    )


def _sorted_out(words: Sequence[Word]) -> tuple[list[str], list[str], list[str], list[str]]:
    """Words, literals and quantities; and what of all has a name's capital, as it is said."""
    texts: list[str] = []
    literals: list[str] = []
    quantities: list[str] = []
    names: list[str] = []
    for kind, text, said, is_name in words:
        if kind == "word":
            texts.append(text)
        elif kind == "literal":
            literals.append(text)
        elif kind == "quantity":
            quantities.append(text)
        if is_name:
            names.append(said)
    return texts, literals, quantities, names


def _items(rest: Sequence[Word], known: Tables) -> list[Item]:
    items: list[Item] = []
    link: list[str] = []
    touches = False
    for word in rest:
        if word.kind == "stop":
            link.append(",")
        elif word.kind == "word" and not word.is_name and _only_leads(word.text, known):
            link.append(word.text)
        elif word.kind == "word" and not word.is_name and _is_small(word.text, known):
            pass
        else:
            items.append(_item(word, known, tuple(link), touches=touches))
            link, touches = [], True
            continue
        touches = False
    return items


def _item(word: Word, known: Tables, link: tuple[str, ...], *, touches: bool) -> Item:
    if word.kind in {"quantity", "literal"}:
        return Item(word.text, word.said, link, word.kind, touches)
    if word.is_name:
        return Item(_key(word.text, known), word.said, link, "name", touches)
    if word.text in known.negations:
        return Item("not", word.text if word.text == "without" else word.said, link, "not", touches)
    return Item(_key(word.text, known), word.said, link, "word", touches)


def _only_leads(word: str, known: Tables) -> bool:
    return word not in known.negations and (
        word in known.prepositions or word in {"and", "or", "'s"} or word in known.contrast
    )


def _is_small(word: str, known: Tables) -> bool:
    return word not in known.negations and (word in known.free or word in known.pronouns)


def _key(word: str, known: Tables) -> str:
    found = stem(word)
    return known.synonyms.get(found, found)


def _tenses(words: Sequence[Word]) -> frozenset[str]:
    said = [word for word in words if word.kind == "word"]
    found: set[str] = set()
    for place, word in enumerate(said):
        if word.text in {"did", "was", "were", "had", "used_to"} and not _in_passing(said, place):
            found.add("past")
        elif (
            word.text == "will"
            and not word.is_name
            and not (said[0].text == "why" and said[place + 1 : place + 2] and said[place + 1].text == "not")
        ):
            found.add("future")
        elif word.text in {"has", "have"} and any(is_past_form(after.text) for after in said[place + 1 : place + 4]):
            found.add("perfect")
    if not found and len(said) > 1 and said[0].text in {"who", "which", "what"}:
        verbs = said[1 : 2 if said[0].text == "who" else 3]
        if any(is_past_form(word.text) for word in verbs) and not any(word.text in _PRESENT for word in said):
            found.add("past")
    return frozenset(found)


def _in_passing(said: Sequence[Word], place: int) -> bool:
    """A garden "that was forgotten" is the forgotten garden, whenever it is."""
    following = said[place + 1].text if place + 1 < len(said) else ""
    return (
        place > 1
        and said[place].text in {"was", "were"}
        and said[place - 1].text in {"that", "which"}
        and (is_past_form(following) or following in tables().participles)
    )


_PRESENT = frozenset(
    ["is", "are", "am", "be", "been", "do", "does", "has", "have", "can", "should", "would", "could", "may"]
)


def _passives(words: Sequence[Word], known: Tables) -> frozenset[str]:
    found: set[str] = set()
    being = False
    for word in words:
        if word.text in {"is", "are", "was", "were", "be", "been", "being", "got"}:
            being = True
        elif (
            being
            and word.kind == "word"
            and not word.is_name
            and (is_past_form(word.text) or word.text in known.participles)
        ):
            found.add(_key(word.text, known))
            being = False
    return frozenset(found)


def _material(words: Sequence[Word], known: Tables) -> tuple[str, ...] | None:
    """The words that must be the very same: all of them where words are the subject, else those after a colon."""
    texts = [word.text for word in words]
    if ":" in texts and {known.task_verbs.get(text, text) for text in texts[: texts.index(":")]} & _MATERIAL_VERBS:
        return tuple(word.said.lower() for word in words[texts.index(":") :] if word.kind != "stop")
    if {"improve", "learn", "practice", "learning"} & set(texts):
        return None
    if (about := _WORDS_AS_SUCH & set(texts)) and not (
        about <= {"translate", "translation"} and any(word.kind == "literal" for word in words)
    ):
        return tuple(
            word.text
            for word in words
            if word.kind != "stop" and word.text not in known.free and word.text not in known.light
        )
    return None
