"""Names, several addresses, and which connection wins."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from facilitator.http1 import dial
from facilitator.http1.dial import Dialler
from facilitator.http1.origin import Origin

NAMED = Origin("api.test", 80, False)
V6, V4, OTHER = "2001:db8::1", "192.0.2.1", "192.0.2.2"


class Network:
    """Which addresses a name has, and what becomes of who connects to them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **reached: float | Exception | asyncio.Event) -> None:
        """An address is reached after seconds, or not."""
        self.addresses = list(reached)
        self.reached = reached
        self.asked = 0
        self.how: dict[str, Any] = {}
        self.tried: list[str] = []
        self.closed: list[str] = []
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "getaddrinfo", self._resolve)
        monkeypatch.setattr(loop, "create_connection", self._connect)

    async def _resolve(self, host: str, port: int, **how: Any) -> list[Any]:
        self.asked += 1
        await asyncio.sleep(0)
        if not self.addresses:
            raise socket.gaierror("unknown")
        kinds = [socket.AF_INET6 if ":" in each else socket.AF_INET for each in self.addresses]
        return [
            (kind, socket.SOCK_STREAM, 6, "", (each, port))
            for kind, each in zip(kinds, self.addresses, strict=True)
        ]

    async def _connect(self, make: Any, address: str, port: int, **how: Any) -> tuple[None, Any]:
        self.tried.append(address)
        self.how = how
        outcome = self.reached[address]
        if isinstance(outcome, Exception):
            raise outcome
        await (outcome.wait() if isinstance(outcome, asyncio.Event) else asyncio.sleep(outcome))
        return None, SimpleNamespace(address=address, close=lambda: self.closed.append(address))


Reach = Callable[..., Network]


@pytest.fixture
async def reach(monkeypatch: pytest.MonkeyPatch) -> Reach:
    monkeypatch.setattr(dial, "_NEXT", 0.02)
    return lambda **reached: Network(monkeypatch, **reached)


async def connected(dialler: Dialler) -> str:
    made: Any = await dialler.connect(lambda: None)  # type: ignore[arg-type,return-value]
    return str(made.address)


async def test_the_first_that_answers_wins(reach: Reach) -> None:
    network = reach(**{V6: 0.0, V4: 0.0})
    assert await connected(Dialler(NAMED, None)) == V6 and network.tried == [V6]


async def test_a_silent_address_is_not_waited_for(reach: Reach) -> None:
    network = reach(**{V6: 9.0, OTHER: 9.0, V4: 0.0})
    assert await connected(Dialler(NAMED, None)) == V4
    assert network.tried == [V6, OTHER, V4] and len(asyncio.all_tasks()) <= 3
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 1


async def test_a_refusal_goes_on_to_the_next(reach: Reach) -> None:
    network = reach(**{V6: OSError("no route"), V4: 0.0})
    assert await connected(Dialler(NAMED, None)) == V4 and network.tried == [V6, V4]


async def test_all_refused(reach: Reach) -> None:
    reach(**{V6: OSError("first"), V4: OSError("last")})
    with pytest.raises(OSError, match="last"):
        await connected(Dialler(NAMED, None))


async def test_a_slow_one_still_wins_where_the_others_fail(reach: Reach) -> None:
    reach(**{V6: 0.05, V4: OSError("refused")})
    assert await connected(Dialler(NAMED, None)) == V6


async def test_who_connects_at_the_same_time_is_hung_up_on(reach: Reach) -> None:
    at_once = asyncio.Event()
    network = reach(**{V6: at_once, V4: at_once})
    connecting = asyncio.ensure_future(connected(Dialler(NAMED, None)))
    await asyncio.sleep(0.04)
    at_once.set()
    assert await connecting == V6
    await asyncio.sleep(0)
    assert network.closed == [V4]


async def test_families_take_turns(reach: Reach) -> None:
    network = reach(**{V4: OSError(), OTHER: OSError(), V6: OSError()})
    with pytest.raises(OSError):
        await connected(Dialler(NAMED, None))
    assert network.tried == [V4, V6, OTHER]


async def test_a_name_is_resolved_once_for_all_and_again_later(
    reach: Reach, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, dialler = reach(**{V4: 0.0}), Dialler(NAMED, None)
    await asyncio.gather(*(connected(dialler) for _ in range(20)))
    assert network.asked == 1 and len(network.tried) == 20
    monkeypatch.setattr(dial, "RESOLVED", 0.0)
    network.addresses = [OTHER]
    network.reached = {OTHER: 0.0}
    assert await connected(dialler) == OTHER and network.asked == 2


async def test_a_name_nobody_knows(reach: Reach) -> None:
    network, dialler = reach(), Dialler(NAMED, None)
    for times in (1, 2):
        with pytest.raises(OSError):
            await connected(dialler)
        assert network.asked == times


async def test_who_stops_waiting_does_not_stop_the_others(reach: Reach) -> None:
    network, dialler = reach(**{V4: 0.0}), Dialler(NAMED, None)
    first = asyncio.ensure_future(connected(dialler))
    second = asyncio.ensure_future(connected(dialler))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == V4 and network.asked == 1


async def test_addresses_are_not_resolved(reach: Reach) -> None:
    network = reach(**{"127.0.0.1": 0.0})
    assert await connected(Dialler(Origin("127.0.0.1", 80, False), None)) == "127.0.0.1" and not network.asked


async def test_the_name_is_what_a_certificate_is_for(reach: Reach) -> None:
    network, tls = reach(**{V4: 0.0}), ssl.create_default_context()
    await connected(Dialler(Origin("api.test", 443, True), tls))
    assert network.how == {"ssl": tls, "server_hostname": "api.test"}
    await connected(Dialler(NAMED, None))
    assert network.how == {"ssl": None, "server_hostname": None}
