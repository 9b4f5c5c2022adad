"""A gateway paid from CONXA wallets, in front of an API that names its token counts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from standins.conxa import ConxaServer

from kit.answers import Answer, request
from kit.gateway import Gateway
from kit.upstream import Upstream
from kit.upstream_answers import ok_json

CONNECTIONS = "/_tollway/conxa/connections"
CHAT = "/v1/chat/completions"
FLAT = "/v1/images"
INPUT, OUTPUT = 12, 30
COST = INPUT + OUTPUT
"""Wallet tokens of one chat: the stand-in takes one for each."""
COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": INPUT, "completion_tokens": OUTPUT, "total_tokens": COST},
}
QUESTION = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "Say hello."}]}).encode()


@dataclass(frozen=True)
class WalletShop:
    """One gateway, CONXA, and the API behind it."""

    gateway: Gateway
    upstream: Upstream
    conxa: ConxaServer

    @property
    def url(self) -> str:
        """The public listener."""
        return self.gateway.url

    def connection(self, **order: Any) -> dict[str, Any]:
        """A new connection, as it is told."""
        body = json.dumps(order).encode()
        made: dict[str, Any] = request(self.url + CONNECTIONS, "POST", body=body).json()
        return made

    def connect(self, tokens: int = 100_000, **order: Any) -> tuple[str, str]:
        """A connection's id and the wallet it was scanned with."""
        made, wallet = self.connection(**order), self.conxa.wallet(tokens)
        self.conxa.scan(made["qr_data"], wallet)
        return made["id"], wallet

    def ask(self, connection: str | None, path: str = CHAT, body: bytes = QUESTION, **headers: str) -> Answer:
        """One paid question; ``headers`` with underscores."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        if connection is not None:
            fields["X-Tollway-Connection"] = connection
        fields.setdefault("Content-Type", "application/json")
        return request(self.url + path, "POST", headers=fields, body=body, timeout=60)

    def charged(self, wallet: str) -> list[tuple[str, int, int]]:
        """Model, input and output tokens of each debit of a wallet, in order."""
        every = [each for each in self.conxa.charges() if each.wallet == wallet]
        return [(each.model, each.input_tokens, each.output_tokens) for each in every]

    def called(self, endpoint: str = "charge") -> int:
        """Calls CONXA got of one kind until now."""
        calls: int = self.conxa.calls()["endpoints"].get(endpoint, {}).get("calls", 0)
        return calls

    def assert_one_body_a_key(self) -> None:
        """A charge's key with other numbers would be another charge."""
        several = [bodies for bodies in self.conxa.calls()["keys"].values() if len(bodies) > 1]
        assert several == []


def wallet_config(
    upstream: str,
    service: ConxaServer,
    routes: list[dict[str, Any]] | None = None,
    conxa: Mapping[str, Any] | None = None,
    rails: Mapping[str, Any] | None = None,
    **sections: Any,
) -> dict[str, Any]:
    """Chats are metered, images cost the same each. ``conxa`` adds to that rail's section, ``rails`` further
    rails."""
    chat = {"match": f"POST {CHAT}", "price": "$0.02", "conxa": {"meter": "openai"}}
    flat = {
        "match": f"POST {FLAT}",
        "price": "$0.02",
        "conxa": {"model": "flat", "input_tokens": 100, "output_tokens": 0},
    }
    rail = {"base_url": service.url, "api_key": service.api_key, **(conxa or {})}
    return {
        "upstreams": {"llm": {"url": upstream}},
        "rails": {"conxa": rail, **(rails or {})},
        "routes": [chat, flat] if routes is None else routes,
        **sections,
    }


@contextmanager
def wallet_shop(folder: Path, **sections: Any) -> Iterator[WalletShop]:
    """Starts all three; ``sections`` as for ``wallet_config``."""
    with Upstream() as upstream, ConxaServer() as conxa:
        upstream.on(CHAT, ok_json(COMPLETION))
        upstream.on(FLAT, ok_json({"image": "..."}))
        with Gateway(wallet_config(upstream.url, conxa, **sections), folder=folder) as gateway:
            yield WalletShop(gateway, upstream, conxa)
