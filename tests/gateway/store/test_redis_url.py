"""Redis URLs and what INFO says, without a server."""

from __future__ import annotations

import ssl

import pytest

from gateway.errors import StoreUnfit
from gateway.store import redis_fitness
from gateway.store.redis_url import Address, Login, parse, show

NOBODY = Login(None, None)
FIT = (
    b"# Server\r\nredis_version:7.2.4\r\nredis_mode:standalone\r\n\r\nrole:master\r\n"
    b"aof_enabled:1\r\nmaxmemory_policy:noeviction\r\n"
)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://h", Address((("h", 6379),), NOBODY)),
        ("redis://", Address((("localhost", 6379),), NOBODY)),
        ("redis://h:7/2", Address((("h", 7),), NOBODY, 2)),
        ("redis://h:7?db=3", Address((("h", 7),), NOBODY, 3)),
        ("redis://[::1]:7/0", Address((("::1", 7),), NOBODY)),
        ("redis://:p%40ss@h", Address((("h", 6379),), Login(None, "p@ss"))),
        ("redis://u:p:q@h", Address((("h", 6379),), Login("u", "p:q"))),
        ("unix:///run/redis.sock?db=1", Address(("/run/redis.sock",), NOBODY, 1)),
        ("unix://u:p@/run/r%20s", Address(("/run/r s",), Login("u", "p"))),
        (
            "redis+sentinel://u:p@a:1,b/pay/4?sentinel_password=s",
            Address((("a", 1), ("b", 26379)), Login("u", "p"), 4, "pay", Login(None, "s")),
        ),
    ],
)
def test_urls(url: str, address: Address) -> None:
    assert parse(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "http://h",
        "redis",
        "redis://h:port",
        "redis://h/zero",
        "redis://h?retry=1",
        "redis://[::1",
        "redis+sentinel://h:1",
        "rediss://h?ssl_ca_certs=/none",
        "redis://u:canary@h:99999",
    ],
)
def test_bad_urls(url: str) -> None:
    with pytest.raises(StoreUnfit) as caught:
        parse(url)
    assert "canary" not in str(caught.value)


def test_tls() -> None:
    address = parse("rediss://h:7")
    assert address.tls is not None and address.tls.verify_mode is ssl.CERT_REQUIRED
    lax = parse("rediss://h:7?ssl_cert_reqs=none")
    assert lax.tls is not None and lax.tls.verify_mode is ssl.CERT_NONE


def test_secrets_are_not_shown() -> None:
    address = parse("redis+sentinel://user:canary@h/pay?sentinel_password=canary")
    assert "canary" not in repr(address)
    assert show(("h", 1)) == "h:1"
    assert show("/run/redis.sock") == "/run/redis.sock"


def test_a_fit_server() -> None:
    redis_fitness.check(FIT, strict=True)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ((b"7.2.4", b"6.0.16"), "too old"),
        ((b"7.2.4", b"?"), "too old"),
        ((b"standalone", b"cluster"), "cluster mode"),
        ((b"master", b"slave"), "replica"),
        ((b"aof_enabled:1", b"aof_enabled:0"), "appendonly yes"),
        ((b"aof_enabled:1\r\n", b""), "appendonly yes"),
        ((b"noeviction", b"allkeys-lfu"), "noeviction"),
    ],
)
def test_unfit_servers(change: tuple[bytes, bytes], says: str) -> None:
    info = FIT.replace(*change)
    with pytest.raises(StoreUnfit, match=says):
        redis_fitness.check(info, strict=True)


def test_accept_loss_is_about_durability_only() -> None:
    lossy = FIT.replace(b"aof_enabled:1", b"aof_enabled:0").replace(b"noeviction", b"allkeys-lru")
    redis_fitness.check(lossy, strict=False)
    with pytest.raises(StoreUnfit):
        redis_fitness.check(lossy.replace(b"master", b"slave"), strict=False)
