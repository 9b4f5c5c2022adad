"""Generated answers, cut at every byte, against what they were generated from; and what is no answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.line import Line

from facilitator.http1.errors import Closed, HttpError, Invalid
from facilitator.http1.reader import MAX_FIELD, MAX_FIELDS, MAX_HEAD


@dataclass(frozen=True)
class Told:
    """An answer, and how it is said."""

    status: int
    fields: tuple[tuple[bytes, bytes], ...]
    content: tuple[bytes, ...]
    framing: str
    bare: bool
    interim: tuple[bytes, ...] = ()
    trailer: bytes = b""
    closes: bool = False
    surplus: bytes = b""

    @property
    def carries(self) -> bool:
        return not self.bare and self.status not in (204, 304)

    @property
    def raw(self) -> bytes:
        said = b"".join(b"HTTP/1.1 %b\r\n\r\n" % each for each in self.interim)
        said += b"HTTP/1.1 %d X\r\n" % self.status
        said += b"".join(b"%b: %b\r\n" % each for each in self.all_fields) + b"\r\n"
        if not self.carries:
            return said + self.surplus
        if self.framing != "chunked":
            return said + b"".join(self.content) + self.surplus
        said += b"".join(b"%x;e=1\r\n%b\r\n" % (len(each), each) for each in self.content if each)
        return said + b"0\r\n" + self.trailer + b"\r\n" + self.surplus

    @property
    def all_fields(self) -> list[tuple[bytes, bytes]]:
        framing = {
            "length": (b"Content-Length", b"%d" % sum(map(len, self.content))),
            "chunked": (b"Transfer-Encoding", b"Chunked"),
        }
        found = [*self.fields, *([framing[self.framing]] if self.framing in framing else [])]
        return [*found, *([(b"Connection", b"x, Close")] if self.closes else [])]

    @property
    def goes_on(self) -> bool:
        """Whether the connection can be used again."""
        return not self.closes and not self.surplus and not (self.framing == "end" and self.carries)


NAMES = st.sampled_from([b"X-A", b"x-b", b"Set-Cookie", b"Date"])
VALUES = st.sampled_from([b"", b"1", b"a, b", b"\xfc\xff", b"a\tb"])
ANSWERS = st.builds(
    Told,
    status=st.sampled_from([200, 204, 299, 304, 404, 503]),
    fields=st.lists(st.tuples(NAMES, VALUES), max_size=3).map(tuple),
    content=st.lists(st.sampled_from([b"", b"ok", b"\r\n0\r\n\r\n", b"x" * 40]), max_size=3).map(tuple),
    framing=st.sampled_from(["length", "chunked", "end"]),
    bare=st.booleans(),
    interim=st.lists(
        st.sampled_from([b"100 Continue", b"103 Early\r\nLink: x", b"102 P", b"199 X"]), max_size=2
    ).map(tuple),
    trailer=st.sampled_from([b"", b"X-T: 1\r\n"]),
    closes=st.booleans(),
    surplus=st.sampled_from([b"", b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged", b"x", b"\x00"]),
)


def cuts(raw: bytes) -> Iterator[Sequence[bytes]]:
    """In two at every byte, and byte by byte."""
    yield [raw]
    yield from ([raw[:at], raw[at:]] for at in range(1, len(raw)))
    yield [raw[at : at + 1] for at in range(len(raw))]


@settings(max_examples=60, deadline=None)
@given(ANSWERS)
def test_every_answer_is_read_as_it_was_meant_wherever_it_is_cut(told: Told) -> None:
    if told.framing == "end" and told.carries and told.surplus:
        return

    async def check() -> None:
        for pieces in cuts(told.raw):
            line = Line()
            answer = line.ask(bare=told.bare)
            for piece in pieces:
                line.hear(piece)
            if told.framing == "end" and told.carries:
                assert not answer.whole
                line.hear_end()
            assert (answer.status, answer.fields) == (told.status, told.all_fields), pieces
            assert answer.whole and answer.taken() == (b"".join(told.content) if told.carries else b"")
            assert line.aborted == (not told.goes_on), pieces
            assert line.free == told.goes_on or told.surplus, pieces

    asyncio.run(check())


@settings(max_examples=150, deadline=None)
@given(ANSWERS, st.data())
def test_whatever_comes_ends_in_an_answer_or_in_order(told: Told, data: st.DataObject) -> None:
    raw = bytearray(told.raw)
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))

    async def check() -> None:
        line = Line()
        answer = line.ask(bare=told.bare)
        for piece in (bytes(raw[:cut]), bytes(raw[cut:])):
            line.hear(piece)
        line.hear_end()
        try:
            await answer.begun()
            while await answer.read():
                pass
        except HttpError:
            assert line.aborted
        else:
            assert answer.whole and answer.status >= 200

    asyncio.run(check())


CHUNKED = b"Transfer-Encoding: chunked\r\n"
BROKEN = {
    "no http": b"SSH-2.0\r\n",
    "another version": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "one length twice": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "a list of lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
    "a signed length": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
    "no length": b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
    "a huge length": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    "length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    "chunks and length": b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n",
    "an unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
    "two codings": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": b"HTTP/1.1 200 OK\r\n" + CHUNKED * 2 + b"\r\n0\r\n\r\n",
    "a bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a longer chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nok\r\n",
    "a signed chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
    "a chunk with a bare LF": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\r\n0\r\n\r\n",
    "a space before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
    "a folded line": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "a bare LF": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "a bare CR": b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n",
    "a NUL": b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 0\r\n\r\n",
    "a control byte": b"HTTP/1.1 200 OK\r\nX: a\x7fb\r\nContent-Length: 0\r\n\r\n",
    "no name": b"HTTP/1.1 200 OK\r\n: b\r\nContent-Length: 0\r\n\r\n",
    "a name that is none": b"HTTP/1.1 200 OK\r\nX A: b\r\nContent-Length: 0\r\n\r\n",
    "no status": b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    "an unasked upgrade": b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    "an interim answer with content": b"HTTP/1.1 104 X\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n",
    "a large field": b"HTTP/1.1 200 OK\r\nX: " + b"a" * MAX_FIELD + b"\r\n\r\n",
    "many fields": b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * (MAX_FIELDS + 1) + b"\r\n",
    "many trailers": b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"\r\n0\r\n" + b"X: a\r\n" * 201 + b"\r\n",
}


@pytest.mark.parametrize("case", BROKEN)
async def test_what_has_not_one_meaning_is_no_answer(case: str) -> None:
    for step in (len(BROKEN[case]), 1000, 7):
        line = Line()
        answer = line.ask()
        for at in range(0, len(BROKEN[case]), step):
            line.hear(BROKEN[case][at : at + step])
        line.hear_end()
        with pytest.raises(Invalid):
            await answer.begun()
            while await answer.read():
                pass
        assert line.aborted and not line.free


ENDLESS = {
    "a field": (b"HTTP/1.1 200 OK\r\nX: ", b"a" * 1000),
    "a phrase": (b"HTTP/1.1 200 ", b"a" * 1000),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 50),
    "an extension of a chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"a" * 1000),
    "a trailer": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ", b"a" * 1000),
}


@pytest.mark.parametrize("case", ENDLESS)
async def test_nothing_is_read_for_ever(case: str) -> None:
    begins, goes_on = ENDLESS[case]
    line = Line()
    answer = line.ask()
    line.hear(begins)
    for _ in range(MAX_HEAD // 1000 + 2):
        line.hear(goes_on)
    assert line.aborted
    with pytest.raises(Invalid):
        await answer.begun()
        await answer.read()


async def test_a_hundred_interim_answers_are_fine() -> None:
    line = Line()
    answer = line.ask()
    line.hear(b"HTTP/1.1 100 Continue\r\n\r\n" * 100 + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert answer.taken() == b"ok" and line.free == 1


ENDS = [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", b"HTTP/1.1 200 OK\r\nContent-Le"]
ENDS += [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", b"HTTP/1.1 100 C\r\n\r\n"]


@pytest.mark.parametrize("said", ENDS, ids=repr)
async def test_an_early_end_is_told_apart_where_nothing_was_said(said: bytes) -> None:
    line = Line()
    answer = line.ask()
    line.hear(said)
    line.hear_end()
    with pytest.raises(Invalid) as raised:
        await answer.begun()
        while await answer.read():
            pass
    assert isinstance(raised.value, Closed) == (not said)


async def test_an_answer_that_ends_with_the_connection_is_not_whole_after_a_reset() -> None:
    line = Line()
    answer = line.ask()
    line.hear(b"HTTP/1.1 200 OK\r\n\r\nhalf")
    line.break_off()
    assert await answer.read() == b"half"
    with pytest.raises(Invalid):
        await answer.read()


@pytest.mark.parametrize(
    ("fields", "again"),
    [(b"", False), (b"Connection: keep-alive\r\n", True), (b"Connection: keep-alive, close\r\n", True)],
)
async def test_http_1_0_goes_on_only_where_it_says_so(fields: bytes, again: bool) -> None:
    line = Line()
    answer = line.ask()
    line.hear(b"HTTP/1.0 200 OK\r\n%bContent-Length: 2\r\n\r\nok" % fields)
    assert answer.taken() == b"ok" and line.free == int(again)


async def test_answers_follow_each_other() -> None:
    line = Line()
    for body in (b"", b"one", b"x" * 5000, b"two"):
        for bare in (False, True):
            answer = line.ask(bare=bare)
            raw = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
            for piece in (raw,) if bare else (raw, body[:2], body[2:]):
                line.hear(piece)
            assert answer.whole and answer.length == len(body)
            assert answer.taken() == (b"" if bare else body)
    assert line.free == 8 and not line.aborted
