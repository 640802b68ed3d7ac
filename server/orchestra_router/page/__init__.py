"""The files of the page that shows what was asked and what it cost. Nothing here reads data; the scripts ask for it."""

import re
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@cache
def names() -> frozenset[str]:
    return frozenset(file.name for file in FOLDER.iterdir() if file.suffix[1:] in TYPES)


@cache
def text(name: str) -> str:
    """The file `name`, which is one of `names`."""
    return FOLDER.joinpath(name).read_text(encoding="utf-8")


def media_type(name: str) -> str:
    return TYPES[name.rpartition(".")[2]]


@cache
def in_one_file(script: str, *modules: str, title: str) -> str:
    """A page that needs no other file: the style, and `script` behind the `modules` that it imports, in their order.

    A module here imports by lines of their own, and no two export the same name.
    """
    source = "\n".join(_MODULE_LINES.sub("", text(name)) for name in (*modules, script))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{text('style.css')}</style></head>"
        f'<body class="app"><main id="app"></main><script type="module">{source}</script></body></html>'
    )


_MODULE_LINES = re.compile(r"^import .*;$|^export \{.*\};$|^export (?=class|function|const)", re.MULTILINE)
