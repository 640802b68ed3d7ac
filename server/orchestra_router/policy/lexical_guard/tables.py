"""The word tables of `words.toml`, each in the shape its rule looks things up in. Read once, when first needed."""

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anyio.to_thread

from orchestra_router.policy.lexical_guard import stems, words

FRAMES = ("how_to", "what_is", "explain", "how_works", "give", "recommend", "write")
"""Ways to ask, in `words.toml` under these names."""
Phrase = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    openers: frozenset[Phrase]
    polite: frozenset[Phrase]
    opening_words: frozenset[str]
    """First words of both."""
    endings: frozenset[Phrase]
    ending_words: frozenset[str]
    """Last words of these."""
    frames: Mapping[Phrase, frozenset[str]]
    """How a question begins, to the kinds of question that begins so."""
    frame_starts: Mapping[str, int]
    """First word of a frame, to the words of the longest that begins so."""
    phrases: Mapping[Phrase, Phrase]
    phrase_starts: Mapping[str, int]
    """First word of a phrase, to the words of the longest that begins so."""
    artefacts: frozenset[str]
    task_verbs: Mapping[str, str]
    free: frozenset[str]
    prepositions: frozenset[str]
    loose_prepositions: frozenset[str]
    alike_prepositions: frozenset[frozenset[str]]
    pronouns: Mapping[str, str]
    negations: frozenset[str]
    contrast: Mapping[str, str]
    past_of: Mapping[str, str]
    synonyms: Mapping[str, str]
    light: frozenset[str]
    opposites: frozenset[tuple[str, str]]
    prefixes: tuple[str, ...]
    case_matters: frozenset[str]
    misspelled: Mapping[str, Phrase]
    class_of: Mapping[str, str]
    units: Mapping[str, str]
    foreign: frozenset[str]
    english: frozenset[str]
    patterns: Mapping[str, Sequence[tuple[Phrase, Phrase]]]
    """How a sentence is built, and how it is built instead, by the first word."""
    judgements: frozenset[str]
    adverbs: frozenset[str]
    materials: frozenset[str]
    participles: frozenset[str]
    not_superlative: frozenset[str]
    not_adverb: frozenset[str]
    states: frozenset[str]
    ways: frozenset[str]
    implied: Mapping[str, tuple[tuple[str, ...], ...]]
    """A word that may be missing, to the words of which it repeats a part: all of one group have to be said."""
    unchanged: frozenset[str]
    makers: frozenset[str]
    goes: frozenset[str]
    cooked: frozenset[str]
    deeds: frozenset[str]
    given: frozenset[str]
    comparatives: Mapping[str, Phrase]
    asides: re.Pattern[str]
    whole_compounds: frozenset[str]
    """Words that mean something else, or nothing, beside a hyphen."""
    light_verbs: Mapping[str, frozenset[int]]
    """Light verbs, to the lines of verbs that may stand for one another."""


@functools.cache
def tables() -> Tables:
    read = words.words()
    synonyms = _groups(read["synonyms"]["groups"])
    stemmed = {stems.stem(word): stems.stem(first) for word, first in synonyms.items()}
    frames: dict[Phrase, set[str]] = {}
    for name in FRAMES:
        for phrase in _phrases(read[name]):
            frames.setdefault(phrase, set()).add(name)
    phrases = {tuple(phrase.split()): tuple(said.split()) for phrase, said in read["phrases"].items()}
    openers, polite, endings = (frozenset(_phrases(read[name])) for name in ("openers", "polite", "endings"))
    foreign = frozenset(read["foreign"]["words"].split())
    english = frozenset(read["english"].split()) | frozenset(read["free"].split()) | _groups(read["task_verbs"]).keys()
    class_of = {
        stemmed.get(stems.stem(word), stems.stem(word)): name
        for name, members in read["classes"].items()
        for word in members.split()
    }

    def key(word: str) -> str:
        return stemmed.get(stems.stem(word), stems.stem(word))

    def keyed(said: str) -> frozenset[str]:
        return frozenset(map(key, said.split()))

    light = {stemmed.get(stems.stem(word), stems.stem(word)) for word in read["light"].split()}
    return Tables(
        openers=openers,
        polite=polite,
        opening_words=frozenset(phrase[0] for phrase in openers | polite),
        endings=endings,
        ending_words=frozenset(phrase[-1] for phrase in endings),
        frames={phrase: frozenset(names) for phrase, names in frames.items()},
        frame_starts=_starts(frames),
        phrases=phrases,
        phrase_starts=_starts(phrases),
        artefacts=frozenset(map(stems.stem, read["artefacts"].split())),
        task_verbs=_groups(read["task_verbs"]),
        free=frozenset(read["free"].split()),
        prepositions=frozenset(read["prepositions"].split()),
        loose_prepositions=frozenset(read["loose_prepositions"].split()),
        alike_prepositions=_pairs(read["alike_prepositions"]),
        pronouns={form: name for name, forms in read["pronouns"].items() for form in forms.split()},
        negations=frozenset(read["negations"].split()),
        contrast=_groups(read["contrast"]),
        past_of=_past(read["irregular"]),
        synonyms=stemmed,
        light=frozenset(light - class_of.keys()),  # "go" is a language too
        opposites=_opposites(read["opposites"]["pairs"], stemmed),
        prefixes=tuple(read["prefixes"].split()),
        case_matters=frozenset(read["case_matters"].split()),
        misspelled={word: tuple(right.split()) for word, right in read["misspelled"].items()},
        class_of=class_of,
        units=_units(read["units"]["names"]),
        foreign=foreign - english,
        english=english - foreign,
        patterns=_patterns(read["patterns"]),
        judgements=frozenset(read["judgements"].split()),
        adverbs=keyed(read["adverbs"]),
        materials=keyed(read["materials"]),
        participles=frozenset(_past(read["irregular"])),
        not_superlative=frozenset(read["not_superlative"].split()),
        not_adverb=frozenset(read["not_adverb"].split()),
        states=frozenset(read["states"].split()),
        ways=keyed(read["ways"]),
        implied=_implied(read["implied"], key),
        unchanged=frozenset(read["unchanged"].split()),
        makers=frozenset(read["makers"].split()),
        goes=frozenset(read["goes"].split()),
        cooked=keyed(read["cooked"]),
        deeds=keyed(read["deeds"]),
        given=keyed(read["given"]),
        comparatives={word: tuple(said.split()) for word, said in read["comparatives"].items()},
        asides=_asides(read["asides"]),
        whole_compounds=_whole_compounds(read),
        light_verbs=_lines_of(read["light_verbs"], key),
    )


