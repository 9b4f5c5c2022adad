"""What the figures come to: what a core, a Redis, a key and a chain hold, and what they hold together.

Arithmetic and simulation, not a measurement.
"""

from __future__ import annotations

from bench.chain import GAS_LIMIT
from bench.fleet import SOON, Chain, Costs, Fleet, Seen, most
from bench.goals import OURS, Measured, Value, best, metric
from bench.scenarios import local, memory, paid, settling, storage
from bench.tables import figure, table

_SMALL = Chain(block_time=12.0, gas_limit=36e6)
FLEETS = {
    "1 process": Fleet(1),
    "2": Fleet(2),
    "4": Fleet(4),
    "8": Fleet(8),
    "16": Fleet(16),
    "16, two keys": Fleet(16, keys=2),
    "2, blocks of 12 s with 36 M gas": Fleet(2, chain=_SMALL),
}
_SECOND_US = 1e6
_GIB_KIB = 2.0**20
_DAY_S = 86_400
_REDIS = f"{OURS}, Redis"


def limits(measured: Measured) -> str:
    """The table; lines whose figures were not measured are left out."""
    rows = [(text, figure(value), unit) for text, value, unit in _lines(measured) if value is not None]
    return "### The arithmetic of this run\n\n" + table(["", "", ""], rows) if rows else ""


def together(measured: Measured) -> str:
    """What fleets of gateways hold, simulated; nothing where the costs were not measured."""
    core = metric(local.NAME, local.CASE, _REDIS, "cpu_us")(measured)
    there = metric(local.NAME, local.CASE, _REDIS, "redis_us")(measured)
    gas = metric(settling.NAME, settling.GAS_CASE, f"{OURS}, 100 at once", "gas")(measured)
    if not (core and there and gas):
        return ""
    costs = Costs(core / _SECOND_US, there / _SECOND_US, gas)
    head = ["gateways", "payments/s", "p50 ms", "p99 ms", "gateways busy", "settling one", "Redis", "chain"]
    rows = [_row(name, fleet, most(fleet, costs), costs) for name, fleet in FLEETS.items()]
    return (
        "### What they hold together\n\n"
        "Simulated with this run's figures (`local`, `deferred`, Redis): the most payments, arriving at\n"
        f"random, of which 99 of 100 are answered within {1000 * SOON:.0f} ms while settlement keeps up.\n\n"
        + table(head, rows)
    )


def _row(name: str, fleet: Fleet, seen: Seen, costs: Costs) -> list[str]:
    full = seen.answered * costs.gas * fleet.chain.block_time / fleet.chain.gas_limit
    busy = (seen.gateways, seen.settling, seen.store, full)
    milliseconds = (1000 * seen.p50, 1000 * seen.p99)
    return [
        name,
        figure(seen.answered),
        *map(figure, milliseconds),
        *(f"{100 * each:.0f} %" for each in busy),
    ]


def _lines(measured: Measured) -> list[tuple[str, float | None, str]]:
    def get(value: Value) -> float | None:
        return value(measured)

    core = get(metric(paid.NAME, paid.CASE, _REDIS, "cpu_us"))
    there = get(metric(paid.NAME, paid.CASE, _REDIS, "redis_us"))
    verified = get(metric(local.NAME, local.CASE, _REDIS, "cpu_us"))
    gas = {
        size: get(metric(settling.NAME, settling.GAS_CASE, f"{OURS}, {size} at once", "gas"))
        for size in (1, 100)
    }
    ways = [
        metric(settling.NAME, settling.CASE, f"{OURS}, {way}", "settlements_per_s") for way in settling.WAYS
    ]
    kept = {name: get(metric(storage.NAME, storage.CASE, OURS, name)) for name in storage.COLUMNS}
    idle = get(metric(memory.NAME, memory.CASE, OURS, "idle_kib"))
    return [
        ("one core of gateway, `remote`, `after`", _by(_SECOND_US, core), "payments/s"),
        ("one core of gateway, `local`, `deferred`", _by(_SECOND_US, verified), "payments/s"),
        ("one Redis, which uses one core", _by(_SECOND_US, there), "payments/s"),
        ("cores of gateway that keep one Redis busy", _by(core, there), "cores"),
        ("one key, blocks of 2 s", get(best(ways)), "payments/s"),
        (
            "a chain of 200 M gas a second, one payment a transaction",
            _by(_GAS_A_SECOND, gas[1]),
            "payments/s",
        ),
        ("the same, 100 a transaction", _by(_GAS_A_SECOND, gas[100]), "payments/s"),
        ("1 GiB of Redis", _by(_GIB_KIB, kept["redis_kib"]), "payments kept"),
        ("1 GiB of disk (SQLite)", _by(_GIB_KIB, kept["sqlite_kib"]), "payments kept"),
        ("a day at 100 payments/s (`replay_window` of 24 h)", _day(kept["redis_kib"]), "GiB of Redis"),
        ("1 GiB of memory", _by(_GIB_KIB, idle), "idle connections"),
    ]


_GAS_A_SECOND = GAS_LIMIT / settling.BLOCK_TIME


def _by(above: float | None, below: float | None) -> float | None:
    return above / below if above and below else None


def _day(kib: float | None) -> float | None:
    return None if kib is None else 100 * _DAY_S * kib / _GIB_KIB
