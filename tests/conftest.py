"""The surroundings of every test: a chain, wallets, an upstream, gateways.

``kit`` is imported from this folder, which comes last on the path: folders in it are named like the packages.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).resolve().parent))

from kit.accounts import new_account as random_account
from kit.anvil import Anvil
from kit.command import warm
from kit.gateway import Gateway
from kit.upstream import Upstream
from kit.warm import Template

from gateway.devchain.accounts import DevAccount

FundedAccount = Callable[..., DevAccount]
StartGateway = Callable[..., Gateway]


@pytest.fixture(scope="session", autouse=True)
def forked() -> Iterator[None]:
    """Gateways start by fork where that can be: hundreds of them, a second of imports each."""
    if sys.platform != "linux":
        yield
        return
    with Template() as template, warm(template):
        yield


@pytest.fixture(scope="module")
def executed() -> Iterator[None]:
    """From here to the end of the module gateways start as users start them."""
    with warm(None):
        yield


@pytest.fixture(scope="session")
def anvil() -> Iterator[Anvil]:
    """A chain with the token: a block per transaction, and one a second so that its clock goes on."""
    with Anvil(block_time=1, extra=("--mixed-mining",)) as chain:
        chain.place_token()
        chain.place_batcher()
        yield chain


@pytest.fixture
def new_account() -> Callable[[], DevAccount]:
    """Makes wallets nobody has seen before, with nothing in them."""
    return random_account


@pytest.fixture
def funded_account(anvil: Anvil) -> FundedAccount:
    """Makes wallets with that many atomic units (default 10 dollars), and ether where asked for."""

    def make(amount: int = 10_000_000, ether: int = 0) -> DevAccount:
        account = random_account()
        anvil.mint(account.address, amount)
        if ether:
            anvil.rpc("anvil_setBalance", account.address, hex(ether * 10**18))
        return account

    return make


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A recording API."""
    with Upstream() as api:
        yield api


@pytest.fixture
def start_gateway(tmp_path: Path) -> Iterator[StartGateway]:
    """Starts gateways that end with the test."""
    with ExitStack() as running:
        count = 0

        def start(config: str | Mapping[str, Any], env: Mapping[str, str] | None = None) -> Gateway:
            nonlocal count
            count += 1
            folder = tmp_path / f"gateway-{count}"
            folder.mkdir()
            return running.enter_context(Gateway(config, env, folder))

        yield start
