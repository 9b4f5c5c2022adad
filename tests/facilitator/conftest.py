"""A payer, our terms, a journal in memory, and a real chain."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
from coincurve import PrivateKey
from kit.anvil import Anvil
from kit.faultproxy import FaultProxy

from facilitator.base import Due, Outgoing
from facilitator.chain import Chain
from facilitator.challenge import requirement_v2
from facilitator.endpoint import Endpoint
from facilitator.exact_evm import address_of, digest
from facilitator.http1.client import Client
from facilitator.local import LocalFacilitator
from facilitator.packing import Batches
from facilitator.remote import RemoteFacilitator
from facilitator.token_abi import transfer_with_authorization
from facilitator.wire import Authorization, PaymentPayload, PaymentRequirements

OPERATOR = Anvil.accounts[0]
SENDER = f"eip155:84532:{OPERATOR.address.lower()}"
ALONE = Batches(max_size=1)
NOWHERE = "http://127.0.0.1:1"
RESOURCE = "https://shop.example/"
PAY_TO = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C"


@dataclass
class Payer:
    """A wallet with a key of its own."""

    secret: bytes = field(default_factory=lambda: os.urandom(32))

    @property
    def address(self) -> str:
        return address_of(PrivateKey(self.secret).public_key)

    def authorize(self, terms: PaymentRequirements, **changes: Any) -> Authorization:
        now = int(time.time())
        plain = Authorization(
            self.address, terms.pay_to.lower(), terms.amount, 0, now + terms.max_timeout, os.urandom(32)
        )
        return replace(plain, **changes)

    def sign(self, message: bytes) -> bytes:
        signature = PrivateKey(self.secret).sign_recoverable(message, hasher=None)
        return signature[:64] + bytes([27 + signature[64]])

    def pay(self, terms: PaymentRequirements, *, version: int = 2, **changes: Any) -> PaymentPayload:
        authorization = self.authorize(terms, **changes)
        signature = self.sign(digest(authorization, terms))
        if version == 1:
            return PaymentPayload(1, terms.scheme, terms.v1_network or "", authorization, signature)
        return PaymentPayload(
            2, terms.scheme, terms.network, authorization, signature, requirement_v2(terms), None
        )


class MemoryJournal:
    """A journal whose records are never lost; ``sender`` says whether this process may send."""

    def __init__(self) -> None:
        self.recorded: list[Outgoing] = []
        self.closed: set[str] = set()
        self.touched: set[str] = set()
        """Payments for which a record was tried."""
        self.read = 0
        self.leader = True
        self.delay = 0.0

    async def record(self, transaction: Outgoing) -> bool:
        self.touched.update(transaction.payment_ids)
        await asyncio.sleep(self.delay)
        if self.leader:
            self.recorded.append(replace(transaction, open=True))
            if not transaction.open:
                self.closed.add(transaction.hash)
        return self.leader

    async def close(self, transaction: Outgoing) -> None:
        self.closed.add(transaction.hash)

    async def open(self, sender: str) -> list[Outgoing]:
        found = [each for each in self.recorded if each.sender == sender and each.hash not in self.closed]
        return sorted(found, key=lambda each: each.nonce)

    async def of(self, payment_id: str) -> list[Outgoing]:
        self.read += 1
        return [each for each in self.recorded if payment_id in each.payment_ids]

    async def known(self, payment_ids: Sequence[str]) -> frozenset[str]:
        return frozenset(payment_ids) & {known for each in self.recorded for known in each.payment_ids}

    def untouched(self, payment_id: str) -> bool:
        return payment_id not in self.touched


@pytest.fixture
def terms() -> PaymentRequirements:
    """One cent of the test dollar."""
    return PaymentRequirements(
        scheme="exact",
        network="eip155:84532",
        chain_id=84532,
        v1_network="base-sepolia",
        asset=Anvil.token,
        amount=10_000,
        pay_to=PAY_TO,
        max_timeout=300,
        name="USDC",
        version="2",
    )


@pytest.fixture
def payer() -> Payer:
    return Payer()


@pytest.fixture
def new_payer() -> type[Payer]:
    return Payer


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal()


@pytest.fixture
def anvil() -> Iterator[Anvil]:
    """A chain that mines every transaction at once, with the token in place."""
    with Anvil() as chain:
        chain.place_token()
        yield chain


class Rig:
    """Facilitators on one chain; ``due`` makes what is settled, ``call`` sends as somebody else."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.made: list[LocalFacilitator] = []
        self.told: list[bool] = []
        """Whether chains were said to settle payments together."""
        self.timeout = 5.0

    def facilitator(
        self,
        *urls: str,
        keys: list[str] | None = None,
        clock: Callable[[], float] = time.time,
        batches: Batches = ALONE,
        **changes: Any,
    ) -> LocalFacilitator:
        chain = Chain(84532, "eip155:84532", urls, 1, 64, 10.0, 50)
        made = LocalFacilitator(
            [replace(chain, **changes)],
            keys or [OPERATOR.key],
            self._client,
            clock,
            batches=batches,
            told=lambda network, together: self.told.append(together),
        )
        for endpoint in made.client("eip155:84532").rpc._endpoints:
            endpoint._timeout = self.timeout
        self.made.append(made)
        return made

    def due(self, payload: PaymentPayload, terms: PaymentRequirements, **changes: Any) -> Due:
        payment_id = f"pay_{payload.authorization.nonce.hex()}"
        plain = Due(payment_id, payload, terms, int(time.time() * 1000), SENDER)
        return replace(plain, **changes)

    def count(self, anvil: Anvil, tag: str = "latest") -> int:
        return int(anvil.rpc("eth_getTransactionCount", OPERATOR.address, tag), 16)

    def transfers(self, anvil: Anvil, terms: PaymentRequirements) -> int:
        return anvil.balance(terms.pay_to) // terms.amount

    def send_transfer(self, anvil: Anvil, payload: PaymentPayload) -> str:
        """Somebody else sends the authorization, at a price that goes first; it is not waited for."""
        data = transfer_with_authorization(payload.authorization, payload.signature)
        call = {"from": Anvil.accounts[6].address, "to": Anvil.token, "data": data, "gas": hex(200_000)}
        fees = {"maxFeePerGas": hex(100 * 10**9), "maxPriorityFeePerGas": hex(90 * 10**9)}
        sent: str = anvil.rpc("eth_sendTransaction", call | fees)
        return sent

    async def until(self, condition: Callable[[], bool], within: float = 5.0) -> None:
        deadline = time.monotonic() + within
        while not condition():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    client = Client()
    made = Rig(client)
    yield made
    for each in made.made:
        await each.close()
    client.close()


