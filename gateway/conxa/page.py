"""The page on which people connect a CONXA wallet, and what a browser gets where payment is due.

One page in two uses, without a build step or anything from elsewhere: ``page.html`` is filled in,
``page.css`` and ``page.js`` are put inside it and allowed by their digests. Its script follows INTERFACE
section 5. It keeps the connection's id, a bearer secret, in the tab: never in an address, and not to be read
by anyone who looks at the screen until its owner unfolds it.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template

from gateway.headers import Field


def _part(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


_CSS, _JS = _part("page.css"), _part("page.js")
_PAGE = Template(_part("page.html"))
_POLICY = (
    f"default-src 'none'; script-src {_digest(_JS)}; style-src {_digest(_CSS)}; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_FIELDS: tuple[Field, ...] = (
    (b"Content-Type", b"text/html; charset=utf-8"),
    (b"Content-Security-Policy", _POLICY.encode()),
    (b"Referrer-Policy", b"no-referrer"),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Cache-Control", b"no-store"),
)


_SHORT = 16
"""Characters of a price that is shown large; a longer one is a sentence."""


@dataclass(frozen=True)
class Page:
    """An HTML document and the header fields it must be sent with."""

    body: bytes
    fields: list[Field]


def connect_page(*, limit: float | None = None) -> Page:
    """``GET /_tollway/conxa/connect``: connects a wallet, for whatever this tab opens next.

    ``limit`` is the most that may be charged over the connection, in tokens.
    """
    return _page(
        title="Connect your CONXA wallet",
        use="connect",
        about="Scan one code, and the paid pages of this site can be paid from your wallet.",
        price="Metered per token by your CONXA wallet",
        then="This tab <b>stays connected</b>. Paid pages opened in it need a click, not another scan.",
        foot="Connecting costs nothing. Your wallet is charged only for answers you ask for.",
        limit=limit,
    )


def payment_page(
    *, title: str, description: str, price: str, method: str, target: str, limit: float | None = None
) -> Page:
    """What a browser gets with the status 402 for the paid resource it opened.

    ``price`` is what it costs in plain words; ``target`` the path and query as asked for, only shown: the
    script repeats the request by the browser's own address, and only if ``method`` is GET. ``limit`` as for
    ``connect_page``. Any text may come from anywhere.
    """
    return _page(
        title=title,
        use="pay",
        about=description,
        price=price,
        method=method,
        target=target,
        then="This page <b>shows your answer</b> here, by itself. Your wallet pays once the answer is ready.",
        foot="Programs get this offer as JSON: they ask with <code>Accept: application/json</code>.",
        limit=limit,
    )


def _page(
    *,
    title: str,
    use: str,
    about: str,
    price: str,
    then: str,
    foot: str,
    limit: float | None,
    method: str = "",
    target: str = "",
) -> Page:
    """``then`` and ``foot`` are our own HTML; everything else is text."""
    facts = _fact("Price", escape(price), "price" if len(price) <= _SHORT else "fact")
    if target:
        facts += _fact("For", f"<code>{escape(method)} {escape(target)}</code>")
    if limit is not None:
        facts += _fact("Spending limit", f"{limit:,.0f} tokens in all")
    text = {"title": title, "about": about, "use": use, "method": method}
    filled = _PAGE.substitute(
        {name: escape(value) for name, value in text.items()},
        limit="" if limit is None else f"{limit!r}",
        facts=facts,
        then=then,
        foot=foot,
        css=_CSS,
        js=_JS,
    )
    return Page(filled.encode("utf-8", "replace"), list(_FIELDS))


def _fact(name: str, html: str, kind: str = "fact") -> str:
    return f'<div class="{kind}"><dt>{name}</dt><dd>{html}</dd></div>'
