"""How fast payments that are due are settled, and for how much gas, on a chain with 2 s blocks.

    python -m kit.settlements [--payments 5000] [--store embedded|redis] [--keys 1] [MODE ...]

A store is filled with signed ``deferred`` payments; then the settling part of a gateway runs in this process.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop
from coincurve import PrivateKey

from facilitator.chain import Chain
from facilitator.challenge import requirement_v2
from facilitator.exact_evm import address_of, digest
from facilitator.http1.client import Client
from facilitator.local import LocalFacilitator
from facilitator.packing import Batches
from facilitator.wire import Authorization, PaymentPayload, PaymentRequirements
from gateway.leases import Leases
from gateway.observe import Metrics, configure_logs
from gateway.payment import Claim, Moment, State
from gateway.presence import Presence
from gateway.rails.x402 import X402Rail
from gateway.settlement import Settler
from gateway.store import Store
from gateway.store.connect import open_store
from kit.accounts import new_account
from kit.anvil import Anvil
from kit.redis_server import RedisServer
from kit.stores import claimed, step

BLOCK_TIME = 2
BLOCK_GAS = 400_000_000
PAYERS = 200
ROUTE = "GET /deferred"
MODES = ("one", "pipelined", "batched")


@dataclass(frozen=True)
class Measured:
    """What one run showed."""

    mode: str
    payments: int
    per_second: float
    gas: float
    """Units for each payment."""
    transactions: int
    cpu: float
    """Microseconds of this process for each payment."""
    memory: float
    """MiB at the most."""

    def __str__(self) -> str:
        return (
            f"{self.mode:10} {self.payments:6} payments  {self.per_second:8.2f}/s  {self.gas:8.0f} gas each"
            f"  {self.transactions:5} transactions  {self.cpu:6.0f} us CPU each  {self.memory:4.0f} MiB"
        )


class _OneByOne(X402Rail):
    """Waits for each receipt before the next payment."""

    def at_once(self, queue: str) -> int:
        """No two."""
        return 1


def measure(mode: str, payments: int, store: str = "embedded", keys: int = 1) -> Measured:
    """One run on a chain and a store of its own."""
    with ExitStack() as running:
        anvil = running.enter_context(Anvil(block_time=BLOCK_TIME, extra=["--gas-limit", str(BLOCK_GAS)]))
        anvil.place_token()
        anvil.place_batcher()
        url = running.enter_context(RedisServer()).url if store == "redis" else "embedded"
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        running.enter_context(_quietly())
        return uvloop.run(_measure(mode, payments, anvil, url, folder, keys))


async def _measure(mode: str, payments: int, anvil: Anvil, url: str, folder: Path, keys: int) -> Measured:
    settlers = [new_account() for _ in range(keys)]
    for each in settlers:
        anvil.rpc("anvil_setBalance", each.address, hex(10**21))
    terms = _terms(anvil)
    client = Client()
    chain = Chain(anvil.chain_id, terms.network, (anvil.url,), 1, 64, 30.0, 50)
    facilitator = LocalFacilitator(
        [chain],
        [each.key for each in settlers],
        client,
        batches=Batches(max_size=100 if mode == "batched" else 1),
    )
    rail = (_OneByOne if mode == "one" else X402Rail)(
        lambda money, own: [terms],
        facilitator,
        versions=frozenset({2}),
        settle_within={terms.network: 30.0},
        worth=lambda asked: asked.amount,
    )
    kept = open_store(url, folder, 3600.0, 2**20, 2**29)
    await kept.open()
    try:
        filled = await _fill(kept, rail, terms, anvil, payments)
        return await _run(mode, kept, rail, anvil, filled)
    finally:
        await facilitator.close()
        client.close()
        await kept.close()


async def _run(mode: str, store: Store, rail: X402Rail, anvil: Anvil, waiting: list[str]) -> Measured:
    payments = len(waiting)
    presence = Presence(store, "here:1", os.urandom(4).hex(), 0)
    leases = Leases(store)
    background = [asyncio.create_task(leases.run()), asyncio.create_task(presence.run(_nothing))]
    settler = Settler(
        store,
        leases,
        [rail],
        presence=presence,
        replay_window=3600.0,
        exclusive=True,
        metrics=Metrics("measured"),
    )
    first = int(anvil.rpc("eth_blockNumber"), 16)
    began, cpu = time.monotonic(), time.process_time()
    settler.start()
    while waiting:
        await asyncio.sleep(0.02)
        states = await store.states(waiting[:100])
        waiting = [each for each in waiting[:100] if states[each] is not State.SETTLED] + waiting[100:]
        if time.monotonic() - began > 60 + payments * 2.5:
            raise TimeoutError(f"{len(waiting)} of {payments} are not settled")
    took, cpu = time.monotonic() - began, time.process_time() - cpu
    await settler.stop(1.0)
    for task in background:
        task.cancel()
    gas, transactions = _gas(anvil, first)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Measured(mode, payments, payments / took, gas / payments, transactions, cpu / payments * 1e6, peak)


async def _fill(
    store: Store, rail: X402Rail, terms: PaymentRequirements, anvil: Anvil, payments: int
) -> list[str]:
    """The ids of what is due now, in its order."""
    anvil.rpc("evm_setAutomine", True)
    secrets = [os.urandom(32) for _ in range(min(PAYERS, payments))]
    for secret in secrets:
        anvil.mint(address_of(PrivateKey(secret).public_key), 10**12)
    anvil.rpc("evm_setAutomine", False)
    anvil.rpc("evm_setIntervalMining", BLOCK_TIME)
    filled: list[str] = []
    for start in range(0, payments, 100):
        numbers = range(start, min(start + 100, payments))
        serving = [_serve(store, rail, terms, secrets[number % len(secrets)]) for number in numbers]
        filled += await asyncio.gather(*serving)
    return filled


async def _serve(store: Store, rail: X402Rail, terms: PaymentRequirements, secret: bytes) -> str:
    """A payment whose answer was passed on already."""
    key = PrivateKey(secret)
    authorization = Authorization(
        address_of(key.public_key),
        terms.pay_to.lower(),
        terms.amount,
        0,
        int(time.time()) + 3000,
        os.urandom(32),
    )
    signature = key.sign_recoverable(digest(authorization, terms), hasher=None)
    payload = PaymentPayload(
        2, terms.scheme, terms.network, authorization, signature, requirement_v2(terms), None
    )
    credential = rail.credential(payload, terms)
    claim = Claim(
        replay_key=credential.replay_key,
        digest=os.urandom(32).hex(),
        rail=rail.name,
        route=ROUTE,
        payer=credential.payer,
        amount=credential.amount,
        asset=credential.asset,
        network=credential.network,
        purse=credential.purse,
        queue=credential.queue,
        terms=credential.terms,
        expires_at=credential.expires_at,
        moment=Moment.DEFERRED,
        exposure=credential.worth,
    )
    mine = await claimed(store, claim)
    assert await store.advance(mine.lease, step(State.SERVED, queued=True))
    return claim.id


def _terms(anvil: Anvil) -> PaymentRequirements:
    return PaymentRequirements(
        scheme="exact",
        network=f"eip155:{anvil.chain_id}",
        chain_id=anvil.chain_id,
        v1_network="base-sepolia",
        asset=anvil.token,
        amount=10_000,
        pay_to=new_account().address,
        max_timeout=300,
        name="USDC",
        version="2",
    )


def _gas(anvil: Anvil, first: int) -> tuple[int, int]:
    """Used, and by how many transactions, in the blocks from ``first`` on."""
    gas = transactions = 0
    for number in range(first + 1, int(anvil.rpc("eth_blockNumber"), 16) + 1):
        block = anvil.rpc("eth_getBlockByNumber", hex(number), False)
        gas += int(block["gasUsed"], 16)
        transactions += len(block["transactions"])
    return gas, transactions


@contextmanager
def _quietly() -> Iterator[None]:
    """Log lines go nowhere, at the price they have."""
    configure_logs()
    out, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(out, 1)
        os.close(nowhere)
        os.close(out)


async def _nothing() -> None:
    """Nothing is to be told before a sign of life."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modes", nargs="*", default=MODES, metavar="one|pipelined|batched")
    parser.add_argument("--payments", type=int, default=5000)
    parser.add_argument("--store", choices=("embedded", "redis"), default="embedded")
    parser.add_argument("--keys", type=int, default=1)
    asked = parser.parse_args()
    for mode in asked.modes:
        count = min(asked.payments, 4) if mode == "one" else asked.payments
        sys.stdout.write(f"{measure(mode, count, asked.store, asked.keys)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
