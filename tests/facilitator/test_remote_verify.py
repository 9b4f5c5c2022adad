"""Verification by somebody else: the first that answers, within the budget, in the specification's words."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from standins.facilitator import (
    HTML,
    HUGE,
    SUPPORTED,
    Behaviour,
    FacilitatorServer,
    drip,
    hang,
    redirect,
    reset,
    say,
)

from facilitator.base import Accepted, Purse, Refused, VerificationUnavailable
from facilitator.endpoint import Endpoint, Remote
from facilitator.exact_evm import INVALID_SIGNATURE, VALID_BEFORE
from facilitator.http1.client import Client
from facilitator.pool import Patience, Pool
from facilitator.remote import RemoteFacilitator
from facilitator.wire import PaymentRequirements

YES = say({"isValid": True})
BASE = "eip155:84532"


def purse() -> Purse:
    async def none() -> tuple[()]:
        return ()

    return Purse(0, none)


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[FacilitatorServer, FacilitatorServer]]:
    with FacilitatorServer() as first, FacilitatorServer() as second:
        yield first, second


@pytest.fixture
def first(servers: tuple[FacilitatorServer, FacilitatorServer]) -> FacilitatorServer:
    return _fresh(servers[0])


@pytest.fixture
def second(servers: tuple[FacilitatorServer, FacilitatorServer]) -> FacilitatorServer:
    return _fresh(servers[1])


def _fresh(server: FacilitatorServer) -> FacilitatorServer:
    server.on("/verify", YES)
    server.on("/supported", say(SUPPORTED))
    server.received.clear()
    return server


NO_VERDICT: dict[str, Behaviour] = {
    "500": say({"error": "internal"}, 500),
    "503": say(b"<h1>busy</h1>", 503),
    "429": say({"error": "slow down"}, 429),
    "401": say({"isValid": False, "invalidReason": "no token"}, 401),
    "HTML": HTML,
    "nothing": say(b""),
    "a list": say([True]),
    "twice": say(b'{"isValid": true, "isValid": false}'),
    "10 MiB": HUGE,
    "resets": reset,
    "redirects": redirect,
    "hangs": hang,
    "drips": drip,
    "a word": say({"isValid": "true"}),
    "a number": say({"isValid": 1}),
    "no verdict": say({}),
    "another payer": say({"isValid": True, "payer": "0x" + "11" * 20}),
    "yes with 500": say({"isValid": True}, 500),
    "its own fault": say({"isValid": False, "invalidReason": "unexpected_verify_error"}),
    "its own fault, with words": say({"isValid": False, "invalidReason": "unexpected_error: at line 3"}),
}


@pytest.mark.parametrize("behaviour", NO_VERDICT.values(), ids=NO_VERDICT)
async def test_what_is_no_verdict_goes_to_the_next(
    behaviour: Behaviour,
    first: FacilitatorServer,
    second: FacilitatorServer,
    remotely: Any,
    payer: Any,
    terms: PaymentRequirements,
) -> None:
    first.on("/verify", behaviour)
    quick = Patience(verify_try=0.2, verify=1.0)
    facilitator = remotely(first.url, second.url, patience=quick)
    assert await facilitator.verify(payer.pay(terms), terms, purse()) == Accepted()
    assert second.count("/verify") == 1
    assert first.count("/verify") == (2 if behaviour is reset else 1), "a kept connection may be stale"
    alone = remotely(first.url, patience=quick)
    with pytest.raises(VerificationUnavailable):
        await alone.verify(payer.pay(terms), terms, purse())


VERDICTS = {
    "the specification's": ("invalid_exact_evm_payload_signature", 200, INVALID_SIGNATURE),
    "x402-rs, with 400": ("invalid_payment_expired", 400, VALID_BEFORE),
    "x402-connector's": ("invalid_signature: v is 29", 200, INVALID_SIGNATURE),
    "known, with 500": ("insufficient_funds", 500, "insufficient_funds"),
    "permit2, with 412": ("permit2_allowance_required", 412, "unexpected_verify_error"),
    "one's own": ("<script>alert(1)</script>", 200, "unexpected_verify_error"),
    "none": (None, 200, "unexpected_verify_error"),
    "a list": ([], 200, "unexpected_verify_error"),
}


@pytest.mark.parametrize(("said", "status", "reason"), VERDICTS.values(), ids=VERDICTS)
async def test_a_no_is_a_no(
    said: Any,
    status: int,
    reason: str,
    first: FacilitatorServer,
    second: FacilitatorServer,
    remotely: Any,
    payer: Any,
    terms: PaymentRequirements,
) -> None:
    """It is not taken to somebody who may say yes; and its own text goes no further."""
    first.on("/verify", say({"isValid": False, "invalidReason": said, "payer": ""}, status))
    facilitator = remotely(first.url, second.url)
    assert await facilitator.verify(payer.pay(terms), terms, purse()) == Refused(reason)
    assert second.received == []


async def test_garbage_causes_no_call(
    first: FacilitatorServer, remotely: Any, payer: Any, terms: PaymentRequirements
) -> None:
    facilitator = remotely(first.url)
    forged = payer.pay(terms, to="0x" + "11" * 20)
    late = payer.pay(terms, valid_before=int(time.time()) + 60)
    assert isinstance(await facilitator.verify(forged, terms, purse()), Refused)
    assert isinstance(await facilitator.verify(late, terms, purse(), work_budget=100), Refused)
    assert first.received == []


async def test_the_latency_budget_is_for_all_of_them(
    first: FacilitatorServer, second: FacilitatorServer, remotely: Any, payer: Any, terms: PaymentRequirements
) -> None:
    for server in (first, second):
        server.on("/verify", hang)
    facilitator = remotely(first.url, second.url, patience=Patience(verify_try=0.3, verify=0.4))
    started = time.monotonic()
    with pytest.raises(VerificationUnavailable):
        await facilitator.verify(payer.pay(terms), terms, purse())
    assert time.monotonic() - started < 0.6
    assert second.count("/verify") == 1


async def test_down_and_back(
    first: FacilitatorServer,
    remotely: Any,
    rig: Any,
    payer: Any,
    terms: PaymentRequirements,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All are down: not ready, so nobody is asked any more; found again without a restart."""
    monkeypatch.setattr("facilitator.pool.PROBE", 0.05)
    facilitator = remotely(first.url)
    watching = asyncio.create_task(facilitator.run())
    first.down()
    for _ in range(5):
        assert facilitator.ready(BASE)
        with pytest.raises(VerificationUnavailable):
            await facilitator.verify(payer.pay(terms), terms, purse())
    assert not facilitator.ready(BASE)
    assert [each.up for each in facilitator.health()] == [False]
    await asyncio.sleep(0.2)
    assert not facilitator.ready(BASE)
    first.up()
    await rig.until(lambda: facilitator.ready(BASE))
    assert await facilitator.verify(payer.pay(terms), terms, purse()) == Accepted()
    assert [each.up for each in facilitator.health()] == [True]
    watching.cancel()


