"""What an upstream is told: where to, from whom, and what the operator added."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from facilitator.http1.pool import Pool
from gateway.accept import Forwarded, Incoming
from gateway.headers import Field
from gateway.settings import Upstream
from gateway.way import Way
from policies.target import canonical


def way(**upstream: Any) -> Way:
    known = {"timeout": 1.0, "connect_timeout": 1.0, "host": "upstream", "headers": {}, **upstream}
    return Way(Upstream(name="api", **{"url": "http://api.test:9000/base", **known}), "tollway-1", Pool())


def incoming(*fields: Field, host: str = "gw.test", trusted: bool = False, path: str = "/x") -> Incoming:
    raw: Any = SimpleNamespace(content_length=None)
    origin = Forwarded("203.0.113.9", "http", host, trusted)
    return Incoming(raw, "GET", canonical(path), host, fields, origin, "id-1")


def header(
    *fields: Field, extra: Sequence[Field] = (), host: str = "gw.test", trusted: bool = False, **upstream: Any
) -> dict[str, str]:
    block = way(**upstream).block(incoming(*fields, host=host, trusted=trusted), extra)
    lines = block.decode().split("\r\n")
    assert lines.pop() == ""
    pairs = [line.partition(": ") for line in lines]
    found = {name: value for name, _, value in pairs}
    assert len(found) == len(pairs), "nothing twice"
    return found


def test_what_every_request_carries() -> None:
    assert header() == {
        "Host": "api.test:9000",
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "gw.test",
        "X-Request-Id": "id-1",
        "Via": "1.1 tollway-1",
    }


def test_the_host() -> None:
    assert header(host="other")["Host"] == "api.test:9000"
    assert header(host="gw.test", url="https://api.test:443")["Host"] == "api.test"


def test_a_client_without_a_host() -> None:
    """HTTP/1.0: even ``host: preserve`` has nothing to preserve."""
    sent = header(host="")
    assert sent["Host"] == "api.test:9000" and "X-Forwarded-Host" not in sent


def test_a_trusted_peers_other_fields_pass() -> None:
    fields = [(b"X-Forwarded-Port", b"443"), (b"X-Forwarded-For", b"1.2.3.4"), (b"Forwarded", b"for=1.2.3.4")]
    assert header(*fields, trusted=True)["X-Forwarded-Port"] == "443"
    assert header(*fields, trusted=True)["X-Forwarded-For"] == "203.0.113.9"
    assert "Forwarded" not in header(*fields, trusted=True)
    assert "X-Forwarded-Port" not in header(*fields)


def test_what_the_operator_set_is_the_only_one() -> None:
    secret = {"Authorization": "Bearer s", "X-Request-Id": "fixed", "X-Tollway-Payer": "nobody"}
    client = [(b"authorization", b"mine"), (b"Accept", b"a")]
    sent = header(*client, extra=[(b"X-Tollway-Payer", b"0x1")], headers=secret)
    assert {**sent, **secret} == sent and "authorization" not in sent and sent["Accept"] == "a"


def test_what_is_added_replaces_what_the_client_said() -> None:
    sent = header((b"accept-encoding", b"br"), extra=[(b"Accept-Encoding", b"gzip")])
    assert sent["Accept-Encoding"] == "gzip" and "accept-encoding" not in sent


@pytest.mark.parametrize(
    ("url", "path", "target"),
    [
        ("http://a", "/x?y=1", "/x?y=1"),
        ("http://a/", "/x?", "/x?"),
        ("http://a/base", "/", "/base/"),
        ("http://a/base", "/b%2Fc?d=%20", "/base/b%2Fc?d=%20"),
    ],
)
def test_the_target(url: str, path: str, target: str) -> None:
    assert way(url=url).target(incoming(path=path)) == target
