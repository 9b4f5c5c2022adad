"""The request target: what was matched is what the upstream gets, byte for byte."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kit.anvil import Anvil
from kit.deployment import Deployment, deployed
from kit.dialogue import Dialogue, request

FundedAccount = Callable[..., Any]
QUERIES = [
    "?",
    "?a",
    "?a=",
    "?&&",
    "?a=1&&b=2&",
    "?a=%zz&b=[]|{}'\"<>",
    "?q=a+b%20c",
    "?q=%C3%BC%e2%82%ac",
    "?q=%c3%bc&q=%C3%BC",
    "?x=/../..//&y=http://h/?z",
    "??",
    "?a=\\`^",
    "?%00%0d%0aX:1",
    "?" + "a" * 8000,
]
PATHS = ["/a", "/a/", "/a%20b", "/%C3%BC", "/a:b@c,d=e", "/a+b", "/~-_.x", "/(x)!*'$&"]


@pytest.fixture(scope="module")
def plain(anvil: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed(anvil, tmp_path_factory.mktemp("gateway")) as deployment:
        yield deployment


def status(deployment: Deployment, data: bytes) -> int:
    with Dialogue(deployment.url) as client:
        return client.say(data).whole().status


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query[:24])
def test_a_query_is_kept(query: str, plain: Deployment) -> None:
    assert status(plain, request("GET", f"/free/q{query}")) == 200
    assert plain.upstream.last().target == f"/free/q{query}"


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query[:24])
def test_a_query_that_is_paid_for_is_kept(
    query: str, plain: Deployment, funded_account: FundedAccount
) -> None:
    payment = plain.sign("/v1/q", funded_account())
    assert status(plain, request("GET", f"/v1/q{query}", payment.headers)) == 200
    assert plain.upstream.last().target == f"/v1/q{query}"


@pytest.mark.parametrize("path", PATHS)
def test_a_canonical_path_is_kept(path: str, plain: Deployment) -> None:
    assert status(plain, request("GET", f"/free{path}?p=1")) == 200
    assert plain.upstream.last().target == f"/free{path}?p=1"


def test_the_absolute_form_is_its_origin_form(plain: Deployment) -> None:
    assert status(plain, request("GET", "http://GW.test:80/free/abs?x")) == 200
    assert plain.upstream.last().target == "/free/abs?x"
    assert status(plain, request("GET", "http://elsewhere/free/abs")) == 400


def test_a_payment_is_bound_to_the_query(plain: Deployment, funded_account: FundedAccount) -> None:
    """The bare question mark is another request, too: another upstream may answer it differently."""
    payment = plain.sign("/v1/bound", funded_account())
    assert status(plain, request("GET", "/v1/bound?a=1", payment.headers)) == 200
    for query in ("", "?", "?a=1&", "?a=%31"):
        assert status(plain, request("GET", f"/v1/bound{query}", payment.headers)) == 409


def test_a_base_path_comes_first(plain: Deployment) -> None:
    config = yaml.safe_load(Path(plain.gateway.config_file).read_text())
    kept = Path(plain.gateway.config_file).read_text()
    config["upstreams"]["api"]["url"] += "/base/v2/"
    plain.gateway.write(config)
    plain.gateway.stop()
    plain.gateway.start()
    try:
        for query in ("", "?", "?a=b"):
            assert status(plain, request("GET", f"/free/x{query}")) == 200
            assert plain.upstream.last().target == f"/base/v2/free/x{query}"
    finally:
        plain.gateway.write(kept)
        plain.gateway.stop()
        plain.gateway.start()


@pytest.mark.parametrize(
    "method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "PROPFIND", "REPORT", "PURGE"]
)
def test_a_method_is_kept(method: str, plain: Deployment) -> None:
    with Dialogue(plain.url) as client:
        assert client.ask(method, "/free/method").whole(method).status == 200
    assert plain.upstream.last().method == method


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "get", "Get", "BREW-IT"])
def test_other_methods_are_refused(method: str, plain: Deployment) -> None:
    plain.upstream.forget()
    with Dialogue(plain.url) as client:
        assert client.ask(method, "/free/method").whole().status in (400, 405, 501)
    assert plain.upstream.count() == 0
