"""The embedded store's disk fills up, or is no place for payments."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kit.answers import request
from kit.anvil import Anvil
from kit.deployment import PRICE, Deployment, deployed
from kit.ops import assert_problem, eventually, metric, ready, records, tracebacks

from gateway.devchain.children import ChildFailed

FundedAccount = Callable[..., Any]
LITTLE = 4096


@contextmanager
def full_disk(pid: int) -> Iterator[None]:
    """No file of this process may grow, its log included: writes fail like those to a full disk."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (LITTLE, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_stops_sales_and_nothing_else(single: Deployment, funded_account: FundedAccount) -> None:
    payment = single.sign("/v1/x", funded_account())
    with full_disk(single.gateway.pid):
        refused = request(single.url + "/v1/x", headers=payment.headers)
        assert_problem(refused, 503, "store_unavailable")
        eventually(lambda: request(single.url + "/v1/x").status == 503)
        assert_problem(request(single.url + "/v1/x", headers=payment.headers), 503, "store_unavailable")
        assert "retry-after" in request(single.url + "/v1/x").headers
        assert request(single.url + "/free/x").status == 200
        assert not ready(single.gateway) and metric(single.gateway, "tollway_store_up") == 0
        assert single.upstream.count("/v1/x") == 0

    eventually(lambda: ready(single.gateway))
    assert request(single.url + "/v1/x", headers=payment.headers).status == 200
    assert single.earned() == PRICE
    assert not tracebacks(single.gateway.logs())


def test_a_log_that_cannot_be_written_ends_no_request(
    single: Deployment, funded_account: FundedAccount
) -> None:
    """Logs often share the disk that is full."""
    single.gateway.config_file.parent.joinpath("gateway.log").write_bytes(b"x" * LITTLE + b"\n")
    with full_disk(single.gateway.pid):
        assert [request(single.url + "/free/x").status for _ in range(20)] == [200] * 20
        written = len(records(single.gateway, "request"))
    assert request(single.url + "/free/x").status == 200
    eventually(lambda: len(records(single.gateway, "request")) > written)
    assert not tracebacks(single.gateway.logs())


NOWHERE = {"under a file": "/dev/null/data", "in the kernel's": "/proc/tollway"}


@pytest.mark.parametrize("place", NOWHERE)
def test_a_folder_that_cannot_be_is_refused_at_start(place: str, anvil: Anvil, tmp_path: Path) -> None:
    with pytest.raises(ChildFailed) as failed, deployed(anvil, tmp_path, store={"path": NOWHERE[place]}):
        pass
    assert failed.value.code == 4
    assert f"tollway: cannot keep payments in {NOWHERE[place]}: " in failed.value.output
    assert not tracebacks(failed.value.output)


def test_a_file_that_is_no_store_is_refused_at_start(anvil: Anvil, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "payments.sqlite3").write_bytes(os.urandom(8192))
    with pytest.raises(ChildFailed) as failed, deployed(anvil, tmp_path):
        pass
    assert failed.value.code == 4 and "is not a payment store" in failed.value.output
