"""Who asks: clients that sign anew, with and without a key, careful ones that do not, and the dishonest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.store import SILENT
from simulation.net import Pipe, Reply, Reset
from simulation.world import Signed, Want, World

TRIES = 5
PATIENCE = 100.0
NOTED = 2.0
"""Seconds it waits otherwise: that it left is on record then, also after a call to the store that failed."""
UNSEEN = SILENT + 1.0
"""Seconds a client waits that hung up on a stopped process: nobody else can know earlier that it left."""


@dataclass(frozen=True, slots=True)
class Who:
    """Whose connection it is."""

    payer: int
    path: str
    bystander: bool = False


class Unanswered(Exception):
    """Refused connection, reset, or out of patience."""


class Client:
    """One client: a want, and how it goes about it."""

    def __init__(self, world: World, gateways: Sequence[Any], want: Want, number: int) -> None:
        self.world = world
        self.gateways = gateways
        self.want = want
        self.number = number
        self.name = f"client {number}"

    async def ask(self, signed: Signed, key: str | None, patience: float) -> Reply:
        """One request; Unanswered where there is no whole answer to it."""
        gateway = self.world.rng.choice(self.gateways)
        who = Who(signed.payer, self.want.path)
        self.want.tries += 1
        said = f"GET {self.want.path} paying {signed.payment[:10]}" + (f" key {key}" if key else "")
        self.world.say(self.name, f"-> {gateway.name}: {said}")
        reply = await request(
            self.world, gateway, who, self.want.path, signed.header, key, patience, self.name
        )
        execution = self.world.upstream.served.get(reply.body)
        if reply.status == 200 and execution is not None and execution.payment != signed.payment:
            self.world.proofs.add(signed.payment)
        return reply

    def patience(self) -> float:
        """Seconds until it hangs up."""
        if self.world.faults.calm or self.world.rng.random() < 0.8:
            return PATIENCE
        return float(self.world.rng.random() ** 2 * 20)

    async def pause(self) -> None:
        """Before the next try."""
        await asyncio.sleep(0.2 + 6 * self.world.rng.random() ** 2)

    def took(self, reply: Reply) -> bool:
        """Whether that is what was wanted."""
        if reply.status == 200 and reply.body.startswith(b"answer "):
            self.want.answers.append(reply.body)
            return True
        return False


class Stock(Client):
    """Signs a new authorization for every try, and says no key."""

    async def run(self, tries: int = TRIES) -> None:
        """Until it is answered, refused, or tired."""
        for _ in range(tries):
            signed = self.world.sign(self.want.payer, self.want.path)
            try:
                reply = await self.ask(signed, None, self.patience())
            except Unanswered:
                await self.pause()
                continue
            if self.took(reply):
                return
            if reply.status == 402:
                self.want.refused = code(reply)
                return
            await self.pause()


class Careful(Client):
    """Keeps its authorization and its key until it knows that they are spent."""

    def __init__(self, world: World, gateways: Sequence[Any], want: Want, number: int) -> None:
        super().__init__(world, gateways, want, number)
        self._signed: Signed | None = None
        self._keys = 0

    async def run(self, tries: int = 2 * TRIES) -> None:
        """Until it is answered, or its authorization is no good for certain."""
        for _ in range(tries):
            if self._signed is None:
                self._signed = self.world.sign(self.want.payer, self.want.path)
                self._keys += 1
            try:
                reply = await self.ask(self._signed, f"k{self.number}.{self._keys}", self.patience())
            except Unanswered:
                await self.pause()
                continue
            if self.took(reply):
                return
            if reply.status == 402:
                self.want.refused = code(reply)
                if not self.world.faults.calm:
                    return
                self._signed = None
            if code(reply) == "answer_gone":
                # Delivered to this payer, by way of another of its requests, or asked for too often.
                self._signed = None
            await self.pause()


class Keyed(Client):
    """Signs a new authorization for every try, and names the same key."""

    def __init__(self, world: World, gateways: Sequence[Any], want: Want, number: int) -> None:
        super().__init__(world, gateways, want, number)
        self._keys = 0

    async def run(self, tries: int = TRIES) -> None:
        """Until it is answered or refused."""
        for _ in range(tries):
            signed = self.world.sign(self.want.payer, self.want.path)
            try:
                reply = await self.ask(signed, f"s{self.number}.{self._keys}", self.patience())
            except Unanswered:
                await self.pause()
                continue
            if self.took(reply):
                return
            if reply.status == 402:
                self.want.refused = code(reply)
                return
            self._keys += code(reply) == "answer_gone"
            await self.pause()


class Twofold(Client):
    """Sends every authorization several times at once."""

    async def run(self, tries: int = TRIES) -> None:
        """Until one of them is answered."""
        for turn in range(tries):
            signed = self.world.sign(self.want.payer, self.want.path)
            key = f"d{self.number}.{turn}" if self.world.rng.random() < 0.7 else None
            replies = await asyncio.gather(
                *(self.ask(signed, key, self.patience()) for _ in range(self.world.rng.randint(2, 3))),
                return_exceptions=True,
            )
            whole = [reply for reply in replies if isinstance(reply, Reply)]
            taken = [self.took(reply) for reply in whole]
            if any(taken):
                return
            if any(reply.status == 402 for reply in whole):
                self.want.refused = next(code(reply) for reply in whole if reply.status == 402)
                return
            await self.pause()


async def bystander(world: World, gateways: Sequence[Any]) -> None:
    """Reads the chain's pool, and asks with what others have signed."""
    tried: set[str] = set()
    for _ in range(6):
        await asyncio.sleep(0.1 + world.rng.random() * 6)
        seen = [world.signed[payment] for each in world.store.journal for payment in each.payment_ids]
        seen = [each for each in seen if each.data in world.chain.sent]
        for signed in seen:
            if signed.payment in tried and world.rng.random() < 0.5:
                continue
            tried.add(signed.payment)
            who = Who(signed.payer, signed.path, bystander=True)
            gateway = world.rng.choice(gateways)
            world.say("bystander", f"-> {gateway.name}: GET {signed.path} with {signed.payment[:10]}")
            try:
                await request(world, gateway, who, signed.path, signed.header, None, 30.0, "bystander")
            except Unanswered:
                continue


