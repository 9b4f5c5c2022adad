"""Canaries: the provider's key, sessions and connections are in nothing that is told to anybody else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kit.answers import Answer, request
from kit.gateway import Gateway
from kit.ops import eventually, ledger, tollway, tracebacks
from kit.upstream import Upstream
from kit.upstream_answers import ok_json, status
from kit.wallets import CHAT, COMPLETION, CONNECTIONS, FLAT, WalletShop, wallet_config
from standins.conxa import ConxaServer

KEY = "pk_live_acme_canary0provider0key"
OWN = "ps_canary-session-of-nobody"
PAGE = "/v1/page"
TRUSTED = "/v1/trusted"
FIXED: dict[str, Any] = {"price": "$0.02", "conxa": {"model": "flat", "input_tokens": 100}}
SLICE = 14
"""Characters of a secret that are as bad as all of them."""


class Told:
    """All that left the gateway, for a search; and what must not be in it."""

    def __init__(self) -> None:
        self.text = ""
        self.secrets = [KEY, KEY.removeprefix("pk_live_"), OWN]

    def add(self, *parts: object) -> None:
        """Answers with their headers, outputs, logs."""
        self.text += "".join(f"{part}\n" for part in parts)

    def hide(self, *secrets: str) -> None:
        """Bearer secrets: no part of one may be told."""
        for secret in secrets:
            bare = secret[3:]
            self.secrets += [bare[at : at + SLICE] for at in range(0, len(bare) - SLICE, SLICE)]

    def found(self) -> list[str]:
        """Secrets that were told."""
        return [secret for secret in self.secrets if secret.lower() in self.text.lower()]


@contextmanager
def guarded(folder: Path) -> Iterator[WalletShop]:
    routes = [
        {"match": f"POST {CHAT}", "price": "$0.02", "conxa": {"meter": "openai"}},
        {"match": f"POST {FLAT}"} | copied(),
        {"match": f"POST {TRUSTED}", "settle": "deferred"} | copied(),
        {"match": f"GET {PAGE}"} | copied(),
    ]
    with Upstream() as upstream, ConxaServer(api_key=KEY) as conxa:
        rail = {"accept_sessions": True, "timeout": "250ms", "settle_within": "1s"}
        config = wallet_config(upstream.url, conxa, routes=routes, conxa=rail)
        with Gateway(config, folder=folder) as gateway:
            upstream.on(CHAT, ok_json(COMPLETION))
            yield WalletShop(gateway, upstream, conxa)


def copied() -> dict[str, Any]:
    """YAML knows no aliases here."""
    return {**FIXED, "conxa": dict(FIXED["conxa"])}


def connected(shop: WalletShop, told: Told, tokens: int = 1_000, **order: Any) -> tuple[dict[str, Any], str]:
    made, wallet = shop.connection(**order), shop.conxa.wallet(tokens)
    told.hide(made["id"], shop.conxa.scan(made["qr_data"], wallet))
    return made, wallet


def test_no_secret_is_ever_told(tmp_path: Path) -> None:
    told = Told()
    with guarded(tmp_path) as shop:
        told.add(*purchases(shop, told), *refusals(shop, told), *outages(shop, told), *strangers(shop, told))
        told.add(*operator(shop))
        for received in shop.upstream.received:
            told.add(received.raw.decode("latin-1"))
    told.add(shop.gateway.logs())
    assert len(told.secrets) > 40 and CONNECTIONS + "/{id}/qr.svg" in told.text
    assert told.found() == []
    assert not tracebacks(told.text)


def purchases(shop: WalletShop, told: Told) -> Iterator[Answer]:
    made, _ = connected(shop, told, limit=700)
    yield shop.ask(made["id"])
    yield shop.ask(made["id"], FLAT, Idempotency_Key="mine")
    yield shop.ask(made["id"], FLAT, Idempotency_Key="mine")
    yield shop.ask(made["id"], FLAT, b"other", Idempotency_Key="mine")
    yield shop.ask(made["id"], TRUSTED)
    yield request(shop.url + PAGE, headers={"X-Tollway-Connection": made["id"], "Accept": "text/html"})
    for picture in ("qr.svg", "qr.png"):
        yield request(f"{shop.url}{CONNECTIONS}/{made['id']}/{picture}")
    token = shop.conxa.scan(shop.connection()["qr_data"], shop.conxa.wallet(1_000))
    told.hide(token)
    yield shop.ask(None, X_Provider_Session=token)
    shop.upstream.on(FLAT, status(500), ok_json({}))
    yield shop.ask(made["id"], FLAT)


def refusals(shop: WalletShop, told: Told) -> Iterator[Answer]:
    poor, _ = connected(shop, told, tokens=3)
    capped, _ = connected(shop, told, limit=5)
    unwilling, _ = connected(shop, told)
    ended, _ = connected(shop, told)
    debtor, _ = connected(shop, told, tokens=3)
    shop.conxa.act(unwilling["provider_username"], "revoke")
    yield shop.ask(ended["id"])
    shop.conxa.act(ended["provider_username"], "expire")
    for made in (poor, capped, unwilling, ended):
        yield shop.ask(made["id"])
        yield shop.ask(made["id"])
        yield request(shop.url + PAGE, headers={"X-Tollway-Connection": made["id"], "Accept": "text/html"})
    yield shop.ask(debtor["id"], TRUSTED)
    eventually(lambda: ledger(shop.gateway, "?state=unknown"))
    yield shop.ask(debtor["id"])


def outages(shop: WalletShop, told: Told) -> Iterator[Answer]:
    known, _ = connected(shop, told)
    yield shop.ask(known["id"])
    for kind in ("hang_after", "garbage", "reset_after"):
        made, _ = connected(shop, told)
        shop.conxa.fault("charge", kind, probability=1.0)
        yield shop.ask(made["id"])
        shop.conxa.clear_faults()
    for endpoint in ("charge", "status"):
        shop.conxa.fault(endpoint, "status_before", code=401, message=f"bad key {KEY}", probability=1.0)
    fresh, _ = connected(shop, told)
    yield shop.ask(known["id"])
    yield shop.ask(fresh["id"])
    yield request(fresh["status_url"])
    shop.conxa.clear_faults()


def strangers(shop: WalletShop, told: Told) -> Iterator[Answer]:
    made, _ = connected(shop, told)
    wrong = made["id"][:-1] + ("A" if made["id"][-1] != "A" else "B")
    yield shop.ask(wrong)
    yield request(f"{shop.url}{CONNECTIONS}/{wrong}")
    yield request(f"{shop.url}{CONNECTIONS}/{made['id']}", "DELETE")
    yield request(f"{shop.url}{CONNECTIONS}/{made['id']}?wait=x")
    yield request(f"{shop.url}{CONNECTIONS}/{made['id']}/qr.gif")
    yield shop.ask(None, X_Provider_Session=OWN)
    yield shop.ask(made["id"], X_Provider_Session=OWN)
    yield shop.ask(None, X_Provider_Session=OWN * 300)


def operator(shop: WalletShop) -> Iterator[object]:
    for page in ("/metrics", "/routes", "/readyz?strict=1", "/nowhere"):
        yield request(shop.gateway.admin + page)
    for payment in ledger(shop.gateway, "?limit=100"):
        yield payment
        yield request(f"{shop.gateway.admin}/payments/{payment['id']}")
    config = str(shop.gateway.config_file)
    for words in (("check", "--online"), ("check", "--json"), ("ledger", "--format", "jsonl")):
        done = tollway(*words, "-c", config)
        assert done.returncode == 0, done.stderr
        yield done.stdout + done.stderr
    text = shop.gateway.config_file.read_text()
    for wrong in (text.replace("api_key", "api_keys"), text.replace(KEY, f"{KEY}\\xff")):
        shop.gateway.write(wrong)
        done = tollway("check", "-c", config)
        yield done.stdout + done.stderr
    shop.gateway.write(text)
