"""SIGTERM, SIGHUP and lost workers, under load: nobody who paid notices."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from kit.answers import Answer, request, request_with
from kit.anvil import Anvil
from kit.deployment import PRICE, Deployment, deployed
from kit.ops import (
    assert_problem,
    eventually,
    ledger,
    metric,
    priced,
    quoted,
    records,
    reloads,
    tollway,
    tracebacks,
    workers,
)
from kit.payments import sign_payment
from kit.raw import connect
from kit.redis_server import RedisServer
from kit.upstream_answers import held, later, ok_bytes, ok_json

FundedAccount = Callable[..., Any]
BOTH = pytest.mark.parametrize("count", [1, 2], ids=["one worker", "two workers"])
CROWD = 40


async def crowd(url: str, headers: list[dict[str, str]], then: Callable[[], None]) -> list[Answer]:
    """All at once, each on a connection of its own; ``then`` is called while they are under way."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        tasks = [asyncio.create_task(request_with(session, url, headers=each)) for each in headers]
        await asyncio.to_thread(then)
        return await asyncio.gather(*tasks)


@BOTH
def test_sigterm_under_load_loses_nothing(
    count: int, anvil: Anvil, tmp_path: Path, funded_account: FundedAccount
) -> None:
    with deployed(anvil, tmp_path, server={"workers": count}) as shop:
        shop.upstream.on("/v1/x", later(0.3))
        payer = funded_account(CROWD * PRICE)
        offer = request(shop.url + "/v1/x").challenge["accepts"][0]
        payments = [sign_payment(payer.key, offer).headers for _ in range(CROWD)]

        def stop() -> None:
            shop.upstream.wait_for(CROWD, "/v1/x")
            os.kill(shop.gateway.pid, signal.SIGTERM)

        answers = asyncio.run(crowd(shop.url + "/v1/x", payments, stop))

        assert shop.gateway.wait() == 0
        assert Counter(each.status for each in answers) == {200: CROWD}
        assert all(each.transaction for each in answers)
        assert shop.earned() == CROWD * PRICE
        shop.gateway.start()
        assert Counter(each["state"] for each in ledger(shop.gateway)) == {"settled": CROWD}


@BOTH
def test_a_stopping_gateway_refuses_connections_and_finishes_what_it_has(
    count: int, anvil: Anvil, tmp_path: Path
) -> None:
    with deployed(anvil, tmp_path, server={"workers": count}) as shop:
        word = threading.Event()
        shop.upstream.on("/free/slow", held(word, ok_json({"late": 1})))
        got: list[Answer] = []
        asking = threading.Thread(target=lambda: got.append(request(shop.url + "/free/slow")))
        asking.start()
        shop.upstream.wait_for(1, "/free/slow")
        os.kill(shop.gateway.pid, signal.SIGTERM)

        eventually(lambda: not listens(shop.url))
        word.set()
        asking.join()

        assert (got[0].status, got[0].headers["connection"]) == (200, "close")
        assert shop.gateway.wait() == 0


def listens(url: str) -> bool:
    try:
        connect(url).close()
    except ConnectionError:  # reset: it came between the last accepted one and the end of the queue
        return False
    return True


def test_readyz_says_draining(single: Deployment) -> None:
    word = threading.Event()
    single.upstream.on("/free/slow", held(word))
    asking = threading.Thread(target=request, args=(single.url + "/free/slow",))
    asking.start()
    single.upstream.wait_for(1, "/free/slow")
    os.kill(single.gateway.pid, signal.SIGTERM)
    told = eventually(lambda: draining(request(single.gateway.admin + "/readyz")))
    assert told.json()["status"] == "draining"
    assert request(single.gateway.admin + "/livez").status == 200
    word.set()
    asking.join()


def draining(answer: Answer) -> Answer | None:
    return answer if answer.status == 503 else None


def test_a_slow_reader_gets_its_whole_answer(single: Deployment) -> None:
    body = os.urandom(8 << 20)
    single.upstream.on("/free/big", ok_bytes(body))
    parts = urlsplit(single.url)
    with socket.create_connection((parts.hostname, parts.port)) as client:
        client.sendall(b"GET /free/big HTTP/1.1\r\nHost: " + parts.netloc.encode() + b"\r\n\r\n")
        received = client.recv(1000)
        os.kill(single.gateway.pid, signal.SIGTERM)
        eventually(lambda: not listens(single.url))
        while data := client.recv(1 << 20):
            received += data
    assert received.endswith(body) and single.gateway.wait() == 0


