"""Durations, sizes, addresses and URLs."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from gateway.settings.scalars import (
    Address,
    parse_address,
    parse_admin,
    parse_duration,
    parse_eth_address,
    parse_gwei,
    parse_http_url,
    parse_network_range,
    parse_rpc_url,
    parse_size,
    parse_store_url,
)

GOOD: list[tuple[Callable[[object], object], object, object]] = [
    (parse_duration, "250ms", 0.25),
    (parse_duration, "30s", 30.0),
    (parse_duration, "1.5m", 90.0),
    (parse_duration, "24h", 86400.0),
    (parse_size, "512B", 512),
    (parse_size, "64KiB", 65536),
    (parse_size, "10MiB", 10485760),
    (parse_size, "1GiB", 1 << 30),
    (parse_address, "127.0.0.1:8402", Address("127.0.0.1", 8402)),
    (parse_address, "[::1]:0", Address("::1", 0)),
    (parse_address, "localhost:65535", Address("localhost", 65535)),
    (parse_admin, "off", None),
    (parse_http_url, "http://a", "http://a"),
    (parse_http_url, "HTTPS://a:8/", "https://a:8"),
    (parse_http_url, "http://a/b/c/", "http://a/b/c"),
    (parse_rpc_url, "https://rpc.example/v2/key?x=1", "https://rpc.example/v2/key?x=1"),
    (parse_store_url, "embedded", "embedded"),
    (parse_store_url, "redis://h:6379/0", "redis://h:6379/0"),
    (parse_store_url, "rediss://u:p@h", "rediss://u:p@h"),
    (parse_store_url, "unix:///run/redis.sock", "unix:///run/redis.sock"),
    (parse_store_url, "redis+sentinel://a,b:26380/main", "redis+sentinel://a,b:26380/main"),
    (parse_eth_address, "0x" + "aB" * 20, "0x" + "aB" * 20),
    (parse_gwei, 50, Decimal(50)),
    (parse_gwei, "0.005", Decimal("0.005")),
]

BAD: list[tuple[Callable[[object], object], list[object]]] = [
    (parse_duration, ["30", 30, "30 s", "-1s", "0s", "1d", "1e3s", "400000h", "", None, "٣s"]),
    (parse_size, ["10", 10, "10MB", "10 MiB", "0B", "1.5MiB", "-1B", None]),
    (
        parse_address,
        ["8402", 8402, ":8402", "a", "a:", "a:b", "a:70000", "::1:80", "http://a:1", "a b:1", "a@b:1"],
    ),
    (parse_admin, ["on", "", False]),
    (
        parse_http_url,
        ["a", "//a", "ftp://a", "http://", "http://a?b", "http://a#b", "http://u:p@a", "http://a b"],
    ),
    (
        parse_http_url,
        ["http://a/../b", "http://a//b", "http://a/%2F", "http://a/%61", "http://é", "http://a:0", 1],
    ),
    (parse_rpc_url, ["ws://a", "a", "http://u:p@a", "http://a#b", "http://", "http://a b", None]),
    (
        parse_store_url,
        [
            "",
            "sqlite://a",
            "redis://",
            "redis:///0",
            "unix://a",
            "redis+sentinel://a",
            "redis://h:port",
            "redis://h/x",
            1,
        ],
    ),
    (parse_eth_address, ["0x12", "0X" + "a" * 40, "a" * 40, "0x" + "g" * 40, 0, "0x" + "a" * 41]),
    (parse_network_range, ["10.0.0.1/8", "a", 10, "::1/129"]),
    (parse_gwei, [0, -1, "0", "1e3", True, None, "x"]),
]


@pytest.mark.parametrize(("parse", "value", "parsed"), GOOD)
def test_good(parse: Callable[[object], object], value: object, parsed: object) -> None:
    """The forms that are written in configurations."""
    assert parse(value) == parsed


@pytest.mark.parametrize(("parse", "value"), [(parse, value) for parse, values in BAD for value in values])
def test_bad(parse: Callable[[object], object], value: object) -> None:
    """Everything else; the value is not repeated, it may be a secret."""
    with pytest.raises(ValueError, match=r"must|has a|names no service|cannot be read") as caught:
        parse(value)
    assert len(str(value)) < 9 or str(value) not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("a", False),
    ],
)
def test_loopback(host: str, loopback: bool) -> None:
    """Whether only this machine can reach an address."""
    assert Address(host, 1).loopback is loopback


def test_addresses_are_written_as_they_are_read() -> None:
    """Brackets around IPv6."""
    assert [str(parse_address(text)) for text in ("[::1]:80", "a:80")] == ["[::1]:80", "a:80"]
