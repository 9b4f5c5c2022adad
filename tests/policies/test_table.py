"""The route table: first match wins, and nothing unclear leads to a cheaper answer."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict

from policies.condition import Condition, condition
from policies.facts import RequestFacts
from policies.price import AmbiguousPrice, parse_price
from policies.route import Route, parse_pattern, with_head
from policies.table import MethodNotAllowed, NeedsBody, NoRoute, Outcome, RouteTable
from policies.target import BadTarget, canonical, origin_form, valid_authority

CORPUS = Path(__file__).parents[1] / "corpus" / "path.jsonl"


def route(
    match: str, price: object = "free", *conditions: Condition, name: str = "", **options: Any
) -> Route:
    """A route from its match string, sent to one upstream."""
    methods, path = match.split()
    takes = None if methods == "*" else with_head(frozenset(methods.split(",")))
    return Route(
        name or match, parse_pattern(path), "up", takes, None, conditions, parse_price(price), **options
    )


def facts(request: str, body: bytes | None = None, host: str = "gw.test", **headers: str) -> RequestFacts:
    """A request from its request line."""
    method, raw = request.split(" ", 1)
    fields = CIMultiDict((name.replace("_", "-"), value) for name, value in headers.items())
    if body:
        fields.setdefault("Content-Type", "application/json")
    return RequestFacts(method, host, canonical(raw), fields, body)


def taken(table: RouteTable, request: str, body: bytes | None = None, **options: str) -> str | Outcome:
    """The name of the route that takes a request, or why there is none."""
    outcome = table.match(facts(request, body, **options))
    return outcome.name if isinstance(outcome, Route) else outcome


CATCH_ALL = Route("unmatched", parse_pattern("/**"), "up")
SHOP = [
    route("GET /paid/item", "$0.01", name="A"),
    route("POST /paid/item", "$0.02", name="B"),
    route("GET /paid/tree/**", "$0.03", name="C"),
    route("GET /user/{id}/report", "$0.04", name="D"),
    route("* /free/**", name="FREE"),
]


def judge(row: dict[str, Any], table: RouteTable) -> str:
    """What the gateway would make of a corpus row: the route's name, or REJECT."""
    headers = CIMultiDict(row["headers"])
    host = headers.get("Host", "gw.test")
    assert valid_authority(host)
    if row["method"] in ("TRACE", "CONNECT"):
        return "REJECT"
    raw = row["path"]
    try:
        target = canonical(raw if raw.startswith("/") else origin_form(raw, host))
        outcome = table.match(RequestFacts(row["method"], host, target, headers, b""))
    except BadTarget:
        return "REJECT"
    return outcome.name if isinstance(outcome, Route) else "REJECT"


def corpus() -> list[dict[str, Any]]:
    """Every row of the path corpus."""
    return [json.loads(line) for line in CORPUS.read_text().splitlines()]


@pytest.mark.parametrize("unmatched", [None, CATCH_ALL], ids=["deny", "unmatched free"])
@pytest.mark.parametrize("row", corpus(), ids=lambda row: row["id"])
def test_path_corpus(row: dict[str, Any], unmatched: Route | None) -> None:
    """Every row as it expects; aliases are not served free either where the rest is free."""
    got = judge(row, RouteTable(SHOP, unmatched))
    expect = row["expect"]
    if expect.startswith("PAY_"):
        assert got == expect[4:]
    elif expect.startswith("SAFE:"):
        assert got in (expect[5:], "REJECT") or (unmatched and row["id"] in UNRELATED)
    elif expect == "FREE":
        assert got == "FREE"
    else:
        assert got == "REJECT" or (unmatched and row["id"] in UNRELATED)


UNRELATED = {"path-tree-06"}
"""Rows about another resource than the paid one: theirs is the rest's fate."""


ALIASES = [
    "/PAID/ITEM",
    "/paid/item/",
    "/paid/item.",
    "/paid/item.json",
    "/paid/item%20",
    "/paid/item%09".replace("%09", "%20%20"),
    "/paid/item::$DATA",
    "/paid/item:80",
    "/paid/item~",
    "/paid%E2%88%95item",
    "/paid%EF%BC%8Fitem",
    "/%EF%BC%B0aid/item",
    "/paid/ite%E2%80%8Dm",
    "/paid/item%E2%80%8B",
    "/paid/%C4%B0tem",
    "/free/x%EF%BC%8F..%EF%BC%8F..%EF%BC%8Fpaid/item",
    "/free/%EF%BC%8E%EF%BC%8E/paid/item",
    "/user/42/REPORT",
    "/User/42/report/",
    "/paid./tree/x",
    "/paid/Tree/x",
]


