import functools
import tomllib
from importlib.resources import files
from typing import Any


@functools.cache
def words() -> dict[str, Any]:
    """The tables of `words.toml` as they are written."""
    file = files("orchestra_router.policy.lexical_guard").joinpath("words.toml")
    return tomllib.loads(file.read_text("utf-8"))
