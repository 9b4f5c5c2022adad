"""The second listener: who may ask what, and what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient

from gateway.admin import Admin, Readiness
from gateway.observe import Metrics
from gateway.payment import Claim
from gateway.store.record import Limits
from gateway.store.sqlite import SqliteStore

Connect = Callable[..., Awaitable[TestClient[Any, Any]]]
TOKEN = "a-token-of-some-length"
GUARDED = ["/metrics", "/routes", "/payments", "/payments/pay_x", "/nowhere"]
ROWS = [{"route": "GET /x", "rails": "x402", "price": "$0.01", "upstream": "api"}]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """Empty."""
    opened = SqliteStore(tmp_path, Limits(1000, 1000, 1000, 1 << 20, 1 << 20))
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def dependencies() -> dict[str, bool]:
    """What a test may switch off."""
    return {"store": True, "eip155:1": True}


@pytest.fixture
def connect(aiohttp_client: Any, store: SqliteStore, dependencies: dict[str, bool]) -> Connect:
    """An admin listener, with or without a token, in a phase of its life."""

    async def make(token: str | None = None, phase: str = "ready") -> TestClient[Any, Any]:
        readiness = Readiness(lambda: dependencies, phase)
        admin = Admin(store, Metrics("1"), readiness, lambda: ROWS, token)
        client: TestClient[Any, Any] = await aiohttp_client(admin.application())
        return client

    return make


async def refused(client: TestClient[Any, Any], path: str, status: int, code: str, **more: Any) -> Any:
    answer = await client.get(path, **more)
    told = await answer.json(content_type="application/problem+json")
    assert (answer.status, told["status"], told["code"]) == (status, status, code)
    assert set(told) == {"type", "title", "status", "code", "detail", "request_id"}
    assert told["request_id"] == answer.headers["X-Request-Id"]
    return answer


@pytest.mark.parametrize("path", GUARDED)
@pytest.mark.parametrize(
    "presented",
    [None, "", "Bearer", "Bearer wrong", f"bearer {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer \udcff"],
)
async def test_nothing_is_told_without_the_token(connect: Connect, path: str, presented: str | None) -> None:
    headers = {} if presented is None else {"Authorization": presented}
    answer = await refused(await connect(TOKEN), path, 401, "unauthorized", headers=headers)
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/readyz?strict=1"])
async def test_but_probes_need_none(connect: Connect, path: str) -> None:
    assert (await (await connect(TOKEN)).get(path)).status == 200


@pytest.mark.parametrize("path", ["/metrics", "/routes", "/payments"])
async def test_and_with_the_token_all_is(connect: Connect, path: str) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert (await (await connect(TOKEN)).get(path, headers=headers)).status == 200


@pytest.mark.parametrize(
    ("phase", "up", "plain", "strict"),
    [
        ("ready", True, 200, 200),
        ("ready", False, 200, 503),
        ("starting", True, 503, 503),
        ("draining", True, 503, 503),
    ],
)
async def test_readiness(
    connect: Connect, dependencies: dict[str, bool], phase: str, up: bool, plain: int, strict: int
) -> None:
    dependencies["eip155:1"] = up
    client = await connect(phase=phase)
    lenient, severe = await client.get("/readyz"), await client.get("/readyz?strict=1")
    assert (lenient.status, severe.status) == (plain, strict)
    told = {"store": "up", "eip155:1": "up" if up else "down"}
    assert await lenient.json() == {"status": phase, "dependencies": told}


@pytest.mark.parametrize(
    "query",
    [
        "state=paid",
        "state=",
        "limit=0",
        "limit=501",
        "limit=-1",
        "limit=",
        "limit=1e3",
        "limit=%D9%A1",
        "limit=99999999999999999999",
        "stat=settled",
        "limit=1&limit=2",
    ],
)
async def test_what_cannot_be_asked(connect: Connect, query: str) -> None:
    await refused(await connect(), f"/payments?{query}", 400, "bad_query")


@pytest.mark.parametrize("cursor", ["", "x", "-1", "9" * 40, "%00"])
async def test_a_cursor_no_listing_gave(connect: Connect, cursor: str) -> None:
    await refused(await connect(), f"/payments?cursor={cursor}", 400, "bad_cursor")


@pytest.mark.parametrize("path", ["/payments/pay_unknown", "/payments/%00", "/payments/" + "x" * 3000])
async def test_an_unknown_payment(connect: Connect, path: str) -> None:
    await refused(await connect(), path, 404, "no_payment")


async def test_what_is_not_served(connect: Connect) -> None:
    client = await connect()
    await refused(client, "/", 404, "no_route")
    posted = await client.post("/payments")
    assert (posted.status, posted.headers["Allow"]) == (405, "GET,HEAD")
    assert posted.content_type == "application/problem+json"


async def test_routes(connect: Connect) -> None:
    assert await (await (await connect()).get("/routes")).json() == {"routes": ROWS}


async def test_pages_follow_each_other(connect: Connect, store: SqliteStore) -> None:
    for number in range(7):
        await store.reserve(_claim(number), by="me", lease=10, max_attempts=5)
    client = await connect()
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        more = f"&cursor={cursor}" if cursor else ""
        page = await (await client.get(f"/payments?limit=3{more}")).json()
        seen += [each["amount"] for each in page["payments"]]
        assert len(page["payments"]) <= 3
        cursor = page["cursor"]
    assert seen == [str(number) for number in reversed(range(7))]


async def test_filters(connect: Connect, store: SqliteStore) -> None:
    for number in range(4):
        await store.reserve(_claim(number), by="me", lease=10, max_attempts=5)
    client = await connect()
    for query, expected in (("state=reserved", 4), ("state=settled", 0), ("route=r1", 2), ("route=r9", 0)):
        page = await (await client.get(f"/payments?{query}")).json()
        assert len(page["payments"]) == expected


async def test_one_payment_with_its_history(connect: Connect, store: SqliteStore) -> None:
    claim = _claim(1)
    await store.reserve(claim, by="me", lease=10, max_attempts=5)
    told = await (await (await connect()).get(f"/payments/{claim.id}")).json()
    assert (told["state"], told["payer"], told["amount"]) == ("reserved", "0xpayer", "1")
    assert [each["state"] for each in told["transitions"]] == ["reserved"]
    assert told["transitions"][0]["at_ms"] == told["created_at_ms"]
    assert "terms" not in told and "secret-key" not in str(told)


def _claim(number: int) -> Claim:
    return Claim(
        replay_key=f"key-{number}",
        digest="d",
        rail="x402",
        route=f"r{number % 2}",
        payer="0xpayer",
        amount=number,
        asset="0xasset",
        network="eip155:1",
        purse="purse",
        queue="queue",
        terms=b"{}",
        expires_at=2**40,
        idempotency_key="secret-key",
    )
