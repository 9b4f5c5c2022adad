"""Cutting event streams: nothing is lost, nothing is held for longer than it must be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.metering.events import LIMIT, Splitter, data_of


def whole_events(*chunks: bytes) -> list[bytes]:
    splitter = Splitter()
    pieces = [piece for chunk in chunks for piece in splitter.feed(chunk)] + splitter.end()
    return [piece.data for piece in pieces if piece.whole]


def test_an_event_ends_at_a_blank_line_of_any_kind() -> None:
    assert whole_events(b"data: 1\n\ndata: 2\r\n\r\ndata: 3\r\rdata: 4\n\r\ndata: 5\n\n") == [
        b"data: 1\n\n",
        b"data: 2\r\n\r\n",
        b"data: 3\r\r",
        b"data: 4\n\r\n",
        b"data: 5\n\n",
    ]


def test_an_event_comes_out_as_soon_as_it_is_complete() -> None:
    splitter = Splitter()
    assert splitter.feed(b"data: 1\r\n\r") == []
    assert [piece.data for piece in splitter.feed(b"\ndata")] == [b"data: 1\r\n\r\n"]
    assert [piece.data for piece in splitter.end()] == [b"data"]


def test_one_line_end_ends_no_event() -> None:
    """CR LF is one line end, also where a chunk ends between them."""
    assert whole_events(b"data: 1\r", b"\ndata: 2\r", b"\n\r\n") == [b"data: 1\r\ndata: 2\r\n\r\n"]


def test_lines_of_data_are_joined_and_all_others_left_out() -> None:
    event = b': ping\nevent: x\ndata: {"a":\ndata:1}\ndata\nid: 7\ndata:  \r\n\r\n'
    assert data_of(event) == b'{"a":\n1}\n '
    assert data_of(b": only a comment\n\n") == b""


def test_an_event_too_large_goes_on_in_parts_and_the_next_is_whole_again() -> None:
    splitter = Splitter()
    large = b"data: " + b"x" * LIMIT + b"\n\n"
    stream = b"data: 1\n\n" + large + b"data: 2\n\n"
    pieces, most = [], 0
    for at in range(0, len(stream), 10_007):
        pieces += splitter.feed(stream[at : at + 10_007])
        most = max(most, at + 10_007 - sum(len(piece.data) for piece in pieces))
    pieces += splitter.end()
    assert [piece.data for piece in pieces if piece.whole] == [b"data: 1\n\n", b"data: 2\n\n"]
    assert b"".join(piece.data for piece in pieces) == stream
    assert most <= LIMIT + 10_007


def test_what_is_too_large_is_so_in_one_chunk_too() -> None:
    for size, whole in ((LIMIT, True), (LIMIT + 1, False)):
        event = b"data: " + b"x" * (size - 8) + b"\n\n"
        assert [piece.whole for piece in Splitter().feed(event)] == [whole]


@given(st.lists(st.text("\r\nda:", max_size=6).map(str.encode), max_size=12))
def test_the_pieces_are_the_stream_and_the_same_for_any_chunks(chunks: list[bytes]) -> None:
    stream = b"".join(chunks)
    assert b"".join(whole_events(*chunks)) == stream
    assert whole_events(*chunks) == whole_events(stream)
