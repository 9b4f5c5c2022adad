"""What the payment corpus does to a valid credential, step by step."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

Sign = Callable[[dict[str, Any]], str | None]
"""Signs an authorization as it stands; None where it cannot be signed at all."""


def put(document: Any, path: str, value: Any) -> None:
    *parents, last = path.strip("/").split("/")
    for key in parents:
        document = document.setdefault(key, {})
    document[last] = value


def get(document: Any, path: str) -> Any:
    for key in path.strip("/").split("/"):
        document = document[key]
    return document


class Craft:
    """A credential's JSON document and what is done to it."""

    def __init__(self, document: dict[str, Any], sign: Sign) -> None:
        self.document = document
        self.sign = sign
        self.raw: str | None = None

    def header(self) -> str:
        return self.encode(json.dumps(self.document)) if self.raw is None else self.raw

    def encode(self, text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    def apply(self, op: dict[str, Any]) -> None:
        getattr(self, "op_" + op["op"])(**{key: value for key, value in op.items() if key != "op"})

    def op_set_raw(self, value: str) -> None:
        self.raw = value

    def op_set(self, path: str, value: Any) -> None:
        put(self.document, path, value)

    def op_resign_set(self, path: str, value: Any) -> None:
        put(self.document, path, value)
        signature = self.sign(self.document["payload"]["authorization"])
        if signature is not None:
            self.document["payload"]["signature"] = signature

    def op_raw_json_dup_key(self, path: str, second: str) -> None:
        last = path.rpartition("/")[2]
        first = f'"{last}": {json.dumps(get(self.document, path))}'
        text = json.dumps(self.document)
        assert first in text
        self.raw = self.encode(text.replace(first, f'{first}, "{last}": {json.dumps(second)}', 1))

    def signature(self, path: str, change: Any) -> None:
        old = bytes.fromhex(get(self.document, path)[2:])
        put(self.document, path, "0x" + change(old).hex())

    def op_flip_byte(self, path: str) -> None:
        self.signature(path, lambda old: bytes([old[0] ^ 1]) + old[1:])

    def op_v01(self, path: str) -> None:
        self.signature(path, lambda old: old[:64] + bytes([old[64] - 27]))

    def op_eip2098(self, path: str) -> None:
        self.signature(
            path, lambda old: old[:32] + bytes([old[32] | (0x80 if old[64] == 28 else 0)]) + old[33:64]
        )

    def op_wrap6492(self, path: str, factory: str) -> None:
        assert factory == "attacker"
        self.signature(path, wrap6492)


def wrap6492(signature: bytes) -> bytes:
    from eth_abi.abi import encode

    wrapped: bytes = encode(["address", "bytes", "bytes"], ["0x" + "66" * 20, b"call me", signature])
    return wrapped + bytes.fromhex("6492" * 16)
