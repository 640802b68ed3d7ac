"""Which language a text is in, by its script and its most common words: enough to know whether we can read it."""

import re
from collections.abc import Mapping

COVERED: Mapping[str, str] = {
    "English": "the a an of to in is are was for with and what how why i you it this that my me do does can on write",
    "German": "der die das und ist ein eine wie was ich nicht mit für von zu den dem mir wer sind wird auf über schreibe",
    "French": "le la les un une des et est que qui dans pour avec sur comment je il du au aux quel quelle moi sont écris",
    "Spanish": "el la los las un una y es que en por para con cómo qué del al me quién cuál son escribe está mi",
    "Italian": "il lo la gli un una e è che in per con come cosa di del della mi chi quale sono scrivi perché non",
    "Portuguese": "o a os as um uma e é que em para com como do da dos das me quem qual são escreva não por está",
    "Dutch": "de het een en is van in voor met hoe wat ik niet mij wie zijn op over schrijf deze dat waarom aan",
}
"""Languages in Latin letters, each by its most common words. Prompts in them were used to set the classifier up."""
_COMMON = frozenset(word for words in COVERED.values() for word in words.split())
_SCRIPTS = (
    ("Japanese", re.compile("[\u3040-\u30ff]")),
    ("Korean", re.compile("[\uac00-\ud7af\u1100-\u11ff]")),
    ("Chinese", re.compile("[\u3400-\u9fff]")),
    ("Russian", re.compile("[\u0400-\u04ff]")),
    ("Greek", re.compile("[\u0370-\u03ff]")),
    ("Hebrew", re.compile("[\u0590-\u05ff]")),
    ("Arabic", re.compile("[\u0600-\u06ff]")),
    ("an Indic script", re.compile("[\u0900-\u0dff]")),
    ("Thai", re.compile("[\u0e00-\u0e7f]")),
)
COVERED_SCRIPTS = frozenset({"Japanese", "Chinese", "Russian"})
_LETTERS = re.compile(r"[^\W\d_]+")
READ_CHARACTERS = 600
LEAST_WORDS = 5
"""Fewer tell nothing of a language."""


def uncovered(text: str) -> str:
    """The language of `text`, where we do not cover it; "" where we do, or nothing can be told."""
    if text.isascii():
        return ""
    text = text[:READ_CHARACTERS].lower()
    words = _LETTERS.findall(text)
    letters = sum(map(len, words))
    for name, script in () if text.isascii() else _SCRIPTS:
        if 3 * len(script.findall(text)) > letters:
            return "" if name in COVERED_SCRIPTS else name
    known = len(words) < LEAST_WORDS or text.isascii() or not _COMMON.isdisjoint(words)
    return "" if known else "a language that is not recognised"
