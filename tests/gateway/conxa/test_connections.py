"""Connection ids: unguessable, telling by themselves what they are, and nothing to anybody else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.conxa.connections import Mint, is_id

MINT = Mint("pk_test_acme_x")
NOW = 1_800_000_000


@given(
    lifetime=st.integers(10, 86400),
    size=st.integers(50, 2000),
    limit=st.none() | st.floats(0, 1e15, allow_nan=False),
)
def test_an_id_says_what_was_asked_for(lifetime: int, size: int, limit: float | None) -> None:
    made = MINT.make(NOW, lifetime=lifetime, size=size, limit=limit)
    read = Mint("pk_test_acme_x").read(made.id)
    assert read == made and is_id(made.id)
    assert (made.created_at, made.expires_at) == (NOW, NOW + lifetime)


def test_no_other_id_is_good() -> None:
    made = MINT.make(NOW, lifetime=900, size=300, limit=None)
    for at in range(3, len(made.id)):
        other = "A" if made.id[at] != "A" else "B"
        assert MINT.read(made.id[:at] + other + made.id[at + 1 :]) is None
    assert MINT.read(made.id + "A") is None and MINT.read(made.id[:-1]) is None
    assert Mint("pk_test_acme_y").read(made.id) is None


@given(st.text(max_size=120))
def test_garbage_is_none(text: str) -> None:
    assert MINT.read(text) is None and MINT.read("cx_" + text) is None


def test_each_has_a_username_of_its_own_that_does_not_tell_the_id() -> None:
    made = [MINT.make(NOW, lifetime=900, size=300, limit=None) for _ in range(100)]
    assert len({each.username for each in made}) == 100
    assert all(each.username.startswith("tollway-") and each.username[8:] not in each.id for each in made)
