"""A thousand charges at once, with everything going wrong: each is made once, and the wallets add up."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
from standins.conxa import ConxaServer

from gateway.devconxa.faults import Kind

CHARGES = 1_000
TWINS = 200
"""So many of them are sent by two at once."""
WALLETS = 10
RICH = 10**6
PATIENCE = aiohttp.ClientTimeout(total=2)
"""Far longer than a thousand answers take, or the retries of those who gave up too soon never end."""
CHANCES: dict[Kind, float] = {
    "hang_after": 0.01,
    "reset_after": 0.05,
    "reset_before": 0.05,
    "status_after": 0.05,
    "rate_limit": 0.05,
    "garbage": 0.05,
    "slow": 0.05,
}


def qr_data(user: int) -> str:
    return f'{{"provider_id":"acme","provider_type":"api","provider_username":"user-{user}"}}'


async def charged(client: aiohttp.ClientSession, url: str, token: str, number: int) -> None:
    """Sends one charge with one key until it is answered for good."""
    headers = {"X-Provider-Session": token, "X-Idempotency-Key": f"key-{number}"}
    body = {"model_name": "m", "input_tokens": number, "output_tokens": 1}
    while True:
        if await approved(client, url, headers, body):
            return
        await asyncio.sleep(0.05)


async def approved(client: aiohttp.ClientSession, url: str, headers: dict[str, str], body: Any) -> bool:
    try:
        async with client.post(f"{url}/charge/authorize", headers=headers, json=body) as answer:
            if answer.status == 200 and answer.content_type == "application/json":
                return bool((await answer.json())["approved"])
            assert answer.status in (200, 409, 429, 500)
            return False
    except (aiohttp.ClientError, TimeoutError):
        return False


async def test_a_thousand_charges_at_once_are_made_once_each() -> None:
    with ConxaServer() as conxa:
        wallets = [conxa.wallet(RICH) for _ in range(WALLETS)]
        tokens = [conxa.scan(qr_data(user), wallet) for user, wallet in enumerate(wallets)]
        for seed, (kind, chance) in enumerate(CHANCES.items()):
            conxa.fault("charge", kind, probability=chance, seed=seed, seconds=0.3)
        numbers = sorted([*range(CHARGES), *range(TWINS)])
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            headers={"X-Provider-API-Key": conxa.api_key},
            timeout=PATIENCE,
        ) as client:
            await asyncio.gather(*(charged(client, conxa.url, tokens[n % WALLETS], n) for n in numbers))

        charges = conxa.charges()
        assert sorted(charge.key or "" for charge in charges) == sorted(f"key-{n}" for n in range(CHARGES))
        for first, wallet in enumerate(wallets):
            spent = sum(number + 1 for number in range(first, CHARGES, WALLETS))
            assert conxa.balance(wallet) == RICH - spent
        calls = conxa.calls()
        assert all(len(bodies) == 1 for bodies in calls["keys"].values())
        answers = calls["endpoints"]["charge"]["answers"]
        assert {"200", "409", "429", "500", "lost"} <= answers.keys()
