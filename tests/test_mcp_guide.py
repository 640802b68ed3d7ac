"""The pages about MCP say what is so."""

import os
import re
from pathlib import Path

from orchestra_router.config import Settings
from orchestra_tools import prompts, resources
from orchestra_tools.reference import reference
from orchestra_tools.running import HEARTBEAT_S, KEEP_S

DOCS = Path(__file__).resolve().parent.parent / "docs"
REFERENCE = DOCS / "reference" / "mcp.md"
HEAD = "# MCP reference\n\nMade from the code; what it is for is in [the guide](../mcp.md).\n\n"


def test_the_reference_is_made_from_the_code() -> None:
    made = f"{HEAD}{reference()}\n"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        REFERENCE.write_text(made, encoding="utf-8")

    assert REFERENCE.read_text(encoding="utf-8") == made


def test_the_guide_names_every_resource_and_prompt_and_the_limits_that_there_are() -> None:
    guide = (DOCS / "mcp.md").read_text(encoding="utf-8")
    defaults = {name: field.default for name, field in Settings.model_fields.items()}

    for name in (*(one.uri for one in resources.READABLE), *prompts.BY_NAME):
        assert f"`{name}`" in guide
    assert re.findall(r"`answer_page_chars` \(([\d,]+)\)", guide) == [f"{defaults['answer_page_chars']:,}"]
    assert re.findall(r"`answer_within_s` \((\d+) s", guide) == [f"{defaults['answer_within_s']:.0f}"]
    assert f"every {HEARTBEAT_S} s" in guide
    assert f"for {KEEP_S // 60} minutes" in guide
