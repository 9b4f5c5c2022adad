"""The x402 rail in ``remote`` mode: for each lane a facilitator that stays alive, and fails and lies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from crash.on_x402 import OnX402
from crash.rail import Kind, Rail
from crash.remote_faults import IS_DOWN, REMOTE_FAULTS
from crash.x402_faults import RPC_FAULTS
from kit.accounts import new_account
from kit.anvil import Anvil
from standins.facilitator import FacilitatorServer, honest

_BLIND = {f"is well, but the RPC {name}": name for name in ("refuses", "lags", "shows no receipts")}
"""What its word is checked against fails, too."""


class OnRemote(OnX402):
    """Payers sign, and somebody else settles; nothing is believed that the chain does not show."""

    name = "the facilitator"

    def __init__(self, anvil: Anvil) -> None:
        super().__init__(anvil)
        gas = new_account()
        anvil.rpc("anvil_setBalance", gas.address, hex(10**20))
        self._there = FacilitatorServer(anvil.url, gas.key).start()
        self._down = False

    def config(self, moments: Sequence[str]) -> dict[str, Any]:
        config = super().config(moments)
        said = {"timeout": "500ms", "verify_on_chain_over": "$0.001"}
        config["rails"]["x402"]["facilitator"] = {"mode": "remote", "url": self._there.url, **said}
        return config

    def fail(self, fault: str) -> None:
        if fault in _BLIND:
            super().fail(_BLIND[fault])
        elif fault == IS_DOWN:
            self._down = True
            self._there.down()
        else:
            path, behaviour = REMOTE_FAULTS[fault]
            self._there.on(path, behaviour)

    def mend(self) -> None:
        super().mend()
        for path in ("/verify", "/settle"):
            self._there.on(path, honest)
        if self._down:
            self._down = False
            self._there.up()

    def told(self) -> str:
        asked = {path: self._there.count(path) for path in ("/verify", "/settle")}
        sent = len(set(self._there.bodies("/settle")))
        return (
            f"the facilitator was asked {asked['/verify']} times for a verdict, {asked['/settle']} times to \
settle {sent} payments"
        )

    def close(self) -> None:
        super().close()
        self._there.stop()


@contextmanager
def _opened() -> Iterator[Callable[[], Rail]]:
    with Anvil(block_time=1) as anvil:
        anvil.place_token()
        yield lambda: OnRemote(anvil)


REMOTE = Kind((*REMOTE_FAULTS, IS_DOWN, *_BLIND), 0.4, _opened)
assert set(_BLIND.values()) <= RPC_FAULTS.keys()
