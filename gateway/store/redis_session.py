"""Keeps one good connection to the right Redis, and runs the scripts on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import hiredis

from gateway.errors import StoreUnavailable, StoreUnfit
from gateway.store import redis_fitness
from gateway.store.record import DEADLINE
from gateway.store.redis_link import Link, TooFewReplicas, Word, dial
from gateway.store.redis_scripts import Script, load_scripts
from gateway.store.redis_url import Address, Place, show

RECONNECT_EVERY = 0.1
Send = Callable[..., Awaitable[Any]]
"""``Link.send`` or ``Link.write``."""


class Session:
    """While there is no good connection every call fails at once, and the background dials on."""

    def __init__(self, address: Address, *, strict: bool, wait_replicas: int = 0) -> None:
        self._address = address
        self._wait_replicas = wait_replicas
        self._strict = strict
        self._scripts = load_scripts()
        self._link: Link | None = None
        self._lost = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._why: Exception | None = None

    async def open(self) -> None:
        """StoreUnavailable tells why there is no connection yet; the background goes on dialling."""
        try:
            self._link = await self._connect()
        except StoreUnavailable as error:
            self._why = error
            self._lost.set()
            raise
        finally:
            self._keeper = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """Hang up and stop dialling."""
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
        if self._link is not None:
            self._link.close()

    async def ask(self, *command: Word) -> Any:
        """One command, sent once."""
        link = self._live()
        try:
            return await link.send(*command)
        except hiredis.HiredisError as error:
            raise self._refused(link, error) from error

    def run(self, name: str, *arguments: Word) -> Awaitable[Any]:
        """One script that only reads, run at most once."""
        return self._run(Link.send, name, arguments)

    def write(self, name: str, *arguments: Word) -> Awaitable[Any]:
        """One script that writes, run at most once, and acknowledged by enough replicas."""
        return self._run(Link.write, name, arguments)

    async def _run(self, send: Send, name: str, arguments: tuple[Word, ...]) -> Any:
        script = self._scripts[name]
        link = self._live()
        started = asyncio.get_running_loop().time()
        try:
            return await send(link, "EVALSHA", script.sha, 0, *arguments)
        except hiredis.HiredisError as error:
            if not str(error).startswith("NOSCRIPT"):
                raise self._refused(link, error) from error
        except TooFewReplicas as error:
            self._look_anew(link)
            raise StoreUnavailable from error
        return await self._run_again(started + DEADLINE, send, script, arguments)

    async def _run_again(self, until: float, send: Send, script: Script, arguments: tuple[Word, ...]) -> Any:
        """The one repetition there is: Redis did not know the script, so it did not run."""
        try:
            async with asyncio.timeout_at(until):
                await self.ask("SCRIPT", "LOAD", script.source)
                return await send(self._live(), "EVALSHA", script.sha, 0, *arguments)
        except (TimeoutError, hiredis.HiredisError, TooFewReplicas) as error:
            raise StoreUnavailable from error

    def _look_anew(self, link: Link) -> None:
        """Where sentinels know the primary, this may no longer be it: ask them again."""
        if self._address.service is not None:
            link.close()

    def _live(self) -> Link:
        if self._link is None:
            raise StoreUnavailable from self._why
        return self._link

    def _refused(self, link: Link, error: hiredis.HiredisError) -> StoreUnavailable:
        if "READONLY" in str(error):  # a failover made it a replica: look for the primary anew
            link.close()
        return StoreUnavailable()

    def _on_lost(self) -> None:
        if self._link is not None and self._link.closed:
            self._link = None
            self._lost.set()

    async def _keep(self) -> None:
        while True:
            await self._lost.wait()
            self._lost.clear()
            while self._link is None:
                await self._reconnect()

    async def _reconnect(self) -> None:
        try:
            self._link = await self._connect()
        except (StoreUnavailable, StoreUnfit) as error:
            self._why = error
            await asyncio.sleep(RECONNECT_EVERY)

    async def _connect(self) -> Link:
        if self._address.service is None:
            place = self._address.places[0]
        else:
            place = await self._primary(self._address.service)
        link = await self._dial(place)
        try:
            await self._greet(link, place)
        except BaseException:
            link.close()
            raise
        return link

    async def _dial(self, place: Place) -> Link:
        try:
            async with asyncio.timeout(DEADLINE):
                return await dial(place, self._address.tls, self._on_lost, self._wait_replicas)
        except (OSError, TimeoutError, UnicodeError) as error:  # UnicodeError: a host that cannot be a name
            reason = getattr(error, "strerror", None) or "no answer"
            raise StoreUnavailable(f"cannot reach Redis at {show(place)}: {reason}") from error

    async def _greet(self, link: Link, place: Place) -> None:
        """Log in, see whether money can be kept here, bring the scripts."""
        if login := self._address.login.command:
            await _first(link, place, *login)
        if self._address.database:
            await _first(link, place, "SELECT", self._address.database)
        redis_fitness.check(await _first(link, place, "INFO"), strict=self._strict)
        for script in self._scripts.values():
            await _first(link, place, "SCRIPT", "LOAD", script.source)

    async def _primary(self, service: str) -> Place:
        """Ask the sentinels in turn; the first one that knows decides."""
        failure = StoreUnavailable("no sentinel was given")
        for place in self._address.places:
            try:
                found = await self._ask_sentinel(place, service)
            except StoreUnavailable as error:
                failure = error
                continue
            if found:
                return (found[0].decode(), int(found[1]))
            failure = StoreUnavailable(f"the sentinel at {show(place)} knows no service {service!r}")
        raise failure

    async def _ask_sentinel(self, place: Place, service: str) -> list[bytes] | None:
        link = await self._dial(place)
        try:
            if login := self._address.sentinel_login.command:
                await _first(link, place, *login)
            reply: list[bytes] | None = await _first(
                link, place, "SENTINEL", "get-master-addr-by-name", service
            )
            return reply
        finally:
            link.close()


async def _first(link: Link, place: Place, *command: Word) -> Any:
    """A command of the greeting. Of an error only the code is shown: the rest may repeat a secret."""
    try:
        return await link.send(*command)
    except hiredis.HiredisError as error:
        code = str(error).partition(" ")[0]
        raise StoreUnavailable(f"Redis at {show(place)} refuses {command[0]!s}: {code}") from None
    except StoreUnavailable as error:
        raise StoreUnavailable(f"Redis at {show(place)} does not answer") from error