@pytest.mark.parametrize("unmatched", [None, CATCH_ALL], ids=["deny", "unmatched free"])
@pytest.mark.parametrize("path", ALIASES)
def test_look_alikes_are_never_forwarded(path: str, unmatched: Route | None) -> None:
    """Neither by a free route nor as unmatched."""
    assert isinstance(RouteTable(SHOP, unmatched).match(facts(f"GET {path}")), NoRoute)


def test_look_alikes_are_refused_on_free_routes_after_and_before() -> None:
    """A free catch-all does not serve a paid route's other spellings, whichever comes first."""
    rest = route("* /**", name="rest")
    after = RouteTable([*SHOP, rest])
    for path in ALIASES:
        assert isinstance(after.match(facts(f"GET {path}")), NoRoute), path
    assert taken(after, "GET /paid/items") == "rest"
    assert taken(after, "GET /free/x") == "FREE"


def test_a_cheap_route_is_no_way_to_a_dear_one() -> None:
    """The case of a name decides no price."""
    table = RouteTable(
        [route("POST /v1/gpt4", "$1", name="dear"), route("POST /v1/{model}", "$0.01", name="cheap")]
    )
    assert taken(table, "POST /v1/gpt4") == "dear"
    assert taken(table, "POST /v1/gpt3") == "cheap"
    for alias in ("GPT4", "gpt4.", "gpt4;x", "gpt4/", "%67pt4%20"):
        outcome: object
        try:
            outcome = table.match(facts(f"POST /v1/{alias}"))
        except BadTarget:
            continue
        assert isinstance(outcome, NoRoute), alias


def test_equal_prices_are_no_bargain() -> None:
    """With and without a trailing slash at one price: both are served."""
    table = RouteTable([route("GET /a", "$1", name="a"), route("GET /a/", "$1", name="b")])
    assert taken(table, "GET /a") == "a"
    assert taken(table, "GET /a/") == "b"


def test_first_match_wins() -> None:
    """In the order of the file."""
    table = RouteTable([route("GET /a/b", name="1"), route("GET /a/{x}", name="2"), route("* /**", name="3")])
    assert [taken(table, f"GET {path}") for path in ("/a/b", "/a/c", "/a/b/c", "/")] == ["1", "2", "3", "3"]
    assert taken(table, "POST /a/b") == "3"


def test_methods() -> None:
    """HEAD at GET's price; other methods are told which ones are served."""
    table = RouteTable(SHOP)
    assert taken(table, "HEAD /paid/item") == "A"
    assert taken(table, "PUT /paid/item") == MethodNotAllowed(("GET", "HEAD", "POST"))
    assert taken(table, "OPTIONS /paid/item") == MethodNotAllowed(("GET", "HEAD", "POST"))
    assert isinstance(taken(RouteTable([route("* /x", "$1")]), "OPTIONS /x"), MethodNotAllowed)


def test_methods_some_server_would_upper_case() -> None:
    """`get` must not find a free way to what GET pays for."""
    table = RouteTable([*SHOP, route("* /**", name="rest")], CATCH_ALL)
    assert isinstance(taken(table, "get /paid/item"), MethodNotAllowed)
    assert isinstance(taken(table, "gEt /PAID/item"), NoRoute)
    assert taken(table, "PROPFIND /paid/item") == "rest"


def test_unmatched() -> None:
    """What no route takes is free, but not another method of a paid path."""
    table = RouteTable([route("GET /paid", "$1"), route("GET /free")], CATCH_ALL)
    assert taken(table, "GET /other") == "unmatched"
    assert taken(table, "POST /free") == "unmatched"
    assert isinstance(taken(table, "POST /paid"), MethodNotAllowed)
    assert isinstance(taken(table, "POST /PAID"), NoRoute)


def test_hosts() -> None:
    """Names compare without case, port and final dot, unless the route names a port."""
    table = RouteTable(
        [
            Route("a", parse_pattern("/"), "up", host="a.test"),
            Route("b", parse_pattern("/"), "up", host="b.test:81"),
        ]
    )
    assert taken(table, "GET /", host="A.test:8402") == "a"
    assert taken(table, "GET /", host="a.test.") == "a"
    assert taken(table, "GET /", host="b.test:81") == "b"
    assert isinstance(taken(table, "GET /", host="b.test"), NoRoute)
    assert isinstance(taken(table, "GET /", host=""), NoRoute)


