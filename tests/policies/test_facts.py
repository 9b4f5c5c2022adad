"""What rules read: only what has one meaning."""

from __future__ import annotations

import sys
import time

import pytest
from multidict import CIMultiDict

from policies.facts import AMBIGUOUS, MISSING, RequestFacts, Unclear
from policies.target import canonical


def facts(query: str = "", body: bytes | None = None, **headers: str) -> RequestFacts:
    """A request with a query, a body and headers."""
    fields = CIMultiDict((name.replace("_", "-"), value) for name, value in headers.items())
    if body is not None and "Content-Type" not in fields:
        fields["Content-Type"] = "application/json"
    return RequestFacts("POST", "gw.test", canonical(f"/x?{query}"), fields, body)


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("size=large", "large"),
        ("a=1&size=large&b", "large"),
        ("%73ize=l%61rge", "large"),
        ("size=a+b%2Bc", "a b+c"),
        ("size", ""),
        ("size=", ""),
        ("size=a=b", "a=b"),
        ("", MISSING),
        ("sizes=large", MISSING),
        ("size=1&size=2", AMBIGUOUS),
        ("size=1&size=1", AMBIGUOUS),
        ("size=1&%73ize=2", AMBIGUOUS),
        ("size=1&Size=2", AMBIGUOUS),
        ("SIZE=1", AMBIGUOUS),
        ("size=1&size[]=2", AMBIGUOUS),
        ("size[0]=1", AMBIGUOUS),
        ("size=1&%20size=2", AMBIGUOUS),
        ("size=small;size=large", AMBIGUOUS),
        ("size=small&x=1;size=large", AMBIGUOUS),
        ("x=1;size=large", AMBIGUOUS),
        ("size=1&y=a;b", "1"),
        ("size=%", AMBIGUOUS),
        ("size=%ff", AMBIGUOUS),
        ("size=1&%ff=2", AMBIGUOUS),
        ("size=1%00", AMBIGUOUS),
        ("size%00=1", AMBIGUOUS),
    ],
)
def test_query(query: str, value: str | Unclear) -> None:
    """Names are percent-decoded; no name counts twice, however it is spelled."""
    assert facts(query).query("size") == value


def test_php_names() -> None:
    """Dots and spaces become underscores for some servers."""
    assert facts("max_size=1&max.size=2").query("max_size") is AMBIGUOUS


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": {"model": "gpt-4"}}', "gpt-4"),
        (b'{"a": {"model": "line\\nbreak"}}', "line\nbreak"),
        (b'{"a": {"model": true}}', "true"),
        (b'{"a": {"model": 12}}', "12"),
        (b'{"a": {"model": 12.50}}', "12.5"),
        (b'{"a": {"model": 12.0}}', "12"),
        (b'{"a": {"model": -0.0}}', "0"),
        (b"", MISSING),
        (b"{}", MISSING),
        (b'{"a": null}', MISSING),
        (b'{"a": {"model": null}}', MISSING),
        (b'{"a": {"model": 1e3}}', AMBIGUOUS),
        (b'{"a": {"model": 1e999999999}}', AMBIGUOUS),
        (b'{"a": {"model": NaN}}', AMBIGUOUS),
        (b'{"a": {"model": ["gpt-4"]}}', AMBIGUOUS),
        (b'{"a": {"model": {}}}', AMBIGUOUS),
        (b'{"a": [{"model": "gpt-4"}]}', AMBIGUOUS),
        (b'{"a": {"model": "x", "model": "y"}}', AMBIGUOUS),
        (b'{"a": {"model": "x", "mod\\u0065l": "y"}}', AMBIGUOUS),
        (b'{"a": {"model": "x", "Model": "y"}}', AMBIGUOUS),
        (b'{"a": {"Model": "y"}}', AMBIGUOUS),
        (b'{"a": {"model": "x"}, "z": [{"k": 1, "k": 2}]}', AMBIGUOUS),
        (b'\xef\xbb\xbf{"a": {"model": "x"}}', AMBIGUOUS),
        ('{"a": {"model": "x"}}'.encode("utf-16"), AMBIGUOUS),
        (b'{"a": {"model": "\xff"}}', AMBIGUOUS),
        (b'{"a": {"model": "\\ud800"}}', AMBIGUOUS),
        (b'{"a": {"model": "a\\u0000b"}}', AMBIGUOUS),
        (b'{"a": {"model": "x"}} {}', AMBIGUOUS),
        (b"model=x", AMBIGUOUS),
        (b'"x"', AMBIGUOUS),
        (b"[" * 100_000, AMBIGUOUS),
        (b'{"a": {"model": "[[[[\\"{{{"}}', '[[[["{{{'),
        (b'{"a": {"model": "x}}', AMBIGUOUS),
        (b'{"a": {"model": "x"]]', AMBIGUOUS),
        (b'{"a": {"model": ' + b"9" * 5000 + b"}}", AMBIGUOUS),
    ],
)
def test_body(body: bytes, value: str | Unclear) -> None:
    """RFC 8259 read strictly: parsers differ on everything else."""
    assert facts(body=body).json(["a", "model"]) == value