@pytest.fixture
async def remotely() -> AsyncIterator[Callable[..., Any]]:
    """Makes facilitators that are elsewhere: ``remotely(url, ..., rpc=[...])``, in order of preference."""
    client, made = Client(), []

    def make(*urls: str, rpc: Sequence[str] = (NOWHERE,), kind: Any = RemoteFacilitator, **more: Any) -> Any:
        ours = {"confirmations": 1, "finality": 64, "settle_within": 10.0}
        ours |= {key: more.pop(key) for key in list(more) if key in ours}
        chain = Chain(84532, "eip155:84532", tuple(rpc), **ours, max_fee_gwei=50)
        wiring = {"worth": lambda terms: terms.amount, "verify_on_chain_over": 0, "resource": RESOURCE}
        made.append(kind([Endpoint(url) for url in urls], client, [chain], **(wiring | more)))
        return made[-1]

    yield make
    for each in made:
        await each.close()
    client.close()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who settles for us is watched, and asked again, soon."""
    monkeypatch.setattr("facilitator.pinned._WATCH", 0.1)
    monkeypatch.setattr("facilitator.pinned._PAUSES", (0.05, 0.1))
    monkeypatch.setattr("facilitator.pinned._LOOKS", (0.02, 0.05))


@pytest.fixture
def proxies(anvil: Anvil) -> Iterator[Callable[[int], list[FaultProxy]]]:
    """Endpoints of the one chain, as many as asked for."""
    with ExitStack() as stack:
        yield lambda number: [stack.enter_context(FaultProxy(anvil.url)) for _ in range(number)]


@pytest.fixture
def proxy(proxies: Callable[[int], list[FaultProxy]]) -> FaultProxy:
    """An endpoint that can be made to fail."""
    return proxies(1)[0]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is under way is looked after every tenth of a second, and not long put up with."""
    monkeypatch.setattr("facilitator.lane.TEND", 0.1)
    monkeypatch.setattr("facilitator.settling.TEND", 0.1)
    monkeypatch.setattr("facilitator.shipment.TEND", 0.1)
    monkeypatch.setattr("facilitator.lane.STUCK", 0.2)


@pytest.fixture
def token_calls(anvil: Anvil) -> SimpleNamespace:
    """What others do with the token: each sends a transaction from the named account."""
    from web3 import Web3

    from gateway.devchain.token import artefact

    contract = Web3().eth.contract(address=Web3.to_checksum_address(Anvil.token), abi=artefact()["abi"])

    def send(name: str, *arguments: Any, by: str = Anvil.accounts[5].address) -> dict[str, Any]:
        data = contract.encode_abi(name, list(arguments))
        sent = anvil.rpc(
            "eth_sendTransaction", {"from": by, "to": Anvil.token, "data": data, "gas": hex(200_000)}
        )
        for _ in range(200):
            found: dict[str, Any] | None = anvil.rpc("eth_getTransactionReceipt", sent)
            if found is not None:
                return found
            time.sleep(0.01)
        raise AssertionError(f"{name} is not mined")

    def transfer(payload: PaymentPayload, by: str = Anvil.accounts[5].address) -> str:
        one = payload.authorization
        name = "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes)"
        done = send(
            name,
            Web3.to_checksum_address(one.sender),
            Web3.to_checksum_address(one.to),
            one.value,
            one.valid_after,
            one.valid_before,
            one.nonce,
            payload.signature,
            by=by,
        )
        assert done["status"] == "0x1"
        sent: str = done["transactionHash"]
        return sent

    return SimpleNamespace(send=send, transfer=transfer)
