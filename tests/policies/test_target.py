"""Canonical request targets: one form, or none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.target import BadTarget, canonical, origin_form, valid_authority


@pytest.mark.parametrize(
    ("raw", "path", "query"),
    [
        ("/", "/", None),
        ("/a/b", "/a/b", None),
        ("/a/b/", "/a/b/", None),
        ("/a?", "/a", ""),
        ("/a?x=%2e%2e/../;y\"'<>\\", "/a", "x=%2e%2e/../;y\"'<>\\"),
        ("/%70%61id/%7Eme", "/paid/~me", None),
        ("/caf%c3%a9", "/caf%C3%A9", None),
        ("/a%20b/c%3ad", "/a%20b/c%3Ad", None),
        ("/a:b@c!$&'()*+,=[]~", "/a:b@c!$&'()*+,=[]~", None),
        ("/..a/b..", "/..a/b..", None),
    ],
)
def test_one_form(raw: str, path: str, query: str | None) -> None:
    """Unreserved escapes are decoded once, the rest upper-cased, the query kept byte for byte."""
    target = canonical(raw)
    assert (target.path, target.query) == (path, query)
    assert "/" + "/".join(target.segments) == path
    assert canonical(raw if query is None else path) == target or query is not None


@pytest.mark.parametrize(
    "raw",
    [
        *(
            "",
            "a",
            "*",
            "http://h/a",
            ":1/x",
            ".evil/x",
            "//a",
            "/a//b",
            "/a//",
            "/.",
            "/a/./b",
            "/a/..",
            "/../a",
        ),
        *(
            "/%2e",
            "/a/%2E%2e/b",
            "/a/.%2e",
            "/a\\b",
            "/a%5cb",
            "/a#b",
            '/a"b',
            "/a<b",
            "/a{b}",
            "/a|b",
            "/a^b",
        ),
        *("/a`b", "/a%", "/a%2", "/a%zz", "/a%0a", "/a%00", "/a%1F", "/a%7f", "/a%3fb", "/a%23b", "/a%c0"),
        *("/a%ff", "/a%C3", "/a b", "/a\tb", "/a\n", "/é", "/a?b#c", "/a?b c", "/a?\x7f", "/a?é"),
        "/%25%32%65%25%32%65/x%",
    ],
)
def test_no_form(raw: str) -> None:
    """What another reader could take for something else has no canonical form."""
    with pytest.raises(BadTarget):
        canonical(raw)


@pytest.mark.parametrize(
    ("raw", "encoded"),
    [
        ("/a%2fb", {"slash"}),
        ("/a%252fb", {"percent"}),
        ("/a%3bb", {"semicolon"}),
        ("/a;b=1", {"semicolon"}),
        ("/a;b/c%2F%25", {"semicolon", "slash", "percent"}),
        ("/get/https:%2F%2Fexample.org", {"slash"}),
    ],
)
def test_opt_in_escapes_are_recorded(raw: str, encoded: set[str]) -> None:
    """Whether they are accepted is the route's business."""
    assert canonical(raw).encoded == encoded


@pytest.mark.parametrize(
    "raw",
    [
        "/a/..%2fb",
        "/a%2f..",
        "/a%2F.%2Fb",
        "/..;x/b",
        "/a/.;/b",
        "/%252e%252e/b",
        "/a%2525252fb",
        "/..%3bx/b",
    ],
)
def test_opt_in_escapes_hide_no_dot_segments(raw: str) -> None:
    """Not even a route that takes encoded slashes takes encoded dot segments."""
    with pytest.raises(BadTarget):
        canonical(raw)


@pytest.mark.parametrize(
    ("raw", "host", "expected"),
    [
        ("http://gw.test/a?b", "gw.test", "/a?b"),
        ("HTTP://GW.test/a", "gw.TEST", "/a"),
        ("http://gw.test:80/a", "gw.test", "/a"),
        ("https://gw.test/a", "gw.test:443", "/a"),
        ("http://gw.test:8402", "gw.test:8402", "/"),
        ("http://gw.test?x", "gw.test", "/?x"),
        ("http://[::1]:80/a", "[::1]", "/a"),
    ],
)
def test_absolute_form_of_the_same_authority(raw: str, host: str, expected: str) -> None:
    """RFC 9112 section 3.2.2."""
    assert origin_form(raw, host) == expected


@pytest.mark.parametrize(
    ("raw", "host"),
    [
        ("http://gw.test/a", "other.test"),
        ("http://gw.test:81/a", "gw.test"),
        ("http://user@gw.test/a", "gw.test"),
        ("file:///etc/passwd", "gw.test"),
        ("unix:/var/run/x|http://a/", "a"),
        ("//gw.test/a", "gw.test"),
        ("http:///a", ""),
        ("*", "gw.test"),
        ("gw.test:443", "gw.test"),
    ],
)
def test_other_forms_are_refused(raw: str, host: str) -> None:
    """Authority-form, asterisk-form, foreign schemes and authorities."""
    with pytest.raises(BadTarget):
        origin_form(raw, host)


@pytest.mark.parametrize(
    "host", ["a", "a.b:80", "127.0.0.1", "[::1]", "[::1]:8402", "a_b-c.d", "a:", "[::ffff:1.2.3.4]"]
)
def test_authorities(host: str) -> None:
    """Names, IPv4 and IPv6 literals, with or without a port."""
    assert valid_authority(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        ":80",
        "a b",
        "u@a",
        "a:b",
        "a:0",
        "a:65536",
        "::1",
        "[::1",
        "[:::1]",
        "[1::2::3]",
        "a/b",
        "a?b",
        "a\n",
        "é",
    ],
)
def test_what_is_no_authority(host: str) -> None:
    """No userinfo, no spaces, no path, no bare IPv6."""
    assert not valid_authority(host)


@given(st.text(alphabet="/ab.%25fFeE0;\\?#~ \u00e9", max_size=40))
def test_canonical_is_final(raw: str) -> None:
    """A canonical path is its own canonical form; everything else is refused, never a surprise."""
    try:
        target = canonical("/" + raw)
    except BadTarget:
        return
    assert canonical(target.path).path == target.path
    assert canonical(target.path).encoded == target.encoded
