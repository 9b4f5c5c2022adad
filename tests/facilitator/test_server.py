"""What a facilitator answers others, in one process: shapes, refusals without a chain, keys, limits."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from kit.anvil import Anvil
from kit.facilitator import asking, requirement
from kit.payments import sign_payment
from x402.schemas import SettleResponse, SupportedResponse, VerifyResponse

from facilitator.asked import (
    INVALID_PAYLOAD,
    INVALID_VERSION,
    MISSING_DOMAIN,
    NETWORK_MISMATCH,
    UNKNOWN_ASSET,
    Reader,
    Served,
    Token,
)
from facilitator.base import (
    Accepted,
    InFlight,
    Purse,
    Refused,
    Settled,
    Settlement,
    Unknown,
    VerificationUnavailable,
)
from facilitator.server import Bounds, Service
from facilitator.wire import PaymentPayload, PaymentRequirements

PAYER = Anvil.accounts[1]
PAYEE = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C"
SENDER = "eip155:84532:0x" + "5e" * 20
HASH = "0x" + "ab" * 32
SERVED = Served("eip155:84532", 84532, "base-sepolia", {Anvil.token.lower(): Token(Anvil.token, "USDC", "2")})


class Chainless:
    """A facilitator without a chain, and settlements as told; ``asked`` counts what reached them."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.verdict: Accepted | Refused | Exception = Accepted()
        self.outcome: Settlement | Exception = Settled(HASH)
        self.spoken_for: Refused | None = None
        self.fueled = True
        self.slow = 0.0

    async def verify(
        self,
        payload: PaymentPayload,
        requirements: PaymentRequirements,
        purse: Purse,
        *,
        work_budget: int = 0,
    ) -> Accepted | Refused:
        self.asked.append("verify")
        await asyncio.sleep(self.slow)
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return self.verdict

    async def purse(self, payload: PaymentPayload, requirements: PaymentRequirements) -> Purse | Refused:
        async def claims() -> Sequence[InFlight]:
            return []

        return self.spoken_for or Purse(0, claims)

    async def settle_once(self, payload: PaymentPayload, requirements: PaymentRequirements) -> Settlement:
        self.asked.append("settle")
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def ready(self, network: str) -> bool:
        return self.fueled

    def extra(self, network: str, scheme: str) -> Mapping[str, Any]:
        return {}

    def senders(self) -> list[str]:
        return [SENDER]