async def forger(world: World, gateways: Sequence[Any], victim: int, path: str) -> None:
    """Names somebody else as payer."""
    for _ in range(2):
        signed = world.sign(victim, path, forged=True)
        try:
            await request(
                world, world.rng.choice(gateways), Who(-1, path), path, signed.header, None, 30.0, "forger"
            )
        except Unanswered:
            continue


async def misuser(world: World, gateways: Sequence[Any], payer: int, path: str, other: str) -> None:
    """One authorization for two requests."""
    signed = world.sign(payer, path)
    world.knows(other)
    for each in (path, other, path):
        try:
            await request(
                world, world.rng.choice(gateways), Who(payer, each), each, signed.header, "m", 30.0, "misuser"
            )
        except Unanswered:
            continue


async def key_thief(
    world: World, gateways: Sequence[Any], thief: int, path: str, keys: Sequence[str]
) -> None:
    """Pays with its own money and guesses other payers' keys: it may only ever read what it bought."""
    for key in keys:
        await asyncio.sleep(world.rng.random() * 5)
        signed = world.sign(thief, path)
        try:
            await request(
                world,
                world.rng.choice(gateways),
                Who(thief, path),
                path,
                signed.header,
                key,
                30.0,
                "key thief",
            )
        except Unanswered:
            continue


async def request(
    world: World,
    gateway: Any,
    who: Who,
    path: str,
    header: str,
    key: str | None,
    patience: float,
    name: str,
) -> Reply:
    """One GET on a connection of its own; Unanswered where there is no whole answer."""
    pipe: Pipe | None = gateway.connect(who)
    if pipe is None:
        world.say(name, "   connection refused")
        raise Unanswered
    lines = [f"GET {path} HTTP/1.1", "Host: api.example", f"PAYMENT-SIGNATURE: {header}", "Connection: close"]
    if key is not None:
        lines.append(f"Idempotency-Key: {key}")
    gateway.deliver(pipe, "\r\n".join([*lines, "", ""]).encode())
    try:
        async with asyncio.timeout(patience):
            reply = await pipe.answered()
    except TimeoutError:
        world.say(name, "   hangs up")
        world.outcomes["hung up"] += 1
        unseen = gateway.stopped(pipe)
        pipe.hang_up()
        await asyncio.sleep(UNSEEN if unseen else NOTED)
        raise Unanswered from None
    except Reset:
        world.say(name, "   connection reset")
        world.outcomes["reset"] += 1
        raise Unanswered from None
    world.say(name, f"<- {reply.status} {code(reply) if reply.status != 200 else reply.body[:30]!r}")
    world.outcomes[f"{reply.status} {code(reply)}".strip()] += 1
    if reply.status == 500 and b"internal_error" in reply.body:
        world.violate("W3", f"{path}: 500 {reply.body!r}")
    return reply


_CODE = '"code":"'


def code(reply: Reply) -> str:
    """The gateway's own code of an answer, empty where it is the upstream's."""
    _, found, rest = reply.body.decode("latin-1").partition(_CODE)
    return rest.partition('"')[0] if found else ("replayed" if "idempotent-replayed" in reply.fields else "")


Behaviour = Callable[[World, Sequence[Any], Want, int], Client]
