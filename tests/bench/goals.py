"""What this project set out to reach, against what was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.peers.official import OFFICIAL, OFFICIAL_PROXIES
from bench.results import Results
from bench.scenarios import (
    challenge,
    free,
    local,
    memory,
    moments,
    offline,
    onchain,
    paid,
    settling,
    soak,
)

Measured = Mapping[str, Results]
Value = Callable[[Measured], float | None]
OURS = "tollway"


@dataclass(frozen=True)
class Goal:
    """One line of the table."""

    text: str
    value: Value
    least: float | None
    reach: float | None = None
    unit: str = "x"
    fewer: bool = False
    """Whether less is better."""
    unless: Callable[[Measured], str] = lambda measured: ""
    """Why it cannot be judged in this run, if it cannot."""

    def verdict(self, measured: Measured) -> str:
        """In a word."""
        value = self.value(measured)
        if value is None:
            return "not measured"
        if why := self.unless(measured):
            return why
        if self.reach is not None and self._holds(value, self.reach):
            return "reached"
        if self.least is None:
            return "not reached"
        return "met" if self._holds(value, self.least) else "**not met**"

    def _holds(self, value: float, bound: float) -> bool:
        return value <= bound if self.fewer else value >= bound


def metric(scenario: str, case: str, who: str, name: str = "rate") -> Value:
    """One median."""
    return lambda measured: measured[scenario].get(case, who, name) if scenario in measured else None


def ratio(ours: Value, theirs: Value) -> Value:
    """One by the other."""

    def value(measured: Measured) -> float | None:
        above, below = ours(measured), theirs(measured)
        return above / below if above is not None and below else None

    return value


def best(values: Sequence[Value]) -> Value:
    """The highest of those that were measured."""

    def value(measured: Measured) -> float | None:
        return max((found for each in values if (found := each(measured)) is not None), default=None)

    return value


def added(measured: Measured) -> float | None:
    """Milliseconds Tollway adds to the way to an upstream, median at one connection."""
    case = next(iter(free.CASES))
    found = [metric(free.NAME, case, who, "p50_us")(measured) for who in (OURS, free.DIRECT)]
    return (found[0] - found[1]) / 1000 if found[0] is not None and found[1] is not None else None


def second_worker(moment: str, store: str) -> Value:
    """How much faster two workers are than one."""
    one, two = (f"{OURS}, {store}, {number}" for number in ("1 worker", "2 workers"))
    case = f"settle {moment}"
    return ratio(metric(moments.NAME, case, two), metric(moments.NAME, case, one))


def shared(measured: Measured) -> str:
    """Two workers need a third core."""
    about = measured[moments.NAME].about if moments.NAME in measured else {}
    return "not to be judged: two workers share a core with the load" if _on(about, "workers_share") else ""


def _on(about: Mapping[str, Mapping[str, bool]], name: str) -> bool:
    return about.get("machine", {}).get(name, False)


def _against(*names: str) -> Value:
    return best([metric(paid.NAME, paid.CASE, name) for name in names])


_UNPAID = metric(challenge.NAME, challenge.CASE, OURS)
_BEST_UNPAID = best([metric(challenge.NAME, challenge.CASE, name) for name in OFFICIAL])
_BEST_PROXY = _against(*OFFICIAL_PROXIES)
_TOLLBOOTH = _against("x402-tollbooth")
_KB, _MB = "1 KB, c=32", "1 MB, c=8"
_MEMORY = (memory.NAME, memory.CASE, OURS)


def _free(case: str, who: str) -> Value:
    return ratio(metric(free.NAME, case, OURS), metric(free.NAME, case, who))


def _paid(store: str) -> Value:
    return metric(paid.NAME, paid.CASE, f"{OURS}, {store}")


def _local(store: str) -> Value:
    return metric(local.NAME, local.CASE, f"{OURS}, {store}")


def _settled(name: str = "settlements_per_s") -> Value:
    return best([metric(settling.NAME, settling.CASE, f"{OURS}, {way}", name) for way in settling.WAYS])


def _gas(size: int) -> Value:
    return metric(settling.NAME, settling.GAS_CASE, f"{OURS}, {size} at once", "gas")


_ALONE = metric(settling.NAME, settling.CASE, settling.WAITING, "settlements_per_s")

GOALS = (
    Goal("unpaid 402: by the best official middleware", ratio(_UNPAID, _BEST_UNPAID), 5),
    Goal(
        "unpaid 402: by a bare `web.Server` handler",
        ratio(_UNPAID, metric(challenge.NAME, challenge.CASE, "web.Server")),
        1.2,
    ),
    Goal(
        "unpaid 402: by nginx `return 402`",
        ratio(_UNPAID, metric(challenge.NAME, challenge.CASE, "nginx")),
        None,
        0.5,
    ),
    Goal("free, 1 KB, c=32: by a plain aiohttp proxy", _free(_KB, "aiohttp"), 1.8),
    Goal("free, 1 KB, c=32: by nginx", _free(_KB, "nginx"), None, 0.5),
    Goal("free, 1 MB: by nginx", _free(_MB, "nginx"), 1.0, 1.5),
    *(
        Goal(f"paid, {how}, {store}: by {whom}", ratio(ours(store), theirs), *bounds)
        for how, ours, store, whom, theirs, *bounds in (
            ("remote", _paid, "Redis", "the best official proxy", _BEST_PROXY, 8, 25),
            ("remote", _paid, "SQLite", "the best official proxy", _BEST_PROXY, 6, 25),
            ("remote", _paid, "Redis", "x402-tollbooth", _TOLLBOOTH, 4, 12),
            ("remote", _paid, "SQLite", "x402-tollbooth", _TOLLBOOTH, 3, 12),
            ("local, deferred", _local, "Redis", "the best official proxy", _BEST_PROXY, 8, 20),
            ("local, deferred", _local, "SQLite", "the best official proxy", _BEST_PROXY, 6, 20),
            ("local, deferred", _local, "Redis", "x402-tollbooth", _TOLLBOOTH, 4, 10),
            ("local, deferred", _local, "SQLite", "x402-tollbooth", _TOLLBOOTH, 3, 10),
        )
    ),
    Goal(
        "paid, on an instant chain: by FastAPI with the official facilitator",
        ratio(metric(onchain.NAME, onchain.CASE, OURS), metric(onchain.NAME, onchain.CASE, onchain.PEER)),
        20,
        100,
    ),
    Goal("offline verification", metric(offline.NAME, offline.CASE, OURS, "cpu_us"), 110, 82, "us CPU", True),
    Goal("settlements from one key, 2 s blocks", _settled(), 1000, 4000, "/s"),
    Goal("settlements from one key: by waiting one by one", ratio(_settled(), _ALONE), 1000),
    Goal("gas for each of 50 payments: by one alone", ratio(_gas(50), _gas(1)), 0.66, 0.61, "x", True),
    Goal("added to p50 at c=1", added, 0.5, 0.25, "ms", True),
    Goal("memory of an idle connection", metric(*_MEMORY, "idle_kib"), 10, None, "KiB", True),
    Goal("memory of a worker at rest", metric(*_MEMORY, "worker_mib"), 60, None, "MiB", True),
    Goal("memory of the settling process", metric(*_MEMORY, "settling_mib"), 130, None, "MiB", True),
    Goal(
        "growth over a long mixed load",
        metric(soak.NAME, soak.CASE, OURS, "slope_mib_per_hour"),
        soak.FLAT,
        None,
        "MiB/h",
        True,
        soak.too_short,
    ),
    *(
        Goal(f"a second worker, settle after, {store}", second_worker("after", store), 1.8, unless=shared)
        for store in local.STORES
    ),
)