@dataclass
class Server:
    """A service on a port of this process."""

    behind: Chainless
    session: ClientSession
    url: str = ""
    health: dict[str, bool] = field(default_factory=lambda: {"store": True})

    async def ask(self, path: str, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self.session.post(self.url + path, data=data, headers=headers) as reply:
            return reply.status, await reply.json(content_type=None)

    async def get(self, path: str, **headers: str) -> tuple[int, dict[str, Any]]:
        async with self.session.get(self.url + path, headers=headers) as reply:
            return reply.status, await reply.json(content_type=None)


@pytest.fixture
async def open_server() -> AsyncIterator[Any]:
    runners: list[web.ServerRunner] = []
    async with ClientSession() as session:

        async def start(keys: Sequence[str] = (), bounds: Bounds | None = None) -> Server:
            server = Server(Chainless(), session)
            behind: Any = server.behind
            service = Service(
                Reader([SERVED]), behind, behind, keys=keys, health=lambda: server.health, bounds=bounds
            )
            runner = web.ServerRunner(web.Server(service))
            runners.append(runner)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            return server

        yield start
        for runner in runners:
            await runner.cleanup()


@pytest.fixture
async def server(open_server: Any) -> Server:
    opened: Server = await open_server()
    return opened


def bill(version: int = 2, **changes: Any) -> dict[str, Any]:
    payment = sign_payment(PAYER.key, requirement(PAYEE, Anvil.token, version), version, **changes)
    return asking(payment)


@pytest.mark.parametrize("version", [1, 2])
async def test_a_good_payment_is_valid_and_settled(version: int, server: Server) -> None:
    status, verdict = await server.ask("/verify", bill(version))
    assert (status, verdict) == (200, {"isValid": True, "payer": PAYER.address.lower()})
    assert VerifyResponse.model_validate(verdict).is_valid

    status, settled = await server.ask("/settle", bill(version))
    network = "base-sepolia" if version == 1 else "eip155:84532"
    assert (status, settled) == (
        200,
        {
            "success": True,
            "payer": PAYER.address.lower(),
            "transaction": HASH,
            "network": network,
            "amount": "10000",
        },
    )
    assert SettleResponse.model_validate(settled).amount == "10000"


async def test_refusals_of_the_chain_are_told_with_200(server: Server) -> None:
    server.behind.verdict = Refused("insufficient_funds", "too little")
    status, verdict = await server.ask("/verify", bill())
    assert (status, verdict["isValid"], verdict["invalidReason"]) == (200, False, "insufficient_funds")
    assert VerifyResponse.model_validate(verdict).invalid_message == "too little"

    server.behind.outcome = Refused("insufficient_funds")
    status, settled = await server.ask("/settle", bill())
    assert (status, settled["success"], settled["errorReason"]) == (200, False, "insufficient_funds")
    assert SettleResponse.model_validate(settled).transaction == ""


async def test_what_is_spoken_for_is_refused_without_asking_the_chain(server: Server) -> None:
    server.behind.spoken_for = Refused("invalid_exact_evm_nonce_already_used")
    _, verdict = await server.ask("/verify", bill())
    assert verdict["invalidReason"] == "invalid_exact_evm_nonce_already_used" and not server.behind.asked


@pytest.mark.parametrize("transaction", ["", HASH])
async def test_an_unknown_outcome_is_pending_with_its_hash(transaction: str, server: Server) -> None:
    server.behind.outcome = Unknown(transaction)
    status, settled = await server.ask("/settle", bill())
    assert (status, settled["success"], settled["errorReason"]) == (200, False, "settlement_pending")
    assert settled["transaction"] == transaction


WRONG: list[tuple[str, int, dict[str, Any], str]] = [
    ("x402Version", 2, {"x402Version": 3}, "invalid_x402_version"),
    ("scheme", 2, {"terms": {"scheme": "upto"}}, "unsupported_scheme"),
    ("network", 2, {"terms": {"network": "eip155:8453"}}, "network_mismatch"),
    ("network", 1, {"terms": {"network": "base"}}, "network_mismatch"),
    ("no domain", 2, {"terms": {"extra": {}}}, "missing_eip712_domain"),
    ("domain", 2, {"terms": {"extra": {"name": "X", "version": "2"}}}, "invalid_exact_evm_payload_signature"),
    ("asset", 2, {"terms": {"asset": PAYEE}}, "invalid_exact_evm_failed_to_get_asset_info"),
    ("payTo", 2, {"terms": {"payTo": PAYER.address}}, "invalid_exact_evm_payload_recipient_mismatch"),
    ("v2 price", 2, {"terms": {"amount": "1"}}, "invalid_exact_evm_payload_authorization_value_mismatch"),
    ("v1 price", 1, {"terms": {"maxAmountRequired": "1"}}, "invalid_exact_evm_payload_authorization_value"),
    ("amount", 2, {"terms": {"amount": 10_000}}, "invalid_payment_requirements"),
    ("payload", 2, {"payload": {"authorization": 1}}, "invalid_payload"),
    ("signature", 2, {"payload": {"signature": "0x" + "11" * 65}}, "invalid_exact_evm_payload_signature"),
]


@pytest.mark.parametrize(("version", "changes", "reason"), [each[1:] for each in WRONG], ids=lambda x: str(x))
@pytest.mark.parametrize("path", ["/verify", "/settle"])
async def test_what_needs_no_chain_is_refused_before_anything_is_asked(
    path: str, version: int, changes: dict[str, Any], reason: str, server: Server
) -> None:
    body = bill(version)
    body["paymentRequirements"] = {**body["paymentRequirements"], **changes.get("terms", {})}
    body["paymentPayload"]["payload"].update(changes.get("payload", {}))
    body["x402Version"] = changes.get("x402Version", version)

    status, told = await server.ask(path, body)

    assert (status, told["invalidReason" if path == "/verify" else "errorReason"]) == (200, reason)
    assert server.behind.asked == []


@pytest.mark.parametrize(("left", "valid"), [(-1, False), (4, False), (9, True)])
async def test_an_authorization_must_live_for_six_seconds_more(
    left: int, valid: bool, server: Server
) -> None:
    _, verdict = await server.ask("/verify", bill(validBefore=int(time.time()) + left))
    assert verdict["isValid"] is valid
    reason = None if valid else "invalid_exact_evm_payload_authorization_valid_before"
    assert verdict.get("invalidReason") == reason


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"null", b"{}", b'{"x402Version":2,"x402Version":2}', b"\xff"),
        *(b'{"x402Version":2,"paymentPayload":{}}', b'{"x402Version":"2","paymentPayload":{}}'),
        b'{"x402Version":2,"paymentPayload":{},"paymentRequirements":[]}',
    ],
)
@pytest.mark.parametrize("path", ["/verify", "/settle"])
async def test_what_is_no_request_is_400(path: str, body: bytes, server: Server) -> None:
    status, problem = await server.ask(path, body)
    assert (status, problem["code"]) == (400, "bad_request") and server.behind.asked == []


