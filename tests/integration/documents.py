"""Documents made of the vendors' SDK types, as a server sends them."""

from collections.abc import Iterable

import pytest
from hypothesis import strategies as st
from pydantic import BaseModel

from orchestra_router.providers.base import StreamReader
from orchestra_router.types import Answer, StreamEvent

WITH_AND_WITHOUT_NULLS = pytest.mark.parametrize("nulls", [True, False], ids=["nulls", "no nulls"])
"""Servers send what they leave out as null, or not at all."""
counts = st.integers(min_value=0, max_value=100_000)
some = st.integers(min_value=1, max_value=100_000)
"""Of fresh input and of visible output there is some in every answer; without it the usage is not believed."""
texts = st.text(min_size=1).filter(lambda text: text.strip() and text.encode(errors="ignore").decode() == text)
ARGUMENTS = '{"city":"Zürich"}'


def sent(document: BaseModel, *, nulls: bool = True) -> bytes:
    return document.model_dump_json(by_alias=True, exclude_none=not nulls).encode()


def streamed(reader: StreamReader, events: Iterable[BaseModel], *, nulls: bool = True) -> tuple[Answer, str]:
    """The answer, and the text that was visible on the way."""
    data = [event.model_dump_json(by_alias=True, exclude_none=not nulls) for event in events]
    text = "".join([reader.feed(StreamEvent("", one)) for one in data])
    return reader.finish(), text
