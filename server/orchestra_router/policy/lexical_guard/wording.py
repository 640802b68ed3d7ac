"""From tokens to words as the rules read them: contractions opened, misspellings righted, quantities and phrases joined."""

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from orchestra_router.policy.lexical_guard import quantities
from orchestra_router.policy.lexical_guard.stems import american
from orchestra_router.policy.lexical_guard.tables import Tables
from orchestra_router.policy.lexical_guard.tokens import Token

_IS = frozenset(["what", "how", "where", "who", "that", "it", "there", "here", "when", "why", "he", "she", "which"])
_CONTRACTED = {"'re": "are", "'ve": "have", "'ll": "will", "'d": "would", "'m": "am"}
_ISO_DAY = re.compile(r"(\d{4})-(\d{2})-(\d{2})")
_JOINED = re.compile(r"\d[\d.,]*[A-Za-z%°µμ]+")


class Word(NamedTuple):
    kind: Literal["word", "quantity", "literal", "stop"]
    text: str
    said: str
    is_name: bool = False


def worded(tokens: Sequence[Token], known: Tables) -> list[Word]:
    return _with_phrases(_words(_opened(tokens, known), known), known)


def _opened(tokens: Sequence[Token], known: Tables) -> list[Token]:
    """Contractions and compounds as two words, and numbers apart from the units written against them."""
    opened: list[Token] = []
    for place, token in enumerate(tokens):
        kind, text, opens = token
        if kind == "word" and ("'" in text or "-" in text or text.lower() == "cannot"):
            parts = text.split("-") if _is_compound(text, known) else [part for part in _parts(text) if part]
            opened += [Token("word", part, opens and not number) for number, part in enumerate(parts)]
        elif kind == "literal" and place and tokens[place - 1].kind == "number" and text[0].isalpha():
            opened.append(Token("word", text))
        else:
            opened.append(token)
    return opened


def _is_compound(text: str, known: Tables) -> bool:
    """Words with a hyphen that are the same without it: "fat-soluble"; not "man-eating", "built-in" or "re-sign"."""
    parts = text.split("-")
    return (
        len(parts) == 2
        and text.islower()
        and "'" not in text
        and text not in known.synonyms
        and (text,) not in known.phrases
        and all(len(part) > 2 and part not in known.whole_compounds for part in parts)
        and not text.endswith("ing")
    )


def _parts(text: str) -> list[str]:
    lower = text.lower()
    if lower.endswith(("-year-old", "-years-old", "-month-old")):
        return text.split("-")
    if "'" not in lower and lower != "cannot":
        return [text]
    if lower.endswith("n't"):
        base = {"ca": "can", "wo": "will", "sha": "shall", "ai": "is"}.get(lower[:-3], lower[:-3])
        return [base, "not"]
    if lower == "cannot":
        return ["can", "not"]
    if lower == "let's":
        return ["let", "us"]
    if lower.endswith("'s"):
        return [text[:-2], "is" if lower[:-2] in _IS else "'s"]
    for ending, whole in _CONTRACTED.items():
        if lower.endswith(ending):
            return [text[: -len(ending)], whole]
    if lower.endswith("'"):
        return [text[:-1], "'s"]
    return [text]


def _words(tokens: Sequence[Token], known: Tables) -> list[Word]:
    texts = [token.text for token in tokens]
    capitals = _capitals_say_something(tokens)
    words: list[Word] = []
    place = 0
    while place < len(tokens):
        token = tokens[place]
        if token.kind in ("literal", "stop"):
            words.append(Word(token.kind, token.text, token.text))
            place += 1
            continue
        text = token.text
        lower = text.lower()
        if token.kind == "word" and text.isalpha() and not quantities.may_begin(text, lower):
            words += _said_by(token, lower, known, is_name=capitals and lower != text and _is_name(token))
            place += 1
            continue
        if token.kind == "number" and (day := _ISO_DAY.fullmatch(token.text)):
            words.extend((Word("quantity", f"date {day[2]}-{day[3]}", token.text), Word("quantity", day[1], day[1])))
            place += 1
            continue
        if token.kind == "word" and (value := _roman(tokens, place, words)):
            words.append(Word("quantity", value, token.text))
            place += 1
            continue
        if read := quantities.date(texts, place) or quantities.clock(texts, place) or _number(tokens, texts, place):
            words.append(Word("quantity", read[0], texts[place]))
            place += read[1]
            place = _unit(texts, place, words, known)
            continue
        if token.text in known.units and not token.text.isalpha() and place + 1 < len(tokens):
            # The sign before an amount ("$20") is read after it, as it is said.
            amount = quantities.number(texts, place + 1) if tokens[place + 1].kind == "number" else None
            if amount:
                words.append(Word("quantity", amount[0], texts[place + 1]))
                words.append(Word("quantity", f"unit {known.units[token.text]}", token.text))
                place += 1 + amount[1]
                continue
        words += _said_by(token, lower, known, is_name=capitals and _is_name(token))
        place += 1
    return words


