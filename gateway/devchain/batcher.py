"""What stands at Multicall3's address on a local chain: a contract of our own that does the same."""

from __future__ import annotations

import json
from importlib.resources import files

from facilitator.multicall import ADDRESS
from gateway.devchain.rpc import Rpc


def place_batcher(rpc: Rpc) -> None:
    """Puts its code there: payments that are due together can then be settled in one transaction."""
    artefact = json.loads(files(__package__).joinpath("test_batcher.json").read_bytes())
    rpc.call("anvil_setCode", ADDRESS, artefact["deployedBytecode"])