@pytest.mark.parametrize(("depth", "clear"), [(64, True), (65, False)], ids=["at the limit", "beyond"])
def test_depth(depth: int, clear: bool) -> None:
    """Objects and lists nest at most 64 deep, the outermost included."""
    body = b'{"model": "x", "deep": ' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"
    assert (facts(body=body).json(["model"]) == "x") is clear


def test_deep_bodies_do_not_overflow_the_stack() -> None:
    """Not even where a library (py_ecc does) has raised the recursion limit."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000_000)
    try:
        for opening, closing in ((b"[", b"]"), (b'{"a":', b"}"), (b'["",', b"]")):
            assert facts(body=opening * 300_000 + b"1" + closing * 300_000).json(["a"]) is AMBIGUOUS
    finally:
        sys.setrecursionlimit(limit)


@pytest.mark.parametrize("piece", [b"[", b"[]", b'""[]', b'"', b'"\\', b"{", b'["a"],', b"1,"])
def test_expensive_bodies(piece: bytes) -> None:
    """No body costs more than about what reading it as JSON would."""
    started = time.perf_counter()
    assert facts(body=piece * (4_000_000 // len(piece))).json(["a"]) is AMBIGUOUS
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Content_Type": "text/plain"},
        {"Content_Type": "application/x-www-form-urlencoded"},
        {"Content_Type": "application/json; charset=utf-16"},
        {"Content_Type": "application/json, text/plain"},
        {"Content_Type": "application/json", "Content_Encoding": "gzip"},
        {"Content_Type": "application/json", "Content_Encoding": "identity"},
    ],
)
def test_body_of_another_kind(headers: dict[str, str]) -> None:
    """A body is read as JSON only when it says that it is nothing else."""
    assert facts(body=b'{"model": "x"}', **headers).json(["model"]) is AMBIGUOUS


@pytest.mark.parametrize(
    "kind",
    ["application/json", "Application/JSON", "application/json; charset=UTF-8", "application/vnd.api+json"],
)
def test_json_types(kind: str) -> None:
    """JSON by its own name or the +json suffix (RFC 6839), in UTF-8."""
    assert facts(body=b'{"model": "x"}', Content_Type=kind).json(["model"]) == "x"


def test_content_type_twice() -> None:
    """Which of two is meant nobody knows."""
    request = facts(body=b"{}", Content_Type="application/json")
    assert isinstance(request.headers, CIMultiDict)
    request.headers.add("Content-Type", "application/json")
    assert request.json(["model"]) is AMBIGUOUS


def test_headers() -> None:
    """One field, one value."""
    request = facts(X_Plan="pro")
    assert request.header("x-plan") == "pro"
    assert request.header("x-other") is MISSING
    assert isinstance(request.headers, CIMultiDict)
    request.headers.add("X-Plan", "pro")
    assert request.header("x-plan") is AMBIGUOUS


def test_an_unread_body_is_no_empty_body() -> None:
    """Asking too early is a mistake of ours, not a missing value."""
    with pytest.raises(ValueError, match="not been read"):
        facts().json(["model"])