@pytest.mark.parametrize(
    ("path", "classes"),
    [
        ("/x/a%2Fb", {"slash"}),
        ("/x/a%25", {"percent"}),
        ("/x/a;b", {"semicolon"}),
        ("/x/a%3Bb", {"semicolon"}),
    ],
)
def test_encodings_need_an_opt_in(path: str, classes: set[str]) -> None:
    """The first route that matches must accept them; without one there is no canonical target."""
    opted = route("GET /x/{a}", allow_encoded=frozenset(classes))
    assert taken(RouteTable([opted]), f"GET {path}") == opted.name
    for table in (RouteTable([route("GET /x/{a}"), opted]), RouteTable([]), RouteTable([], CATCH_ALL)):
        with pytest.raises(BadTarget):
            table.match(facts(f"GET {path}"))


def test_an_encoded_slash_is_no_way_into_a_paid_tree() -> None:
    """Opting in on a free route does not open what a decoding upstream finds behind it."""
    free = route("GET /files/{name}", name="free", allow_encoded=frozenset({"slash"}))
    table = RouteTable([free, route("GET /files/paid/{x}", "$1", name="paid")])
    assert taken(table, "GET /files/a%2Fb") == "free"
    assert isinstance(taken(table, "GET /files/paid%2Fb"), NoRoute)


def test_conditions() -> None:
    """A clear no goes on to the next route."""
    pro = route("GET /s", "$0.05", condition("query", "pro", "1"), name="pro")
    table = RouteTable([pro, route("GET /s", "$0.01", name="basic")])
    assert taken(table, "GET /s?pro=1") == "pro"
    assert taken(table, "GET /s?pro=0") == "basic"
    for query in ("", "?pro=1&pro=0", "?PRO=1", "?pro=%ff"):
        with pytest.raises(AmbiguousPrice):
            table.match(facts(f"GET /s{query}"))


def test_a_missing_value_may_lead_to_a_dearer_route() -> None:
    """Or to none at all; only never to a cheaper one."""
    cheap = route("GET /s", "$0.01", condition("headers", "X-Plan", "basic"), name="cheap")
    table = RouteTable([cheap, route("GET /s", "$0.05", name="dear")])
    assert taken(table, "GET /s") == "dear"
    assert taken(table, "GET /s", X_Plan="basic") == "cheap"
    assert isinstance(taken(RouteTable([cheap]), "GET /s"), NoRoute)
    with pytest.raises(AmbiguousPrice):
        RouteTable([cheap], CATCH_ALL).match(facts("GET /s"))


def test_a_body_is_read_only_where_a_candidate_reads_it() -> None:
    """The caller reads the body and asks again."""
    chat = route("POST /chat", "$0.05", condition("body", "model", "gpt-4*"), name="chat")
    table = RouteTable(
        [route("POST /plain", "$1", name="plain"), chat, route("POST /chat", "$0.01", name="other")]
    )
    assert taken(table, "POST /plain") == "plain"
    assert taken(table, "POST /chat") == NeedsBody(chat)
    assert taken(table, "POST /chat", b'{"model": "gpt-4o"}') == "chat"
    assert taken(table, "POST /chat", b'{"model": "llama"}') == "other"
    for body in (b"", b"{}", b'{"model": "GPT-4"}', b'{"model":"a","model":"gpt-4"}'):
        with pytest.raises(AmbiguousPrice):
            table.match(facts("POST /chat", body))


def test_priced() -> None:
    """For preflights: is anything at this path paid, whatever the method?"""
    table = RouteTable(SHOP)
    assert table.priced(canonical("/paid/item"))
    assert table.priced(canonical("/user/1/report?x"))
    assert not table.priced(canonical("/free/x"))
    assert not table.priced(canonical("/nowhere"))


def test_explain() -> None:
    """What was passed over, and why."""
    pro = route("GET /s", "$0.05", condition("query", "pro", "1"), name="pro")
    table = RouteTable([route("POST /s", name="post"), pro, route("GET /s", "$0.01", name="basic")])
    explanation = table.explain(facts("GET /s?pro=0"))
    assert explanation.outcome is table.routes[2]
    assert explanation.passed == (("post", "does not take GET"), ("pro", "wants query.pro=1"))


def test_long_targets_are_matched_in_linear_time() -> None:
    """A long path costs no more than its length."""
    table = RouteTable(SHOP)
    target = "GET /paid/tree/" + "/".join(["a"] * 4000) + "/%C3%A9!"
    started = time.perf_counter()
    assert taken(table, target) == "C"
    assert time.perf_counter() - started < 0.25
