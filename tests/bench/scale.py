"""What the figures come to: what a core, a Redis, a key and a chain hold. Arithmetic, not a measurement."""

from __future__ import annotations

from bench.chain import GAS_LIMIT
from bench.goals import OURS, Measured, Value, best, metric
from bench.scenarios import local, memory, paid, settling, storage
from bench.tables import figure, table

_SECOND_US = 1e6
_GIB_KIB = 2.0**20
_DAY_S = 86_400
_REDIS = f"{OURS}, Redis"


def limits(measured: Measured) -> str:
    """The table; lines whose figures were not measured are left out."""
    rows = [(text, figure(value), unit) for text, value, unit in _lines(measured) if value is not None]
    return "### The arithmetic of this run\n\n" + table(["", "", ""], rows) if rows else ""


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
