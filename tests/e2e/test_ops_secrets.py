"""Canaries in every secret place: none of them leaves the gateway."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from kit.answers import request
from kit.anvil import Anvil
from kit.deployment import Deployment, deployed
from kit.ops import eventually, records, tollway, tracebacks
from kit.payments import SignedPayment
from kit.redis_server import RedisServer
from kit.upstream_answers import die_in_mid_body, hang

FundedAccount = Callable[..., Any]
CANARY = {
    "upstream": "canary-upstream-credential",
    "admin": "canary-admin-token",
    "redis": "canary-redis-password",
    "key": "canary-idempotency-key",
}


class Told:
    """All that left the gateway, for a search."""

    def __init__(self) -> None:
        self.text = ""

    def add(self, *parts: object) -> None:
        """Answers with their headers, outputs, logs."""
        self.text += "".join(f"{part}\n" for part in parts)


def secrets_of(shop: Deployment, payments: list[SignedPayment]) -> list[str]:
    found = [*CANARY.values(), shop.sender.key[2:]]
    for payment in payments:
        [header] = payment.headers.values()
        found += [header, payment.signature[2:], payment.authorization["nonce"][2:]]
    return found


def test_no_secret_is_ever_told(anvil: Anvil, tmp_path: Path, funded_account: FundedAccount) -> None:
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer("--requirepass", CANARY["redis"], tcp=True))
        shop = stack.enter_context(
            deployed(
                anvil,
                tmp_path,
                store={"url": f"redis://:{CANARY['redis']}@127.0.0.1:{redis.port}/0"},
                server={"admin_token": CANARY["admin"]},
            )
        )
        told, payments = Told(), []
        config = shop.gateway.config_file.read_text()
        secret = f"api:\n    headers: {{Authorization: 'Bearer {CANARY['upstream']}'}}\n"
        shop.gateway.write(config.replace("api:\n", secret, 1))
        shop.gateway.reload()
        eventually(lambda: records(shop.gateway, "reload"))
        payments += purchases(shop, told, funded_account)
        payments += outages(shop, redis, told, funded_account)
        misconfigurations(shop, told)
        told.add(shop.gateway.logs())
    told.add(shop.gateway.logs())
    assert shop.upstream.last("/v1/x").header("Authorization") == f"Bearer {CANARY['upstream']}"
    for secret in secrets_of(shop, payments):
        assert secret.lower() not in told.text.lower()
    assert not tracebacks(told.text)


def purchases(shop: Deployment, told: Told, funded_account: FundedAccount) -> list[SignedPayment]:
    good, forged, failing = (shop.sign("/v1/x", funded_account()) for _ in range(3))
    forged.authorization["value"] = "9999"
    key = {"Idempotency-Key": CANARY["key"]}
    shop.upstream.on("/v1/dies", die_in_mid_body())
    shop.upstream.on("/free/hangs", hang())
    for path, payment in (
        ("/v1/x", good),
        ("/v1/x", good),
        ("/v1/y", good),
        ("/v1/x", forged),
        ("/v1/dies", failing),
    ):
        answer = request(shop.url + path, headers={**payment.headers, **key})
        told.add(answer.status, answer.body, {n: v for n, v in answer.headers.items() if "payment" not in n})
    token = {"Authorization": f"Bearer {CANARY['admin']}"}
    for page in ("/metrics", "/routes", "/payments", "/readyz?strict=1", "/nowhere"):
        told.add(request(shop.gateway.admin + page, headers=token), request(shop.gateway.admin + page))
    [payment] = [each for each in payments_of(shop, token) if each["state"] == "settled"]
    told.add(payment, request(f"{shop.gateway.admin}/payments/{payment['id']}", headers=token))
    return [good, forged, failing]


def payments_of(shop: Deployment, token: dict[str, str]) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = request(shop.gateway.admin + "/payments", headers=token).json()["payments"]
    return listed


def outages(
    shop: Deployment, redis: RedisServer, told: Told, funded_account: FundedAccount
) -> list[SignedPayment]:
    payment = shop.sign("/v1/x", funded_account())
    redis.kill()
    told.add(request(shop.url + "/v1/x", headers=payment.headers))
    eventually(lambda: records(shop.gateway, "store"))
    told.add(online(shop))
    redis.start()
    return [payment]


def online(shop: Deployment) -> str:
    done = tollway("check", "--online", "-c", str(shop.gateway.config_file))
    return done.stdout + done.stderr


def misconfigurations(shop: Deployment, told: Told) -> None:
    """Secrets in the wrong place, and a wrong password."""
    config = shop.gateway.config_file.read_text()
    wrong = config.replace(CANARY["redis"], CANARY["redis"] + "-but-wrong", 1)
    for text in (
        wrong,
        config.replace("redis://", "redis:/", 1),
        config.replace("Authorization:", "Authorization: x: ", 1),
        config.replace(shop.sender.key, shop.sender.key + "00", 1),
        config.replace("admin_token:", "admin_tokens:", 1),
    ):
        assert text != config
        shop.gateway.write(text)
        shop.gateway.reload()
        told.add(online(shop))
        done = tollway("check", "--json", "-c", str(shop.gateway.config_file))
        told.add(done.stdout, done.stderr)
    shop.gateway.write(config)