def test_a_connection_without_a_request_yet_is_not_lost(single: Deployment) -> None:
    """It was accepted: closing it would lose what the client is about to send."""
    parts = urlsplit(single.url)
    with connect(single.url) as fresh, connect(single.url) as idle:
        idle.sendall(b"GET /free/a HTTP/1.1\r\nHost: " + parts.netloc.encode() + b"\r\n\r\n")
        assert idle.recv(9) == b"HTTP/1.1 "
        os.kill(single.gateway.pid, signal.SIGTERM)
        eventually(lambda: not listens(single.url))
        fresh.sendall(b"GET /free/b HTTP/1.1\r\nHost: " + parts.netloc.encode() + b"\r\n\r\n")
        answer = fresh.recv(65536)
    assert answer.startswith(b"HTTP/1.1 200") and b"Connection: close" in answer
    assert single.gateway.wait() == 0


def test_draining_ends_in_time(single_with: Callable[..., Deployment]) -> None:
    shop = single_with(server={"drain_timeout": "1s"})
    word = threading.Event()
    shop.upstream.on("/free/slow", held(word))
    with connect(shop.url) as client:
        client.sendall(f"GET /free/slow HTTP/1.1\r\nHost: {urlsplit(shop.url).netloc}\r\n\r\n".encode())
        shop.upstream.wait_for(1, "/free/slow")
        assert shop.gateway.stop() == 0
    word.set()
    assert [each["unfinished"] for each in records(shop.gateway, "drain")] == [1]
    assert not tracebacks(shop.gateway.logs())


def test_one_worker_killed_of_two(
    anvil: Anvil, redis_server: RedisServer, tmp_path: Path, funded_account: FundedAccount
) -> None:
    """The other goes on, the dead one comes back at the reloaded prices, its lease is taken over."""
    server = {"workers": 2}
    with deployed(anvil, tmp_path, store={"url": redis_server.url}, server=server) as shop:
        assert shop.buy("/v1/x", funded_account()).status == 200
        config = priced(shop, "$0.02", store={"url": redis_server.url}, server=server)
        shop.gateway.write(config)
        shop.gateway.reload()
        eventually(lambda: len(reloads(shop)) == 2)
        for victim in workers(shop.gateway):
            kill_worker(shop, victim)
            assert shop.buy("/v1/x", funded_account()).status == 200
            assert {quoted(shop) for _ in range(10)} == {"20000"}
        eventually(lambda: request(shop.gateway.admin + "/livez").status == 200)
        assert [each["exit"] for each in records(shop.gateway, "worker")] == [-9, -9]
        assert shop.earned() == PRICE + 2 * 20_000
        assert metric(shop.gateway, "tollway_revenue_atomic_total") == PRICE + 2 * 20_000
        assert metric(shop.gateway, "tollway_settlements_pending") == 0
        assert not tracebacks(shop.gateway.logs())


def kill_worker(shop: Deployment, victim: int) -> None:
    """Until another one has taken its place."""
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: len(set(workers(shop.gateway)) - {victim}) == 2)


def test_workers_end_when_their_parent_is_killed(anvil: Anvil, tmp_path: Path) -> None:
    """Otherwise they would keep the port from the next start, and sell on unobserved."""
    with deployed(anvil, tmp_path, server={"workers": 2}) as shop:
        orphans = workers(shop.gateway)
        os.kill(shop.gateway.pid, signal.SIGKILL)
        shop.gateway.wait()
        eventually(lambda: not any(runs(each) for each in orphans))
        shop.gateway.start()
        assert request(shop.url + "/free/x").status == 200


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


@BOTH
@pytest.mark.parametrize("which", ["listen", "admin"])
def test_a_port_in_use_is_one_clear_line(which: str, count: int, single: Deployment, tmp_path: Path) -> None:
    taken = single.url if which == "listen" else single.gateway.admin
    server = {"listen": "127.0.0.1:0", "admin": "off", "workers": count, which: taken.removeprefix("http://")}
    single.gateway.write(priced(single, "$0.01", server=server))
    done = tollway("serve", "-c", str(single.gateway.config_file))
    assert done.returncode == 1
    assert done.stderr == f"tollway: cannot listen on {server[which]}: Address already in use\n"
    assert_problem(request(single.url + "/nowhere"), 404, "no_route")
