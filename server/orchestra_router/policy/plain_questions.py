"""Questions whose answer is in any book: facts of the past, of nature and of geography, and what a word means.

Their words and meaning are near those of a search ("who wrote ...", "when was ...") or of a poem ("what's a haiku"), but
nobody has to search the web for them, or to invent anything.
"""

import re

LONGEST = 200
"""Characters. Who asks more than that asks for more."""

_MADE = "wrote|painted|composed|invented|discovered|founded|sculpted"
_WAS_MADE = "written|painted|composed|invented|discovered|founded|sculpted|built|born"
_MAKE = "write|paint|compose|invent|discover|found|sculpt|build"
_MAKER = "author|writer|poet|painter|artist|sculptor|composer|inventor|discoverer|founder|scientist|architect"
_MOST = "deepest|highest|tallest|longest|largest|biggest|smallest|hottest|coldest|driest"
_OF_NATURE = (
    "lake|river|mountain|ocean|desert|island|continent|planet|waterfall|volcano|sea|canyon|animal|bone|organ|muscle"
)

_PLAIN = re.compile(
    rf"""
      who \s (?: {_MADE} ) \b
    | which \s (?: {_MAKER} ) \s (?: {_MADE} ) \b
    | who (?: \s is | \s was | 's ) \s the \s (?: {_MAKER} ) \s of \b
    | (?: in \s )? (?: what | which ) \s year \s (?: did | was | were ) \b
    | when \s (?: was | were ) \s .* \b (?: {_WAS_MADE} ) [\s?.]* $
    | when \s did \s they \s (?: {_MAKE} ) \b
    | (?: what | which ) \b .* \b (?: {_MOST} ) \s (?: \w+ \s )? (?: {_OF_NATURE} ) \b
    | (?: what | which ) \s (?: {_OF_NATURE} ) \s is \s the \s (?: {_MOST} ) \b
    | (?: what | which ) \b .* \b (?: capital | currency | language ) \s (?: (?: is \s )? (?: used | spoken ) \s in | of | in ) \b
    | (?: what | when ) (?: \s is | 's ) \s the \s best \s time \s of \s (?: the \s )? year \b
    | what (?: \s is | 's | s ) \s an? \s \w+ [\s?.]* $
    """,
    re.VERBOSE,
)
_OF_ITS_TIME = re.compile(
    r"\b(?:new|newest|latest|last|next|this|current|currently|now|nowadays|today|yesterday|tomorrow|recent|recently"
    r"|upcoming|yet|still|rate|price|worth|value|20[2-9]\d)\b"
)
"""What may have changed since any book was written."""


def is_plain_question(text: str) -> bool:
    if len(text) > LONGEST:
        return False
    asked = " ".join(text.lower().replace("\u2019", "'").split())
    return _PLAIN.match(asked) is not None and _OF_ITS_TIME.search(asked) is None
