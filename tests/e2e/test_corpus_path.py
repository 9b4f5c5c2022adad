"""Every alias of a paid path is charged at its price or refused: unpaid, and paid for the cheapest route."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kit.anvil import Anvil
from kit.corpus import PRICES, ROUTES, rows
from kit.deployment import Deployment, deployed
from kit.raw import Reply, converse

FundedAccount = Callable[..., Any]
ROWS = rows("path")
HOST = "gw.test"


@pytest.fixture(scope="module")
def priced(anvil: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed(anvil, tmp_path_factory.mktemp("gateway"), routes=ROUTES) as deployment:
        yield deployment


def ask(deployment: Deployment, row: dict[str, Any], *more: tuple[str, str]) -> Reply | None:
    """Send the row's request; None where the connection was closed without an answer."""
    fields = {name.lower() for name, _ in row["headers"]}
    lines = [] if "host" in fields else [("Host", HOST)]
    lines += [*map(tuple, row["headers"]), *more, ("Connection", "close")]
    head = f"{row['method']} {row['path']} HTTP/1.1\r\n" + "".join(f"{n}: {v}\r\n" for n, v in lines)
    replies, closed = converse(deployment.url, head.encode("latin-1") + b"\r\n", patience=20)
    assert closed, "an answer still on its way must not be taken for none"
    assert len(replies) <= 1
    return replies[0] if replies else None


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_unpaid(row: dict[str, Any], priced: Deployment) -> None:
    priced.upstream.forget()
    reply = ask(priced, row)
    expect, _, letter = row["expect"].replace("PAY_", "PAY:").partition(":")

    if expect == "FREE":
        assert reply is not None and reply.status == 200
        assert priced.upstream.last().target == row["path"]
        for name in row.get("upstream_absent", ()):
            assert priced.upstream.last().header(name) is None
        return
    assert priced.upstream.count() == 0, "nothing unpaid may reach the upstream"
    if expect == "PAY":
        assert reply is not None and (reply.status, reply.quoted) == (402, PRICES[letter])
    elif expect == "SAFE":
        assert (
            reply is None
            or reply.quoted == PRICES[letter]
            or (reply.status != 402 and 400 <= reply.status < 500)
        )
    elif expect == "REJECT_OR_CORS":
        assert reply is None or reply.status == 204 or 400 <= reply.status < 500
    else:
        assert expect == "REJECT" and (reply is None or (400 <= reply.status < 500 and reply.status != 402))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_a_payment_for_the_cheapest_route_opens_no_dearer_one(
    row: dict[str, Any], priced: Deployment, funded_account: FundedAccount
) -> None:
    payment = priced.sign("/paid/item", funded_account())
    priced.upstream.forget()
    earned = priced.earned()

    reply = ask(priced, row, *payment.headers.items())

    paid = priced.earned() - earned
    if row["expect"] == "FREE":
        assert reply is not None and reply.status == 200 and paid == 0
        assert priced.upstream.last().header("PAYMENT-SIGNATURE") is None
    elif priced.upstream.count():
        assert row["expect"] in ("PAY_A", "SAFE:A") and paid == int(PRICES["A"])
        assert priced.upstream.last().path == "/paid/item" and priced.upstream.last().method == "GET"
    else:
        assert paid == 0 and (reply is None or reply.status >= 400 or reply.status == 204)
