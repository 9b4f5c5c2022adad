"""A thousand charged requests at once while CONXA falters: every answer is charged once, to the token."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from kit.answers import Answer, request_with
from kit.ops import eventually, ledger
from kit.redis_server import RedisServer
from kit.upstream import Exchange
from kit.upstream_answers import ok_json
from kit.wallets import CHAT, COMPLETION, QUESTION, WalletShop, wallet_shop

CLIENTS = 1_000
WALLETS = 8
RICH = 1_000_000
MOST = 17
"""Tokens of the dearest answer."""
POOR = 40 * MOST
"""What the last wallet has: some of its answers cannot be paid."""
FAULTS: list[tuple[Any, dict[str, Any]]] = [
    ("hang_after", {"probability": 0.02}),
    ("reset_after", {"probability": 0.06}),
    ("reset_before", {"probability": 0.04}),
    ("status_after", {"probability": 0.04}),
    ("status_before", {"probability": 0.04, "code": 502}),
    ("garbage", {"probability": 0.02}),
    ("rate_limit", {"probability": 0.06}),
    ("rate_limit", {"probability": 0.03, "retry_after": 1}),
    ("slow", {"probability": 0.03, "seconds": 1.5}),
]
TOKENS = re.compile(r"in=(\d+);out=(\d+)")


@dataclass
class Client:
    """Asks one question until it has an answer, as the answers tell it to; some hang up on the first try."""

    connection: str
    number: int
    key: str | None
    answer: Answer | None = None
    seen: Counter[tuple[int, str]] = field(default_factory=Counter)

    async def buy(self, session: aiohttp.ClientSession, url: str) -> None:
        patience = 0.5 if self.number % 20 == 1 else None
        while self.answer is None:
            try:
                async with asyncio.timeout(patience):
                    got = await request_with(session, url + CHAT, "POST", self._headers(), self._question)
            except TimeoutError:
                patience = None
                continue
            code = "" if got.status == 200 else got.json()["code"]
            self.seen[got.status, code] += 1
            if got.status in (503, 409):
                self.key = got.headers.get("idempotency-key", self.key)
                await asyncio.sleep(int(got.headers["retry-after"]))
            else:
                self.answer = got

    @property
    def _question(self) -> bytes:
        """Its own: a lost answer may go to whoever asks the same from the same wallet."""
        return QUESTION.replace(b"hello", str(self.number).encode())

    def _headers(self) -> dict[str, str]:
        own = {} if self.key is None else {"Idempotency-Key": self.key}
        return {"X-Tollway-Connection": self.connection, "Content-Type": "application/json", **own}


async def uneven(exchange: Exchange) -> bool:
    """No two neighbours use as much."""
    used = {"prompt_tokens": 1 + exchange.number % 7, "completion_tokens": 5 + exchange.number % 6}
    return await ok_json({**COMPLETION, "id": f"chatcmpl-{exchange.number}", "usage": used})(exchange)


async def crowd(url: str, clients: list[Client]) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    limits = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False, timeout=limits) as session:
        await asyncio.gather(*(client.buy(session, url) for client in clients))


@pytest.mark.parametrize("store", ["embedded", "redis"])
def test_every_answer_is_charged_once(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    sections: dict[str, Any] = {}
    if store == "redis":
        redis: RedisServer = request.getfixturevalue("redis_server")
        sections = {"store": {"url": redis.url}, "server": {"workers": 2}}
    with wallet_shop(tmp_path, conxa={"timeout": "1s", "settle_within": "8s"}, **sections) as shop:
        shop.upstream.on(CHAT, uneven)
        wallets = [shop.connect(RICH) for _ in range(WALLETS - 1)] + [shop.connect(POOR)]
        for number, (kind, more) in enumerate(FAULTS):
            shop.conxa.fault("charge", kind, seed=number, **more)
        clients = [
            Client(wallets[number % WALLETS][0], number, f"mine-{number}" if number % 2 else None)
            for number in range(CLIENTS)
        ]

        asyncio.run(crowd(shop.url, clients))

        shop.conxa.clear_faults()
        eventually(lambda: not unsettled(shop), patience=40)
        check(shop, clients, dict(wallets))
        replay(shop, [each for each in clients if each.number % 20 == 3])
        check(shop, clients, dict(wallets))
        assert "Traceback" not in shop.gateway.logs()


def replay(shop: WalletShop, clients: list[Client]) -> None:
    """Who asks again with the key gets the same answer."""
    again = [Client(each.connection, each.number, each.key) for each in clients]
    asyncio.run(crowd(shop.url, again))
    for old, new in zip(clients, again, strict=True):
        assert old.answer is not None and new.answer is not None
        assert new.answer.status == old.answer.status
        if new.answer.status == 200:
            assert new.answer.body == old.answer.body
            assert new.answer.headers["idempotent-replayed"] == "true"
            assert tokens_of(new.answer) == tokens_of(old.answer)


def unsettled(shop: WalletShop) -> list[dict[str, Any]]:
    states = ("reserved", "served", "settling", "unknown")
    return [each for state in states for each in ledger(shop.gateway, f"?state={state}")]


def check(shop: WalletShop, clients: list[Client], wallets: dict[str, str]) -> None:
    """From outside only: what clients got, what CONXA debited, what is left."""
    shop.assert_one_body_a_key()
    conflicts = shop.conxa.calls()["endpoints"]["charge"]["answers"]
    assert all(conflicts[each] for each in ("409", "429", "500", "lost"))
    for connection, wallet in wallets.items():
        answers = [each.answer for each in clients if each.connection == connection]
        paid = [each for each in answers if each is not None and each.status == 200]
        used = Counter(map(tokens_of, paid))
        assert used == Counter((came, went) for _, came, went in shop.charged(wallet))
        assert len({each.json()["id"] for each in paid}) == len(paid)
        spent = sum(came + went for came, went in used.elements())
        had = RICH if shop.conxa.balance(wallet) > POOR else POOR
        assert shop.conxa.balance(wallet) == had - spent
        refused = [each for each in answers if each is not None and each.status != 200]
        assert all(each.json()["error_code"] == "INSUFFICIENT_BALANCE" for each in refused)
        assert bool(refused) is (had == POOR)
        assert had == RICH or shop.conxa.balance(wallet) < MOST


def tokens_of(answer: Answer) -> tuple[int, int]:
    """As the header says; the body says the same."""
    told = TOKENS.fullmatch(answer.headers["x-conxa-tokens"])
    assert told is not None
    usage = answer.json()["usage"]
    assert (int(told[1]), int(told[2])) == (usage["prompt_tokens"], usage["completion_tokens"])
    return int(told[1]), int(told[2])
