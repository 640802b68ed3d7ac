"""Cuts a text into words, numbers and literals: what is quoted, code, an address, an operator."""

import re
from typing import Literal, NamedTuple

Kind = Literal["word", "number", "literal", "stop"]


class Token(NamedTuple):
    kind: Kind
    text: str
    opens: bool = False
    """First of a sentence, where a capital says nothing."""


# Each alternative is a run of a character class or ends at a fixed mark, so a text is read once. The first takes most
# words, those that cannot be the beginning of anything else.
_TOKEN = re.compile(
    r"""
      [ ]?(?P<plain>(?:[A-Z]?[a-z]+|[A-Z]+)(?=[\s,?!;)]|[.:]?(?:\s|\Z)))
    | (?P<code>`+[^`]{0,2000}`+)
    | (?P<quoted>"[^"]{0,2000}" | (?<![\w'])'[^']{1,2000}'(?!\w))
    | (?P<address>[a-z]{2,10}://[^\s"'<>]+ | www\.[^\s"'<>]+ | [\w.+-]{1,64}@[\w-]{1,64}\.[\w.-]{1,64})
    | (?P<path>(?<![\w/])(?:~|\.{1,2})?/[\w.-]+(?:/[\w.*-]*)* | [A-Za-z]:\\[^\s]* | [\w-]+(?:/[\w.-]+)+\.\w+)
    | (?P<flag>(?<![\w-])--?[A-Za-z][\w-]*(?:=[^\s]+)?)
    | (?P<day>(?<![\d-])\d{4}-\d{2}-\d{2}(?![\d-]))
    | (?P<clock>\d{1,2}:\d{2}(?::\d{2})?(?!\d))
    | (?P<language>(?<!\w)(?:[cCfF]\#|[cC]\+\+|\.(?:NET|net)\b))
    | (?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\w]) | \d+(?:\.\d+)*(?:/\d+)?)
    | (?P<identifier>[$@\#][^\W\d]\w* | [A-Za-z_]\w*(?:\.\w+)+(?:\([^()\s]{0,80}\))? | [A-Za-z_]\w*\([^()\s]{0,80}\) | [A-Za-z]\w*_\w*
        | [A-Za-z]+\d\w* | [a-z]+[A-Z]\w* | _\w+ | [A-Za-z]\w*\[[^\]\s]{0,80}\])
    | (?P<word>[^\W\d_]+(?:['-][^\W\d_]+)*)
    | (?P<unit>[$€£¥₹%°])
    | (?P<operator>!= | [<>=+*/^|&~\\]+(?=\s*[\w"'(\-])|[<>=+*/^|&~\\]+ | (?<=[\d\w)])\s?-\s?(?=\d) | (?<=\d)!)
    | (?P<bracket>!(?=[(\w])|[()\[\]{};])
    | (?P<stop>[.?!:,]+)
    | (?P<dash>-+)
    | (?P<other>[^\s"']) | (?P<mark>["'])
    """,
    re.VERBOSE,
)
_CODE_MARKS = re.compile(r"[=;{}()\[]")
"""There is one in each of the signs."""
_CODE_SIGNS = re.compile(r"[=;{}]|\w\(|\)\s*:|\[\d")
_DOTTED_SHORT = {"a.m", "p.m", "e.g", "i.e", "u.s", "u.k", "u.s.a"}


def tokenize(text: str) -> list[Token]:
    is_code = _CODE_MARKS.search(text) is not None and len(_CODE_SIGNS.findall(text[:4000])) >= 2
    tokens: list[Token] = []
    opens = True
    for match in _TOKEN.finditer(text):
        name = match.lastgroup or ""
        if name == "plain":
            tokens.append(Token("word", match["plain"], opens))
            opens = False
            continue
        kind, said = _kind(name, match[0], is_code=is_code)
        if kind is None:
            continue
        tokens.append(Token(kind, said, opens))
        opens = kind == "stop" and said[-1] in ".?!:"
    return tokens


_AS = {
    "word": "word",
    "unit": "word",
    "number": "number",
    "clock": "number",
    "day": "number",
    "stop": "stop",
    "bracket": "code",
    "dash": "code",
    "mark": "code",
}
"""What each alternative is; `code` is a literal in code, and nothing in prose. The others are literals."""


def _kind(name: str, said: str, *, is_code: bool) -> tuple[Kind | None, str]:
    if name == "identifier" and said.lower() in _DOTTED_SHORT:
        return "word", said.replace(".", "")
    match _AS.get(name, "literal"):
        case "code":
            return ("literal" if is_code else None), said
        case "word" | "number" | "stop" as kind:
            return kind, said
        case _ if name == "operator":
            return "literal", "".join(said.split())
        case _:
            # What is quoted may be nothing, which is something to ask about, too.
            return "literal", said.strip("`\"' " if name in _FENCED else "") or said


_FENCED = ("quoted", "code")
