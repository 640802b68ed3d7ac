from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra_router.errors import InvalidAnswer
from orchestra_router.providers.sse import EventReader
from orchestra_router.types import StreamEvent


def read(*chunks: bytes) -> list[StreamEvent]:
    reader = EventReader()
    found = [event for chunk in chunks for event in reader.feed(chunk)]
    return found + reader.end()


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: hello\n\n", [StreamEvent("", "hello")]),
        (b"event: ping\ndata: {}\n\n", [StreamEvent("ping", "{}")]),
        (b"data: one\ndata: two\n\n", [StreamEvent("", "one\ntwo")]),
        (b"data:one\ndata:  two\n\n", [StreamEvent("", "one\n two")]),
        (b"data: one\r\n\r\ndata: two\r\n\r\n", [StreamEvent("", "one"), StreamEvent("", "two")]),
        (b"data: one\r\rdata: two\r\r", [StreamEvent("", "one"), StreamEvent("", "two")]),
        (b": comment\n\n: another\ndata: x\n\n", [StreamEvent("", "x")]),
        (b"\n\n\ndata: x\n\n\n\n", [StreamEvent("", "x")]),
        (b"data\n\n", [StreamEvent("", "")]),
        (b"data\ndata\n\n", [StreamEvent("", "\n")]),
        (b"event: lost\n\ndata: x\n\n", [StreamEvent("", "x")]),
        (b"id: 7\nretry: 10\nother: y\nnothing\ndata: x\n\n", [StreamEvent("", "x")]),
        (b"data: a: b\n\n", [StreamEvent("", "a: b")]),
        (b"\xef\xbb\xbfdata: x\n\n", [StreamEvent("", "x")]),
        (b"data: \xff\n\n", [StreamEvent("", "\N{REPLACEMENT CHARACTER}")]),
        (b"", []),
    ],
)
def test_a_stream_is_read_by_the_rules_of_the_standard(stream: bytes, expected: list[StreamEvent]) -> None:
    found = read(stream)

    assert found == expected


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r", b"\r\n"])
def test_a_final_event_without_its_blank_line_is_delivered(ending: bytes) -> None:
    found = read(b"data: first\n\ndata: last" + ending)

    assert found == [StreamEvent("", "first"), StreamEvent("", "last")]


def test_an_event_is_delivered_as_soon_as_its_blank_line_is_there() -> None:
    reader = EventReader()

    found = reader.feed(b"data: now\r\n\r")

    assert found == [StreamEvent("", "now")]
    assert reader.feed(b"\ndata: later\r\n\r\n") == [StreamEvent("", "later")]


def test_characters_and_line_ends_may_be_split_between_chunks() -> None:
    stream = "data: Zürich\r\ndata: 雪\r\n\r\n".encode()

    found = read(*(stream[at : at + 1] for at in range(len(stream))))

    assert found == [StreamEvent("", "Zürich\n雪")]


@pytest.mark.parametrize(
    "stream",
    [
        b"data: " + b"x" * 100,
        b"data: " + b"x" * 100 + b"\n\n",
        b"data: xxxxxxxxxx\n" * 10 + b"\n",
        b": " + b"a comment without an end" * 10,
    ],
)
def test_an_event_without_bounds_is_refused(stream: bytes) -> None:
    reader = EventReader(max_event_bytes=64)

    with pytest.raises(InvalidAnswer):
        reader.feed(stream)


def test_the_bound_is_for_one_event_and_not_for_the_stream() -> None:
    reader = EventReader(max_event_bytes=64)

    found = reader.feed(b"data: " + b"x" * 50 + b"\n\n") + reader.feed(b"data: " + b"y" * 50 + b"\n\n")

    assert [event.data for event in found] == ["x" * 50, "y" * 50]


lines = st.sampled_from(["data: a", "data:b: c", "data: ü雪😀", "data", "event: e", ": comment", "id: 1", "", "", "x"])
ends = st.sampled_from(["\n", "\r", "\r\n"])


@given(
    stream=st.one_of(
        st.lists(st.tuples(lines, ends)).map(lambda found: "".join(map("".join, found)).encode()),
        st.lists(st.sampled_from([b"\r", b"\n", b"data:", b":", b" ", b"x", b"\xef\xbb\xbf", b"\xc3"])).map(b"".join),
        st.binary(),
    ),
    cuts=st.lists(st.integers(0, 200)),
)
def test_where_chunks_begin_and_end_makes_no_difference(stream: bytes, cuts: list[int]) -> None:
    places = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    chunks = [stream[begin:end] for begin, end in pairwise(places)]

    found = read(*chunks)

    assert found == read(stream)
