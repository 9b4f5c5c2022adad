"""A chain that answers nonsense: neither yes nor no, and never an unhandled exception."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facilitator import testimony
from facilitator.base import Outgoing, VerificationUnavailable
from facilitator.chain import Chain, ChainClient, Snapshot
from facilitator.evidence import find_paid, judge_used
from facilitator.fuel import Fuel
from facilitator.rpc import RpcError
from facilitator.testimony import Case
from facilitator.token_facts import token_facts
from facilitator.wire import PaymentRequirements

words = st.sampled_from(
    ["0x", "0x0", "0x1", "0x" + "00" * 32, "0x" + "zz" * 32, "0x" + "ff" * 32, "0x" + "00" * 96]
)
keys = st.sampled_from(
    [
        "timestamp",
        "number",
        "status",
        "logs",
        "topics",
        "address",
        "data",
        "transactionHash",
        "blockHash",
        "blockNumber",
        "hash",
        "from",
    ]
)
errors = st.builds(RpcError, st.sampled_from([3, -32000]), st.text(max_size=5), st.none() | words)
nonsense = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | words | st.just(hex(int(time.time()))) | errors,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=6),
    max_leaves=10,
)


class Nonsense:
    """Answers every call with the next value that hypothesis draws."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data

    async def batch(
        self, calls: Sequence[Any], check: Callable[[list[Any]], None] | None = None
    ) -> list[Any]:
        answers = [self._data.draw(nonsense) for _ in calls]
        if check is not None:
            check(answers)
        return answers

    async def call(self, method: str, *params: Any) -> Any:
        return self._data.draw(nonsense)


@settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.function_scoped_fixture,
        HealthCheck.data_too_large,
    ],
)
@given(st.data())
async def test_nonsense(payer: Any, terms: PaymentRequirements, data: st.DataObject) -> None:
    chain = Chain(84532, "eip155:84532", (), 1, 64, 10.0, 50)
    client = ChainClient(chain, Nonsense(data), time.time)  # type: ignore[arg-type]
    payload = payer.pay(terms)
    due: Any = SimpleNamespace(exact=payload, requirements=terms, claimed_at=0)
    with contextlib.suppress(VerificationUnavailable):
        seen = await client.snapshot(payload, terms, payer.address, estimate=True)
        assert isinstance(seen, Snapshot)
    with contextlib.suppress(VerificationUnavailable):
        assert await judge_used(client, due, [], []) is not None
    sent = Outgoing("eip155:84532:" + payer.address, 0, "0x1", b"", ("pay",))
    with contextlib.suppress(VerificationUnavailable):
        assert await testimony.testify(client, Case(due, [sent], [payer.address])) is not None
    with contextlib.suppress(VerificationUnavailable):
        await find_paid(client, terms.asset, payload.authorization)
    with contextlib.suppress(VerificationUnavailable):
        await client.counts(payer.address)
    assert await Fuel(client, [sent.sender]).look() is not None
    with contextlib.suppress(VerificationUnavailable):
        await token_facts(client.rpc, terms.asset)
