"""An upstream's answer as the store keeps it: one JSON line for the head, then the body as it is."""

from __future__ import annotations

import orjson

from gateway.forward import Fetched


def pack(fetched: Fetched) -> bytes:
    """The answer as bytes; ``unpack`` gives the same answer back."""
    fields = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in fetched.fields]
    return orjson.dumps([fetched.status, fetched.length, fields]) + b"\n" + fetched.body


def unpack(packed: bytes) -> Fetched:
    """What ``pack`` was given."""
    head, _, body = packed.partition(b"\n")
    status, length, fields = orjson.loads(head)
    raw = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in fields)
    return Fetched(status, raw, body, length)
