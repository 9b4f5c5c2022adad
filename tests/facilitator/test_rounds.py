"""Many ask at once, one request leaves: an endpoint that answers, one that chokes, one that is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from facilitator.rounds import MOST_SHARED, Call, Rounds

HEAD: Call = ("eth_getBlockByNumber", ("latest", False))


class Down(Exception):
    """Nothing was heard."""


class Choked(Down):
    """It answered, but not what was asked."""


class Endpoint:
    """``sent`` is every request; an answer is the call's last parameter, or for a block how many came."""

    def __init__(self, judge: Callable[[Sequence[Call]], None] = lambda calls: None) -> None:
        self.judge = judge
        self.sent: list[list[Call]] = []
        self.called = asyncio.Event()
        self.rounds = Rounds(self.post, Down, Choked)

    async def post(self, calls: Sequence[Call]) -> list[Any]:
        self.sent.append(list(calls))
        self.called.set()
        await asyncio.sleep(0)
        self.judge(calls)
        return [f"block {len(self.sent)}" if call == HEAD else call[1][-1] for call in calls]

    async def ask_all(self, *asked: Sequence[Call]) -> list[Any]:
        return await asyncio.gather(*map(self.rounds.ask, asked), return_exceptions=True)


def reads(*names: str) -> list[Call]:
    return [("eth_call", ({"to": "token"}, name)) for name in names]


async def test_what_is_asked_in_one_turn_leaves_together() -> None:
    node = Endpoint()
    assert await node.ask_all(reads("a", "b"), reads("c"), reads("d", "e")) == [["a", "b"], ["c"], ["d", "e"]]
    assert len(node.sent) == 1


async def test_nobody_waits_for_an_answer_under_way() -> None:
    node = Endpoint()
    first = asyncio.create_task(node.rounds.ask(reads("a")))
    await node.called.wait()
    second = asyncio.create_task(node.rounds.ask(reads("b")))
    assert [await first, await second] == [["a"], ["b"]]
    assert node.sent == [reads("a"), reads("b")]


async def test_the_block_is_asked_for_once_and_before_what_it_is_about() -> None:
    node = Endpoint()
    asked = [[HEAD, *reads("a")], [HEAD, *reads("b")], [*reads("c"), HEAD]]
    assert await node.ask_all(*asked) == [["block 1", "a"], ["block 1", "b"], ["c", "block 1"]]
    assert node.sent == [[HEAD, *reads("a", "b", "c")]]


async def test_any_other_call_is_made_for_each_who_asks() -> None:
    """A receipt looked at before a count, that was to be looked at after it, would prove nothing."""
    node = Endpoint()
    receipt: Call = ("eth_getTransactionReceipt", ("0x1",))
    await node.ask_all([receipt], [("eth_getTransactionCount", ("0x2",)), receipt])
    assert [method for method, _ in node.sent[0]].count("eth_getTransactionReceipt") == 2


async def test_one_request_is_bounded() -> None:
    node = Endpoint()
    asked = [reads(*(f"{payment}.{call}" for call in range(3))) for payment in range(30)]
    assert await node.ask_all(*asked) == [[call[1][-1] for call in calls] for calls in asked]
    assert max(map(len, node.sent)) <= MOST_SHARED
    assert len(node.sent) == 3


async def test_one_call_that_chokes_it_does_not_harm_the_others() -> None:
    def judge(calls: Sequence[Call]) -> None:
        if any(call[1][-1] == "poison" for call in calls):
            raise Choked

    node = Endpoint(judge)
    good, bad, fine = await node.ask_all(reads("a"), reads("poison"), reads("b"))
    assert (good, fine) == (["a"], ["b"])
    assert isinstance(bad, Choked)


async def test_an_endpoint_that_takes_few_calls_is_soon_asked_for_few() -> None:
    def judge(calls: Sequence[Call]) -> None:
        if len(calls) > 5:
            raise Choked

    node = Endpoint(judge)
    for _ in range(6):
        assert await node.ask_all(*[reads("a", "b", "c")] * 8) == [["a", "b", "c"]] * 8
    before = len(node.sent)
    await node.ask_all(*[reads("a", "b", "c")] * 8)
    assert [len(sent) for sent in node.sent[before:]] == [3] * 8


async def test_one_that_is_down_is_not_asked_again_for_each() -> None:
    def judge(calls: Sequence[Call]) -> None:
        raise Down

    node = Endpoint(judge)
    assert [type(each) for each in await node.ask_all(reads("a"), reads("b"))] == [Down, Down]
    assert len(node.sent) == 1


async def test_who_leaves_takes_nothing_from_the_others() -> None:
    node = Endpoint()
    leaving = asyncio.create_task(node.rounds.ask(reads("a")))
    staying = asyncio.create_task(node.rounds.ask(reads("b")))
    await node.called.wait()
    leaving.cancel()
    assert await staying == ["b"]
    with pytest.raises(asyncio.CancelledError):
        await leaving
