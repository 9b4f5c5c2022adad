"""What `tollway check` and `tollway quote` say."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.check import quote, route_rows
from gateway.settings import Settings, load

TEXT = """\
networks: {base-sepolia: {rpc: "http://127.0.0.1:8545"}, polygon: {rpc: "http://127.0.0.1:8546"}}
upstreams: {api: {url: "http://127.0.0.1:9000"}}
rails:
  x402:
    pay_to: 0x70997970C51812dc3A010C7d01b50e0d17dc79C8
    networks: [base-sepolia, polygon]
    facilitator: {key: 0xabababababababababababababababababababababababababababababababab}
unmatched: {free: api}
routes:
  - {match: GET /a, price: $0.01}
  - {match: POST /a, price: {when: [{body.model: "big*", price: $0.05}], else: $0.01}}
  - {match: {method: GET, path: /s, query: {pro: 1}}, price: $0.05}
  - {match: GET /s, price: $0.02}
  - {match: {method: POST, path: /s, body: {pro: 1}}, price: $0.02}
  - {match: GET /free, price: free}
"""
JSON = [("Content-Type", "application/json")]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A small shop on two networks."""
    file: Path = tmp_path_factory.mktemp("check") / "gateway.yaml"
    file.write_text(TEXT)
    return load(file, {})


def test_rows(settings: Settings) -> None:
    """Every route, and what becomes of the rest."""
    rows = route_rows(settings)
    assert rows[0] == {"route": "GET /a", "rails": "x402", "price": "$0.01", "upstream": "api"}
    assert rows[1]["price"] == "$0.05 when body.model=big*; else $0.01"
    assert rows[5] == {"route": "GET /free", "rails": "-", "price": "free", "upstream": "api"}
    assert rows[6] == {"route": "unmatched", "rails": "-", "price": "free", "upstream": "api"}
    assert len(rows) == 7


def test_quote(settings: Settings) -> None:
    """The route, and the price on each network in both units."""
    explained = quote(settings, "GET", "/a?x=1")
    assert (explained.status, explained.route, explained.price) == (402, "GET /a", "$0.01")
    assert [(each.network, each.amount, each.human) for each in explained.offers] == [
        ("base-sepolia", 10_000, "0.01 USDC"),
        ("polygon", 10_000, "0.01 USDC"),
    ]
    assert list(explained.lines())[:3] == [
        "GET /a?x=1",
        "  route GET /a -> api",
        "  price $0.01, one price for every request",
    ]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "why"),
    [
        ("GET", "/free", None, 200, "forwarded without payment"),
        ("GET", "/other", None, 200, "forwarded without payment"),
        ("GET", "/A", None, 404, "no_route: the path is a look-alike of the paid route GET /a"),
        ("PUT", "/a", None, 405, "method_not_allowed: the path is served to GET, HEAD, POST"),
        ("GET", "/a/../b", None, 400, "bad_target: the path has a dot segment"),
        (
            "GET",
            "/s",
            None,
            400,
            "ambiguous_price: route GET /s query.pro=1 compares a value that is missing",
        ),
        ("GET", "/s?pro=1", None, 402, "one price for every request"),
        ("POST", "/s", None, 402, "route POST /s body.pro=1 reads the request body: give one to tell"),
        ("POST", "/a", None, 402, "the price depends on the request body: $0.05 when"),
        ("POST", "/a", b'{"model": "bigger"}', 402, "because body.model=big*"),
        ("POST", "/a", b"{}", 400, "ambiguous_price: the price depends on body.model, which is missing"),
    ],
)
def test_why(settings: Settings, method: str, path: str, body: bytes | None, status: int, why: str) -> None:
    """What an unpaid request would be answered, and the reason."""
    explained = quote(settings, method, path, headers=JSON, body=body)
    assert explained.status == status
    assert explained.why.startswith(why)


def test_what_was_passed_over(settings: Settings) -> None:
    """Every candidate that did not take the request, with its reason."""
    explained = quote(settings, "GET", "/s?pro=0")
    assert explained.passed == (("GET /s query.pro=1", "wants query.pro=1"),)
    assert "  not GET /s query.pro=1: wants query.pro=1" in list(explained.lines())


WALLETS = TEXT.replace("rails:\n", "rails:\n  conxa: {api_key: pk_live_acme_x}\n").replace(
    "  - {match: GET /free",
    """\
  - {match: POST /chat, price: $0.02, conxa: {meter: openai}}
  - {match: POST /chat2, price: $0.02, accept: conxa, conxa: {meter: gemini, model: pro}}
  - {match: POST /draw, price: $5, accept: conxa, conxa: {model: image, input_tokens: 100, output_tokens: 3}}
  - {match: GET /free""",
)


@pytest.fixture(scope="module")
def wallets(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The same shop, which also takes CONXA."""
    file: Path = tmp_path_factory.mktemp("wallets") / "gateway.yaml"
    file.write_text(WALLETS)
    return load(file, {})


def test_rows_say_what_a_wallet_is_charged(wallets: Settings) -> None:
    """The price and the tokens, or only the tokens where only wallets pay."""
    told = {row["route"]: (row["rails"], row["price"]) for row in route_rows(wallets)}
    assert told["GET /a"] == ("x402", "$0.01")
    assert told["POST /chat"] == ("x402, conxa", "$0.02 or tokens by openai usage")
    assert told["POST /chat2"] == ("conxa", "tokens of pro by gemini usage")
    assert told["POST /draw"] == ("conxa", "100+3 tokens of image")


def test_a_quote_for_a_wallet(wallets: Settings) -> None:
    """Beside the other rails' prices; a price only wallets could pay is not asked for."""
    both = list(quote(wallets, "POST", "/chat").lines())
    assert both[2] == "  price $0.02, one price for every request" and len(both) == 6
    assert both[-1] == (
        "  conxa: tokens by openai usage, charged after the answer to the wallet connected by "
        "X-Tollway-Connection"
    )
    assert list(quote(wallets, "POST", "/draw").lines())[2:] == [
        "  price $5, which nobody is asked for: it only counts towards `exposure`",
        "  conxa: 100 input and 3 output tokens of image, charged after the answer to the wallet "
        "connected by X-Tollway-Connection",
    ]
    assert quote(wallets, "GET", "/free").charge is None
