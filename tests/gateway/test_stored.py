"""A stored answer is the answer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.forward import Fetched
from gateway.stored import pack, unpack

fields = st.lists(st.tuples(st.binary(max_size=5), st.binary(max_size=8)), max_size=4).map(tuple)


@given(st.integers(200, 599), fields, st.binary(max_size=64), st.none() | st.integers(0, 10**9))
def test_unpack_gives_back_what_was_packed(status: int, head: tuple, body: bytes, length: int | None) -> None:
    fetched = Fetched(status, head, body, length)
    assert unpack(pack(fetched)) == fetched
