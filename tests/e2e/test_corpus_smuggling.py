"""One message in, one message out: raw bytes that other software reads as something else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from kit.anvil import Anvil
from kit.corpus import ROUTES, rows
from kit.deployment import Deployment, deployed
from kit.raw import connect, converse

ROWS = rows("smuggling")
HEADER_TIMEOUT = 1.0


@pytest.fixture(scope="module")
def strict(anvil: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("gateway")
    with deployed(
        anvil, folder, routes=ROUTES, server={"header_timeout": f"{HEADER_TIMEOUT:.0f}s"}
    ) as deployment:
        yield deployment
        assert "Traceback" not in deployment.gateway.logs()


@pytest.mark.parametrize("row", [row for row in ROWS if row["expect"] != "SLOW"], ids=lambda row: row["id"])
def test_row(row: dict[str, Any], strict: Deployment) -> None:
    strict.upstream.forget()
    half_close = row["id"] == "raw-half-close"
    replies, closed = converse(strict.url, row["raw"].encode("latin-1"), half_close=half_close)

    assert strict.upstream.count() == 0, "nothing was paid"
    statuses = [reply.status for reply in replies]
    expect = row["expect"]
    if expect == "REJECT":
        assert len(statuses) <= 1 and all(400 <= status < 600 and status != 402 for status in statuses)
        assert closed or statuses
    elif expect == "PAY":
        assert statuses == [402]
    elif expect == "ONE":
        assert len(statuses) == 1 and 400 <= statuses[0] < 600
    elif expect == "TWO_GATED":
        assert len(statuses) == row["raw"].count("HTTP/1.1") and set(statuses) == {402}
    else:
        assert expect == "BAD400" and statuses == [400]


@pytest.mark.parametrize("row", [row for row in ROWS if row["expect"] == "SLOW"], ids=lambda row: row["id"])
def test_a_slow_client_is_closed_and_the_others_do_not_notice(
    row: dict[str, Any], strict: Deployment
) -> None:
    with connect(strict.url) as slow:
        slow.sendall(row["raw"].encode("latin-1"))
        replies, _ = converse(
            strict.url, b"GET /free/x HTTP/1.1\r\nHost: gw.test\r\nConnection: close\r\n\r\n"
        )
        assert [reply.status for reply in replies] == [200]
        slow.settimeout(HEADER_TIMEOUT + 5)
        assert slow.recv(1000) == b"", "closed by the header timeout"


def test_an_unpaid_request_is_not_asked_to_continue(strict: Deployment) -> None:
    head = b"POST /paid/item HTTP/1.1\r\nHost: gw.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    replies, closed = converse(strict.url, head, patience=5)
    assert [reply.status for reply in replies] == [402] and closed
