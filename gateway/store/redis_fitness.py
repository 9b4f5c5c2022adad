"""Whether a Redis may keep money records. Read from INFO: managed services block CONFIG.

What cannot be read there is ``appendfsync``. With ``everysec``, Redis' default, an acknowledged
write survives ``kill -9`` of Redis (the kernel has it, unless an ``fsync`` takes longer than a second
just then), but the last second may be lost with the machine's power; with ``always`` it survives both.
``strict`` does not demand ``always``: it could not be checked on managed services, and after a power loss
the chain's nonces still keep any payment from being taken twice. Operators who want both set
``appendfsync always``.
"""

from __future__ import annotations

from gateway.errors import StoreUnfit

OLDEST = (6, 2)


def check(info: bytes, *, strict: bool) -> None:
    """StoreUnfit says what to set."""
    fields = _fields(info)
    if fields.get("redis_mode") == "cluster" or fields.get("cluster_enabled") == "1":
        raise StoreUnfit("Redis runs in cluster mode: give a single primary (with replicas if you like)")
    if _version(fields.get("redis_version", "")) < OLDEST:
        raise StoreUnfit(f"Redis {fields.get('redis_version', '?')} is too old: 6.2 or newer is needed")
    if fields.get("role") != "master":
        raise StoreUnfit("this Redis is a replica: give its primary, or the sentinels")
    if strict:
        _check_durability(fields)


def _check_durability(fields: dict[str, str]) -> None:
    missing = []
    if fields.get("aof_enabled") != "1":
        missing.append("`appendonly yes` (it would forget acknowledged payments at a restart)")
    if fields.get("maxmemory_policy") != "noeviction":
        missing.append("`maxmemory-policy noeviction` (it may evict payments)")
    if missing:
        raise StoreUnfit(
            f"Redis needs {' and '.join(missing)}; or set store.durability: accept_loss and accept that"
        )


def _fields(info: bytes) -> dict[str, str]:
    lines = info.decode("utf-8", "replace").splitlines()
    return {name: value for name, colon, value in (line.partition(":") for line in lines) if colon}


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
