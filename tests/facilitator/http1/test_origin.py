"""Where URLs lead."""

from __future__ import annotations

import pytest

from facilitator.http1.origin import Origin


@pytest.mark.parametrize(
    ("url", "host", "port", "tls", "authority"),
    [
        ("http://api.test", "api.test", 80, False, "api.test"),
        ("http://API.test:80/base", "api.test", 80, False, "api.test"),
        ("https://api.test:80", "api.test", 80, True, "api.test:80"),
        ("https://api.test", "api.test", 443, True, "api.test"),
        ("http://[::1]:8080", "::1", 8080, False, "[::1]:8080"),
        ("https://bücher.test", "xn--bcher-kva.test", 443, True, "xn--bcher-kva.test"),
    ],
)
def test_origins(url: str, host: str, port: int, tls: bool, authority: str) -> None:
    origin = Origin.of(url)
    assert (origin.host, origin.port, origin.tls, origin.authority) == (host, port, tls, authority)


@pytest.mark.parametrize("url", ["ftp://a", "http://", "//a", "a", "http://a:99999"])
def test_no_origin(url: str) -> None:
    with pytest.raises(ValueError):
        Origin.of(url)


def test_addresses_need_no_resolving() -> None:
    assert Origin.of("http://127.0.0.1").literal and Origin.of("http://[fe80::1]").literal
    assert not Origin.of("http://localhost").literal