def _asides(said: Iterable[str]) -> re.Pattern[str]:
    between = r"(?: - |, )"
    return re.compile(rf"{between}(?:{'|'.join(map(re.escape, said))}){between}", re.IGNORECASE)


def _whole_compounds(read: Mapping[str, Any]) -> frozenset[str]:
    lists = (
        read["free"],
        read["prepositions"],
        read["negations"],
        read["prefixes"],
        read["compounds"],
        *read["contrast"],
    )
    return frozenset(word for words in lists for word in words.split())


async def ready() -> None:
    """Returns once the tables were read, which takes 10 ms: beside the event loop."""
    if not tables.cache_info().currsize:
        await anyio.to_thread.run_sync(tables)


def _phrases(lines: Iterable[str]) -> list[Phrase]:
    return [tuple(line.split()) for line in lines]


def _starts(phrases: Iterable[Phrase]) -> dict[str, int]:
    starts: dict[str, int] = {}
    for phrase in phrases:
        starts[phrase[0]] = max(starts.get(phrase[0], 0), len(phrase))
    return starts


def _groups(lines: Iterable[str]) -> dict[str, str]:
    return {word: line.split()[0] for line in lines for word in line.split()}


def _pairs(lines: Iterable[str]) -> frozenset[frozenset[str]]:
    groups = [line.split() for line in lines]
    return frozenset(frozenset((one, other)) for group in groups for one in group for other in group if one != other)


def _opposites(pairs: str, synonyms: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for pair in pairs.split():
        one, other = (synonyms.get(stems.stem(word), stems.stem(word)) for word in pair.split("/"))
        found |= {(one, other), (other, one)} if one != other else set()
        found |= {tuple(pair.split("/")), tuple(reversed(pair.split("/")))}  # pyright: ignore[reportAssignmentType] - pairs
    return frozenset(found)


def _past(lines: str) -> dict[str, str]:
    pairs = (entry.split(":") for entry in lines.split())
    return {form: verb for verb, forms in (pair for pair in pairs if len(pair) == 2) for form in forms.split(",")}


def _units(lines: str) -> dict[str, str]:
    units: dict[str, str] = {}
    for entry in lines.split():
        name, forms = entry.split(":")
        units |= dict.fromkeys((name, *forms.split(",")), name)
    return units


def _patterns(read: Mapping[str, str]) -> dict[str, list[tuple[Phrase, Phrase]]]:
    patterns: dict[str, list[tuple[Phrase, Phrase]]] = {}
    for pattern, form in read.items():
        parts = tuple(pattern.split())
        patterns.setdefault(parts[0], []).append((parts, tuple(form.split())))
    return patterns


def _implied(lines: Iterable[str], key: Callable[[str], str]) -> dict[str, tuple[tuple[str, ...], ...]]:
    found: dict[str, tuple[tuple[str, ...], ...]] = {}
    for line in lines:
        word, groups = line.split(": ")
        found[key(word)] = tuple(tuple(map(key, group.split("+"))) for group in groups.split())
    return found


def _lines_of(lines: Iterable[str], key: Callable[[str], str]) -> dict[str, frozenset[int]]:
    found: dict[str, set[int]] = {}
    for number, line in enumerate(lines):
        for word in line.split():
            found.setdefault(key(word), set()).add(number)
    return {word: frozenset(numbers) for word, numbers in found.items()}
