"""A chain, and Redis, beside the load; wallets with money on it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bench.cores import LOAD, pinned
from bench.money import Payer
from kit.accounts import new_account
from kit.redis_server import RedisServer

from gateway.devchain.accounts import DEV_ACCOUNTS
from gateway.devchain.anvil import Chain, start_chain
from gateway.devchain.batcher import place_batcher
from gateway.devchain.rpc import Rpc
from gateway.devchain.token import TOKEN_ADDRESS, place_token

GAS_LIMIT = 400_000_000
"""Of a block: about Base's."""
FUNDS = 10**12
"""Atomic units every payer gets."""
_MINT = "0x40c10f19"


@contextmanager
def chain(block_time: int | None = None, payers: Sequence[Payer] = ()) -> Iterator[Chain]:
    """Instant blocks, or one every ``block_time`` seconds; the payers hold a million test dollars each."""
    with pinned(LOAD):
        started = start_chain(block_time=block_time, extra=("--gas-limit", str(GAS_LIMIT)))
    try:
        place_token(started.rpc)
        place_batcher(started.rpc)
        _fund(started.rpc, payers)
        yield started
    finally:
        started.stop()


def settlement_key(anvil: Chain) -> str:
    """A new key with gas."""
    account = new_account()
    anvil.rpc.call("anvil_setBalance", account.address, hex(10**22))
    return account.key


@dataclass(frozen=True)
class Redis:
    """A durable Redis over TCP."""

    server: RedisServer

    @property
    def url(self) -> str:
        """What ``store.url`` takes."""
        return self.server.url

    @property
    def pid(self) -> int:
        """Its process."""
        return self._told("server", b"process_id")

    def used(self) -> int:
        """Bytes of memory its data takes."""
        return self._told("memory", b"used_memory_dataset")

    def _told(self, section: str, name: bytes) -> int:
        found = re.search(rb"\r\n%s:(\d+)" % name, self.server.command("INFO", section))
        assert found is not None
        return int(found[1])


@contextmanager
def redis() -> Iterator[Redis]:
    """One that runs beside the load."""
    with pinned(LOAD), RedisServer(tcp=True) as server:
        yield Redis(server)


def _fund(rpc: Rpc, payers: Iterable[Payer]) -> None:
    faucet = DEV_ACCOUNTS[-1].address
    for payer in payers:
        data = f"{_MINT}{payer.address[2:]:0>64}{FUNDS:064x}"
        call = {"from": faucet, "to": TOKEN_ADDRESS, "data": data, "gas": hex(200_000)}
        rpc.call("eth_sendTransaction", call)
    rpc.call("evm_mine")