async def test_one_that_answers_only_supported_gets_one_try_at_a_time(
    first: FacilitatorServer, remotely: Any, payer: Any, terms: PaymentRequirements
) -> None:
    first.on("/verify", hang)
    facilitator = remotely(first.url, patience=Patience(verify_try=0.05, verify=0.1))
    for _ in range(5):
        with pytest.raises(VerificationUnavailable):
            await facilitator.verify(payer.pay(terms), terms, purse())
    await facilitator.refresh()
    assert facilitator.ready(BASE)
    asked = first.count("/verify")
    tries = [facilitator.verify(payer.pay(terms), terms, purse()) for _ in range(10)]
    found = await asyncio.gather(*tries, return_exceptions=True)
    assert all(isinstance(each, VerificationUnavailable) for each in found)
    assert first.count("/verify") == asked + 1
    assert not facilitator.ready(BASE)


async def test_a_request_that_is_given_up_leaves_room_for_the_next(
    first: FacilitatorServer, remotely: Any, payer: Any, terms: PaymentRequirements
) -> None:
    """A client that leaves in the middle of the one try says nothing about the facilitator."""
    first.on("/verify", hang)
    facilitator = remotely(first.url, patience=Patience(verify_try=0.05, verify=0.1))
    for _ in range(5):
        with pytest.raises(VerificationUnavailable):
            await facilitator.verify(payer.pay(terms), terms, purse())
    await facilitator.refresh()
    trying = asyncio.create_task(facilitator.verify(payer.pay(terms), terms, purse()))
    await asyncio.sleep(0.02)
    trying.cancel()
    await asyncio.gather(trying, return_exceptions=True)
    first.on("/verify", YES)
    assert await facilitator.verify(payer.pay(terms), terms, purse()) == Accepted()


async def test_headers_go_with_every_request(
    first: FacilitatorServer, remotely: Any, payer: Any, terms: PaymentRequirements
) -> None:
    facilitator = remotely(first.url)
    remote = Remote(Endpoint(first.url, {"Authorization": "Bearer canary"}), facilitator._client)
    facilitator.pool = Pool([remote], Patience())
    await facilitator.refresh()
    await facilitator.verify(payer.pay(terms), terms, purse())
    assert [each.headers.get("Authorization") for each in first.received] == ["Bearer canary"] * 2
    assert "Cookie" not in first.received[-1].headers
    assert "canary" not in repr(remote.endpoint)


async def test_supported_is_kept(first: FacilitatorServer, second: FacilitatorServer, remotely: Any) -> None:
    """facilitator-21: the last good answer holds while there is none better; its age tells."""
    solana = "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1"
    facilitator = remotely(first.url, networks=[solana])
    assert not facilitator.supports(solana, "exact")
    assert facilitator.health()[0].age is None
    await facilitator.refresh()
    assert facilitator.supports(solana, "exact")
    assert facilitator.extra(solana, "exact") == {"feePayer": SUPPORTED["kinds"][2]["extra"]["feePayer"]}
    for nonsense in ({"kinds": []}, {}, {"kinds": [{"scheme": 1}]}, []):
        first.on("/supported", say(nonsense))
        await facilitator.refresh()
        assert facilitator.supports(solana, "exact")
    first.on("/supported", say({"kinds": [{"scheme": "exact", "network": "eip155:*"}]}))
    await facilitator.refresh()
    assert not facilitator.supports(solana, "exact")
    assert facilitator.supports(BASE, "exact")
    assert not facilitator.supports("eip155:1", "exact"), "listed there, not wanted here"
    age = facilitator.health()[0].age
    assert age is not None
    assert age < 5.0


async def test_what_cannot_work_is_refused_when_it_is_made() -> None:
    client = Client()
    more: dict[str, Any] = {"worth": lambda terms: 0, "verify_on_chain_over": None, "resource": ""}
    one = Endpoint("https://f.example", networks=frozenset({"solana:x"}))
    for endpoints, networks, what in (
        ([one], ["eip155:1"], "needs rpc"),
        ([one], ["solana:y"], "no facilitator"),
        ([one, one], ["solana:x"], "same URL"),
    ):
        with pytest.raises(ValueError, match=what):
            RemoteFacilitator(endpoints, client, [], networks, **more)
    client.close()
