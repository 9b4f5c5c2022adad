"""The code a CONXA wallet scans to connect: what it says, and its picture.

The text is the official SDK's, byte for byte (contracts/conxa.md section 3): the wallet knows no other.
"""

from __future__ import annotations

import json
import struct
import zlib

import segno

_QUIET = 4
"""Empty modules around the code (ISO/IEC 18004)."""
_PNG = b"\x89PNG\r\n\x1a\n"


def payload(provider_id: str, provider_type: str, username: str, limit: float | None) -> str:
    """What the code says. ``limit`` is the most that may be charged over this connection, in tokens."""
    said: dict[str, str | float] = {
        "provider_id": provider_id.strip(),
        "provider_type": provider_type.lower().strip(),
        "provider_username": username.strip(),
    }
    if limit is not None:
        said["limit"] = float(limit)
    return json.dumps(said, separators=(",", ":"))


def png(text: str, size: int) -> bytes:
    """A black and white picture of exactly ``size`` x ``size`` pixels.

    Where ``size`` is no multiple of the modules, some are a pixel wider than others; readers do not mind.
    """
    modules = _modules(text)
    shown = [at * len(modules) // size for at in range(size)]
    rows = [b"\0" + _packed([not row[at] for at in shown]) for row in modules]
    header = struct.pack(">IIBBBBB", size, size, 1, 0, 0, 0, 0)
    pixels = zlib.compress(b"".join(rows[at] for at in shown), 9)
    return _PNG + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def svg(text: str, size: int) -> bytes:
    """The same as a drawing that stays sharp at any size."""
    modules = _modules(text)
    side = len(modules)
    dark = "".join(f"M{x} {y}h1v1h-1z" for y, row in enumerate(modules) for x, set_ in enumerate(row) if set_)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size}" height="{size}" viewBox="0 0 {side} {side}"'
        f' shape-rendering="crispEdges"><path fill="#fff" d="M0 0h{side}v{side}H0z"/><path d="{dark}"/></svg>'
    ).encode()


def _modules(text: str) -> list[list[bool]]:
    """True where the code is dark, quiet zone included; error correction M, as the SDK has it."""
    code = segno.make_qr(text, error="m", boost_error=False)
    return [[bool(each) for each in row] for row in code.matrix_iter(border=_QUIET)]


def _packed(bits: list[bool]) -> bytes:
    """Eight to a byte, the first one highest, the last byte filled up."""
    short = -len(bits) % 8
    return int("".join("01"[bit] for bit in bits) + "0" * short, 2).to_bytes((len(bits) + short) // 8)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
