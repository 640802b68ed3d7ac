"""The rules of one policy. One look at a text tells which of them may find anything in it, and most texts pass by that."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from orchestra_router.policy.rules.base import Needs, Rule, Span
from orchestra_router.policy.rules.seen import Seen

Deal = Callable[[Rule, str, Sequence[Span]], str]
"""What is made of a text in which a rule has found something at these places."""


class _Texts:
    """Texts of which one is looked for: those with an odd mark in them only where that mark is."""

    def __init__(self, texts: Iterable[str]) -> None:
        by_mark: dict[str, list[str]] = {}
        for text in texts:
            by_mark.setdefault(next((c for c in text if not c.isalnum() and c != " "), ""), []).append(text)
        self._by_mark = [(mark, tuple(each)) for mark, each in by_mark.items()]

    def any_in(self, text: str) -> bool:
        for mark, wanted in self._by_mark:
            if mark in text:
                for each in wanted:
                    if each in text:
                        return True
        return False


@dataclass(frozen=True, slots=True)
class _Asking:
    """The rules that need the same of a text, by their places."""

    places: tuple[int, ...]
    marks: str
    texts: _Texts | None
    of_ascii: _Texts | None
    """Those of `texts` that a text in ASCII may hold."""
    characters: int


class Sieve:
    def __init__(self, rules: Iterable[Rule]) -> None:
        """`rules` in the order in which they are tried."""
        self.rules = tuple(rules)
        places: dict[Needs, list[int]] = {}
        for place, rule in enumerate(self.rules):
            places.setdefault(rule.needs, []).append(place)
        self._most_figures = max((needs.figures for needs in places), default=0)
        asking = [(needs.figures, _asking(needs, each)) for needs, each in places.items()]
        self._by_figures = [
            tuple(each for needed, each in asking if needed <= figures) for figures in range(self._most_figures + 1)
        ]
        """Who asks for no more figures than so many."""

    def possible(self, seen: Seen) -> list[int]:
        """The places of the rules that may find something in `seen`, in their order."""
        possible: list[int] = []
        text = seen.lowered
        is_ascii = text.isascii()
        for each in self._by_figures[min(seen.figures, self._most_figures)]:
            if each.marks and seen.text.count(each.marks[0]) < len(each.marks):
                continue
            texts = each.of_ascii if is_ascii else each.texts
            if texts is not None and not texts.any_in(text):
                continue
            if not each.characters or seen.longest_run >= each.characters:
                possible += each.places
        possible.sort()
        return possible

    def dealt(self, text: str, deal: Deal) -> str:
        """What is left of `text`, rule by rule. What `deal` takes out of it, no later rule sees.

        Raises:
            GuardrailBlocked: a rule cannot tell, or `deal` refuses what it has found.
        """
        seen = Seen(text)
        places = self.possible(seen)
        while places:
            place, *places = places
            rule = self.rules[place]
            if spans := seen.spans(rule):
                left = deal(rule, text, spans)
                if left is not text:
                    text, seen = left, Seen(left)
                    places = [later for later in self.possible(seen) if later > place]
        return text


def _asking(needs: Needs, places: Iterable[int]) -> _Asking:
    # What holds a longer text holds the shorter one in it.
    texts = tuple(text for text in needs.texts if not any(other in text for other in needs.texts if other != text))
    every = _Texts(texts) if texts else None
    of_ascii = _Texts(filter(str.isascii, texts)) if texts else None
    return _Asking(tuple(places), needs.marks, every, of_ascii, needs.characters)
