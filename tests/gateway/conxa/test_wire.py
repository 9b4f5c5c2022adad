"""What CONXA's answers mean, spoken with the stand-in that the official SDK drives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from standins.conxa import ConxaServer

from facilitator.http1.client import Client
from gateway.conxa.wire import (
    Approved,
    Conxa,
    ConxaUnavailable,
    Declined,
    KeyRefused,
    RateLimited,
    Status,
    Unauthorized,
    Unclear,
)

QR = '{"provider_id":"acme","provider_type":"api","provider_username":"u"}'


@pytest.fixture
def server() -> Iterator[ConxaServer]:
    with ConxaServer() as running:
        yield running


@pytest.fixture
async def conxa(server: ConxaServer) -> AsyncIterator[Conxa]:
    with Client() as client:
        yield Conxa(client, server.url, server.api_key, 0.5)


async def test_a_session_from_its_beginning_to_its_end(server: ConxaServer, conxa: Conxa) -> None:
    assert (await conxa.session("u")).status is Status.PENDING
    token = server.scan(QR, server.wallet(100))
    session = await conxa.session("u")
    assert (session.status, session.token) == (Status.ACTIVE, token) and session.expires_at
    server.act("u", "expire")
    assert (await conxa.session("u")).status is Status.EXPIRED


async def test_a_charge_is_made_once_by_one_key(server: ConxaServer, conxa: Conxa) -> None:
    token = server.scan(QR, server.wallet(100))
    assert await conxa.charge(token, "k", "m", 10, 5) == Approved(85)
    assert await conxa.charge(token, "k", "m", 10, 5) == Approved(85)
    assert await conxa.charge(token, "k", "m", 10, 6) == Declined("INVALID_CHARGE", None)
    assert len(server.charges()) == 1


async def test_refusals(server: ConxaServer, conxa: Conxa) -> None:
    capped = server.scan(QR.replace("}", ',"limit":20.0}'), server.wallet(100))
    assert await conxa.charge(capped, "1", "m", 30, 0) == Declined("HARD_CAP_VIOLATION", 100)
    poor = server.scan(QR, server.wallet(3))
    assert await conxa.charge(poor, "2", "m", 30, 0) == Declined("INSUFFICIENT_BALANCE", 3)
    server.act("u", "revoke")
    refused = await conxa.charge(poor, "3", "m", 1, 0)
    assert isinstance(refused, Declined) and refused.code == "NO_CHARGE_PERMISSION"
    assert await conxa.charge("ps_nobody", "4", "m", 1, 0) == Unauthorized()


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("hang_after", {}),
        ("reset_after", {}),
        ("reset_before", {}),
        ("status_after", {"code": 500}),
        ("garbage", {}),
        ("bad_envelope", {}),
    ],
)
async def test_what_says_neither_yes_nor_no(
    server: ConxaServer, conxa: Conxa, kind: Any, more: dict[str, Any]
) -> None:
    token = server.scan(QR, server.wallet(100))
    server.fault("charge", kind, **more)
    assert isinstance(await conxa.charge(token, "k", "m", 10, 0), Unclear)
    assert await conxa.charge(token, "k", "m", 10, 0) == Approved(90)


async def test_asked_too_often(server: ConxaServer, conxa: Conxa) -> None:
    server.fault("status", "rate_limit", retry_after=7)
    with pytest.raises(RateLimited) as limited:
        await conxa.session("u")
    assert limited.value.retry_after == 7
    token = server.scan(QR, server.wallet(100))
    server.fault("charge", "rate_limit", retry_after=9, http_date=True)
    unclear = await conxa.charge(token, "k", "m", 1, 0)
    assert isinstance(unclear, Unclear) and unclear.retry_after is not None and 7 < unclear.retry_after <= 9


async def test_out_of_order(server: ConxaServer, conxa: Conxa) -> None:
    assert await conxa.healthy()
    faults: list[tuple[Any, dict[str, Any]]] = [
        ("hang_before", {}),
        ("reset_before", {"count": 2}),
        ("status_before", {"code": 502}),
    ]
    for kind, more in faults:
        server.fault("status", kind, **more)
        with pytest.raises(ConxaUnavailable):
            await conxa.session("u")
    server.fault("health", "garbage")
    assert not await conxa.healthy()


async def test_another_api_key(server: ConxaServer) -> None:
    with Client() as client:
        stranger = Conxa(client, server.url, "pk_test_acme_no", 0.5)
        with pytest.raises(KeyRefused):
            await stranger.session("u")