async def test_who_cannot_tell_says_so(server: Server) -> None:
    server.behind.verdict = VerificationUnavailable("rpc.example: down")
    server.behind.outcome = VerificationUnavailable("rpc.example: down")
    for path in ("/verify", "/settle"):
        status, problem = await server.ask(path, bill())
        assert (status, problem["code"]) == (503, "verification_unavailable")
        assert "rpc.example" not in json.dumps(problem)
    server.behind.verdict, server.behind.fueled = Accepted(), False
    assert (await server.ask("/verify", bill()))[0] == 503


async def test_verifying_has_a_deadline(open_server: Any) -> None:
    server = await open_server(bounds=Bounds(verify_timeout=0.05))
    server.behind.slow = 5.0
    assert (await server.ask("/verify", bill()))[0] == 503


async def test_a_body_has_a_size_and_a_deadline(open_server: Any) -> None:
    server = await open_server(bounds=Bounds(max_body=2000, body_timeout=0.1))
    assert (await server.ask("/verify", b" " * 2001))[0] == 413

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(3000):
            yield b" "

    async def stuck() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(1)

    for body, status in ((endless(), 413), (stuck(), 408)):
        async with server.session.post(server.url + "/settle", data=body) as reply:
            assert reply.status == status


async def test_any_key_opens_and_none_does_not(open_server: Any) -> None:
    server = await open_server(keys=["first-key", "second-key"])
    for key in ("first-key", "second-key"):
        assert (await server.ask("/verify", bill(), Authorization=f"Bearer {key}"))[0] == 200
    for headers in ({}, {"Authorization": "Bearer other"}, {"Authorization": "first-key"}):
        for path in ("/verify", "/settle"):
            status, problem = await server.ask(path, bill(), **headers)
            assert (status, problem["code"]) == (401, "unauthorized")
        assert (await server.get("/supported", **headers))[0] == 401
    assert (await server.get("/health"))[0] == 200


async def test_what_is_supported_is_told_as_the_sdk_reads_it(server: Server) -> None:
    status, told = await server.get("/supported")
    assert status == 200 and told == {
        "kinds": [
            {"x402Version": 2, "scheme": "exact", "network": "eip155:84532"},
            {"x402Version": 1, "scheme": "exact", "network": "base-sepolia"},
        ],
        "extensions": [],
        "signers": {"eip155:*": ["0x" + "5e" * 20]},
    }
    assert len(SupportedResponse.model_validate(told).kinds) == 2


async def test_health_names_what_is_down(server: Server) -> None:
    assert await server.get("/health") == (200, {"status": "ok", "dependencies": {"store": "up"}})
    server.health["eip155:84532"] = False
    status, told = await server.get("/health")
    assert (status, told["dependencies"]["eip155:84532"]) == (503, "down")


async def test_other_paths_and_methods_are_named(server: Server) -> None:
    assert (await server.get("/verify"))[0] == 405
    assert (await server.ask("/supported", b""))[0] == 405
    assert (await server.get("/"))[0] == 404


async def test_who_waits_to_be_asked_for_a_body_is_asked(server: Server) -> None:
    body = json.dumps(bill()).encode()
    async with server.session.post(server.url + "/verify", data=body, expect100=True) as reply:
        assert (await reply.json())["isValid"] is True


def test_every_reason_of_its_own_is_documented() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "facilitator.md").read_text()
    reasons = (INVALID_VERSION, INVALID_PAYLOAD, NETWORK_MISMATCH, MISSING_DOMAIN, UNKNOWN_ASSET)
    assert not [reason for reason in reasons if f"`{reason}`" not in page]