def _said_by(token: Token, lower: str, known: Tables, *, is_name: bool) -> list[Word]:
    if is_name:
        return [Word("word", lower, token.text, is_name=True)]
    if lower in _SPELLED:
        return [Word("word", known.units[lower], token.text)]
    if (right := known.misspelled.get(lower)) is None:
        return [Word("word", american(lower), token.text)]
    return [Word("word", text, token.text) for text in right]


_FEW_WORDS = 4
_CAPITAL_IN_TITLES = frozenset({"The", "An", "Of", "And"})
_SPELLED = frozenset({"percent", "percentage"})


def _roman(tokens: Sequence[Token], place: int, words: Sequence[Word]) -> str | None:
    after_name = bool(words) and words[-1].is_name
    ends = place + 1 == len(tokens) or tokens[place + 1].kind == "stop"
    return quantities.roman(tokens[place].text, after_name=after_name, ends=ends)


def _number(tokens: Sequence[Token], texts: Sequence[str], place: int) -> quantities.Reading | None:
    if tokens[place].kind == "number" or tokens[place].text[0].isalpha():
        read = quantities.number(texts, place)
        if read and read[0] == "ordinal 2" and place and (texts[place - 1].lower() in {"per", "a", "each", "every"}):
            return None
        return read
    return None


def _unit(texts: Sequence[str], place: int, words: list[Word], known: Tables) -> int:
    if place >= len(texts):
        return place
    text = texts[place].lstrip("-")
    if (unit := quantities.unit(text, known)) and text not in {"a", "A", "in"}:
        words.append(Word("quantity", f"unit {unit}", texts[place]))
        return place + 1
    return place


def _capitals_say_something(tokens: Sequence[Token]) -> bool:
    """Not in a text that is all capitals, or that writes Every Word With One."""
    inside = [
        token.text
        for token in tokens
        if token.kind == "word" and not token.opens and len(token.text) > 1 and token.text[0].isalpha()
    ]
    if len(inside) < _FEW_WORDS:
        words = [token.text for token in tokens if token.kind == "word" and token.text.isalpha()]
        return not (len(words) >= _FEW_WORDS and all(word.isupper() for word in words))
    raised = sum(text[0].isupper() for text in inside)
    return raised * 10 <= len(inside) * 7


def _is_name(token: Token) -> bool:
    text = token.text
    if len(text) == 1:
        return text.isupper() and text != "I" and not (token.opens and text == "A")
    if text.isupper() and text.isalpha():
        return True
    if text in _CAPITAL_IN_TITLES:
        return False
    return not token.opens and text[0].isupper() and not text.startswith("I'")


def _with_phrases(words: Sequence[Word], known: Tables) -> list[Word]:
    """Phrases of the table as the words they stand for, the longest first."""
    joined: list[Word] = []
    place = 0
    while place < len(words):
        word = words[place]
        longest = known.phrase_starts.get(word.text, 0)
        if not longest or word.kind != "word":
            joined.append(word)
            place += 1
            continue
        for length in range(min(longest, len(words) - place), 0, -1):
            found = known.phrases.get(tuple(each.text for each in words[place : place + length]))
            if found is not None and all(each.kind == "word" for each in words[place : place + length]):
                joined.extend(_said(text, word) for text in found)
                place += length
                break
        else:
            joined.append(word)
            place += 1
    return joined


def _said(text: str, word: Word) -> Word:
    return Word("quantity" if text.isdigit() else "word", text, word.said)
