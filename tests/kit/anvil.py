"""A real chain for tests."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from gateway.devchain.accounts import DEV_ACCOUNTS
from gateway.devchain.anvil import BASE_SEPOLIA, Chain, start_chain
from gateway.devchain.batcher import place_batcher
from gateway.devchain.token import TOKEN_ADDRESS, balance, mint, place_token


class Anvil:
    """anvil as a context manager; ``extra`` are further arguments of its command line."""

    accounts = DEV_ACCOUNTS
    token = TOKEN_ADDRESS

    def __init__(
        self, chain_id: int = BASE_SEPOLIA, block_time: int | None = None, extra: Sequence[str] = ()
    ) -> None:
        self.chain_id = chain_id
        self._block_time = block_time
        self._extra = tuple(extra)
        self._running: Chain | None = None

    def start(self) -> Self:
        """Starts the chain and waits until it answers."""
        self._running = start_chain(self.chain_id, block_time=self._block_time, extra=self._extra)
        return self

    def stop(self) -> None:
        """Ends the chain, paused or not."""
        if self._running is not None:
            self.resume()
            self._running.stop()
            self._running = None

    @property
    def url(self) -> str:
        """The JSON-RPC endpoint."""
        return self._chain.url

    def rpc(self, method: str, *params: Any) -> Any:
        """The result of one JSON-RPC call."""
        return self._chain.rpc.call(method, *params)

    def place_token(self, address: str = TOKEN_ADDRESS) -> None:
        """Puts the test token's code at ``address``."""
        place_token(self._chain.rpc, address)

    def place_batcher(self) -> None:
        """Puts code that does what Multicall3 does at its address."""
        place_batcher(self._chain.rpc)

    def mint(self, address: str, amount: int, token: str = TOKEN_ADDRESS) -> None:
        """Gives ``address`` that many atomic units."""
        mint(self._chain.rpc, address, amount, token)

    def balance(self, address: str, token: str = TOKEN_ADDRESS) -> int:
        """The token balance in atomic units."""
        return balance(self._chain.rpc, address, token)

    def mine(self, blocks: int = 1) -> None:
        """Makes that many blocks at once."""
        self.rpc("anvil_mine", hex(blocks))

    def now(self) -> int:
        """The timestamp of the latest block."""
        return int(self.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16)

    def snapshot(self) -> str:
        """Remembers the state of the chain; the answer goes to ``revert``."""
        taken: str = self.rpc("evm_snapshot")
        return taken

    def revert(self, snapshot: str) -> None:
        """Takes the chain back to ``snapshot``, which is used up by it: also how to make a reorg."""
        if not self.rpc("evm_revert", snapshot):
            raise ValueError(f"no such snapshot: {snapshot}")

    def kill(self) -> None:
        """SIGKILL: from now on connections are refused."""
        self._chain.process.kill()
        self._chain.process.wait()

    def pause(self) -> None:
        """SIGSTOP: connections are accepted and never answered."""
        self._chain.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._chain.process.send_signal(signal.SIGCONT)

    @property
    def _chain(self) -> Chain:
        if self._running is None:
            raise RuntimeError("the chain is not running")
        return self._running

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
