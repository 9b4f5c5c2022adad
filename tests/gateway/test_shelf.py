"""The same request a moment later: the same 402, under an id of its own."""

from __future__ import annotations

import pytest

from gateway.observe import Metrics
from gateway.render import Entry, Renderer
from gateway.shelf import FRESH, LONGEST, MOST, Shelf
from policies.route import Route, parse_pattern

ASKED = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"


class Clock:
    now = 100.0
    selling = True

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("1")


@pytest.fixture
def shelf(clock: Clock, metrics: Metrics) -> Shelf:
    return Shelf(Renderer("*", metrics), lambda: clock.selling, clock)


@pytest.fixture
def about() -> Entry:
    entry = Entry("GET")
    entry.path, entry.route, entry.reason = "/a", Route("a", parse_pattern("/a"), "up"), "payment_required"
    return entry


def answer(about: Entry) -> bytes:
    return b"id: %b, and again %b." % ((about.request_id.encode(),) * 2)


async def test_the_same_bytes_get_the_same_under_another_id(
    shelf: Shelf, about: Entry, metrics: Metrics
) -> None:
    shelf.put(ASKED, answer(about), about)
    one, two = shelf.again(ASKED), shelf.again(ASKED)
    assert one is not None and two is not None and len({one, two, answer(about)}) == 3
    assert len(one) == len(answer(about)) and one.startswith(b"id: ") and b", and again " in one
    page = metrics.exposition().decode()
    assert 'tollway_requests_total{method="GET",route="a",status="402"} 2.0' in page
    assert 'tollway_challenges_total{route="a"} 2.0' in page


async def test_every_one_of_them_has_its_line(
    shelf: Shelf, about: Entry, capfd: pytest.CaptureFixture[str]
) -> None:
    from gateway.observe import flush

    shelf.put(ASKED, answer(about), about)
    shelf.again(ASKED)
    flush()
    line = capfd.readouterr().out
    assert '"path":"/a"' in line and '"status":402' in line and about.request_id not in line


async def test_only_for_a_moment(shelf: Shelf, about: Entry, clock: Clock) -> None:
    shelf.put(ASKED, answer(about), about)
    clock.now += FRESH
    assert shelf.again(ASKED) is not None
    clock.now += 0.001
    assert shelf.again(ASKED) is None


async def test_not_while_nothing_is_sold(shelf: Shelf, about: Entry, clock: Clock) -> None:
    shelf.put(ASKED, answer(about), about)
    clock.selling = False
    assert shelf.again(ASKED) is None


async def test_one_byte_less_is_another_request(shelf: Shelf, about: Entry) -> None:
    shelf.put(ASKED, answer(about), about)
    assert shelf.again(ASKED[:-1]) is None and shelf.again(ASKED + ASKED) is None


async def test_it_holds_little(shelf: Shelf, about: Entry) -> None:
    shelf.put(b"x" * (LONGEST + 1), answer(about), about)
    assert shelf.again(b"x" * (LONGEST + 1)) is None
    for number in range(MOST + 1):
        shelf.put(str(number).encode(), answer(about), about)
    assert sum(shelf.again(str(number).encode()) is not None for number in range(MOST + 1)) <= MOST


async def test_after_a_reload_nothing_is_left(shelf: Shelf, about: Entry) -> None:
    shelf.put(ASKED, answer(about), about)
    shelf.clear()
    assert shelf.again(ASKED) is None
