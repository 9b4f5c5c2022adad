"""What a run does, decided beforehand by its seed: where each gateway dies, and who buys meanwhile."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from facilitator.crashpoints import POINTS

ROUND = (*POINTS, "random", "random")
"""Every so many cycles each of these was planned once, in an order of the seed's."""
SELDOM = ("K5", "K7", "K8", "K9", "K10")
"""Points that not every purchase comes to, or many together."""
STOP_EVERY = 40
"""One cycle in so many freezes a worker beyond its lease (it takes a dozen seconds)."""
MOMENTS = ("after", "before", "deferred")
STORES = ("embedded", "redis")


@dataclass(frozen=True, slots=True)
class Errand:
    """One thing somebody wants to buy."""

    manner: str
    """``stock``, ``careful`` or ``quitter``."""
    moment: str
    """When its route settles."""
    shared: bool
    """The same URL and payer as others of this cycle."""
    payer: int
    starts: float
    """Seconds after the cycle began."""
    patience: float
    """Seconds until its client hangs up on one attempt."""
    delay: float
    """Seconds the upstream takes."""
    size: int
    """Bytes of the answer, about."""
    posts: bool
    """POST with a body instead of GET."""
    again: bool
    """Careful clients: fetch the bought answer once more."""


@dataclass(frozen=True, slots=True)
class Cycle:
    """The life of one gateway process."""

    number: int
    store: str
    workers: int
    point: str
    """K0 to K11, or ``random``: at no point but after ``lasts`` seconds."""
    nth: int
    signal: str
    """KILL, TERM or STOP."""
    lasts: float
    """Seconds after which it is killed where it stands."""
    redis_dies: float | None
    """Seconds after which Redis is killed, too."""
    fault: str | None
    """How the money's side fails for a while."""
    fails: float
    """How long, in seconds."""
    errands: tuple[Errand, ...]

    @property
    def armed(self) -> str:
        """The value of ``TOLLWAY_CRASH``."""
        return "" if self.point == "random" else f"{self.point}:{self.nth}:{self.signal}"


@dataclass(frozen=True, slots=True)
class Options:
    """What a plan may use."""

    moments: Sequence[str] = MOMENTS
    points: Sequence[str] = ROUND
    faults: Sequence[str] = ()
    """Of the money's side."""
    fault_rate: float = 0.0
    """How much of the cycles has one."""
    errands: int = 7
    """Most purchases begun in one cycle."""
    stops: bool = True


def plan(seed: int, count: int, stores: Sequence[str], options: Options) -> dict[str, list[Cycle]]:
    """``count`` cycles, dealt out to the stores in turn."""
    dice = random.Random(seed)
    shares: dict[str, list[Cycle]] = {store: [] for store in stores}
    points: list[str] = []
    for index in range(count):
        points = points or dice.sample(options.points, len(options.points))
        share = shares[stores[index % len(stores)]]
        stop = options.stops and index % STOP_EVERY == STOP_EVERY // 2
        cycle = _cycle(dice, len(share) + 1, stores[index % len(stores)], points.pop(), options, stop)
        share.append(cycle)
    return shares


def _cycle(dice: random.Random, number: int, store: str, point: str, options: Options, stop: bool) -> Cycle:
    stop = stop and point != "random"
    workers = 2 if stop else dice.choice((1, 1, 2))
    signal = "STOP" if stop else "TERM" if dice.random() < 0.08 else "KILL"
    errands = dice.randint(3, options.errands)
    return Cycle(
        number=number,
        store=store,
        workers=workers,
        point=point,
        nth=1 if stop else dice.choice((1, 1, 1, 2) if workers > 1 or point in SELDOM else (1, 1, 2, 3, 4)),
        signal=signal,
        lasts=dice.uniform(0.2, 2.2) if point == "random" else 3.0,
        redis_dies=dice.uniform(0.1, 1.5) if store == "redis" and dice.random() < 0.12 else None,
        fault=dice.choice(options.faults) if options.faults and dice.random() < options.fault_rate else None,
        fails=dice.uniform(0.5, 2.0),
        errands=tuple(_errands(dice, errands, options, hasty=not stop)),
    )


def _errands(dice: random.Random, count: int, options: Options, *, hasty: bool) -> Iterator[Errand]:
    """A third of the cycles has somebody who polls: several wants for one URL."""
    polls = dice.randint(2, 3) if dice.random() < 0.33 else 0
    moment = dice.choice(options.moments)
    for index in range(count):
        shared = index < polls
        manner = "stock" if shared else dice.choice(("stock",) * 5 + ("careful",) * 4 + ("quitter",))
        yield Errand(
            manner=manner,
            moment=moment if shared else dice.choice(options.moments),
            shared=shared,
            payer=0 if shared else dice.randrange(6),
            starts=dice.uniform(0, 0.6),
            patience=_patience(dice, manner, hasty),
            delay=dice.choice((0.0, 0.0, 0.05, 0.3)),
            size=dice.choice((0, 0, 0, 100_000, 400_000)),
            posts=not shared and dice.random() < 0.3,
            again=dice.random() < 0.3,
        )


def _patience(dice: random.Random, manner: str, hasty: bool) -> float:
    """Nobody hurries while a worker is frozen: who leaves one that cannot notice is a new customer."""
    if manner == "quitter":
        return dice.uniform(0.05, 1.3)
    return dice.choice((9.0, 9.0, 9.0, 0.8)) if hasty and manner == "stock" else 9.0
