"""The gateway's own paths for wallets: make a connection, show its code, follow its status."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import parse_qs

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway import headers
from gateway.accept import Incoming, invite_body, read_body
from gateway.answers import Answer
from gateway.budget import Hold
from gateway.conxa import qr
from gateway.conxa.connections import Connection, Mint
from gateway.conxa.page import connect_page
from gateway.conxa.preflight import unavailable
from gateway.conxa.sessions import Sessions
from gateway.conxa.wallets import Wallet, Wallets
from gateway.conxa.wire import ConxaUnavailable, Session, Status
from gateway.errors import ClientError, Problem, Unavailable
from gateway.render import NO_STORE

PREFIX = "/_tollway/conxa/"
CONNECT = PREFIX + "connect"
CONNECTIONS = PREFIX + "connections"
_MAX_BODY = 4096
_BODY_TIMEOUT = 10.0
_MAX_WAIT = 60.0
"""Seconds one question about the status may wait."""
_MOST_WAITING = 1000
_DURATION = re.compile(r"([0-9]{1,6})(ms|s|m)?\Z")
_ID = re.compile(r"cx_[A-Za-z0-9_-]*")
_UNITS = {"ms": 0.001, "s": 1.0, None: 1.0, "m": 60.0}
_PICTURES = {
    "qr.svg": (qr.svg, b"image/svg+xml"),
    "qr.png": (qr.png, b"image/png"),
}


class Order(BaseModel):
    """What ``POST /_tollway/conxa/connections`` may ask for."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    limit: Annotated[float, Field(ge=0, le=1e15)] | None = None
    """Most the wallet is to spend, in its tokens."""
    size: Annotated[int, Field(ge=50, le=2000)] = 300
    """Pixels of the code's picture."""
    expires_in: Annotated[int, Field(ge=10, le=86400)] = 900
    """Seconds for which the code may be scanned."""


@dataclass(frozen=True, slots=True)
class Provider:
    """Who is paid, as the code says it; and where clients reach this gateway."""

    id: str
    type: str
    public_url: str


class Desk:
    """Answers requests under ``/_tollway/conxa/``."""

    def __init__(
        self,
        provider: Provider,
        *,
        mint: Mint,
        sessions: Sessions,
        wallets: Wallets,
        origins: Sequence[str],
    ) -> None:
        """``origins`` are those whose pages may read the answers (``server.cors``)."""
        self._provider = provider
        self._mint = mint
        self._sessions = sessions
        self._wallets = wallets
        self._origins = origins
        self._waiting = 0

    def serves(self, path: str) -> bool:
        """Whether a canonical path is one of these."""
        return path.startswith(PREFIX)

    def logged(self, path: str) -> str:
        """A path of ours without the secret in it."""
        return _ID.sub("{id}", path)

    async def answer(self, incoming: Incoming, hold: Hold) -> Answer:
        """The answer; every Problem is the caller's to render."""
        path = incoming.target.path
        if incoming.method == "OPTIONS":
            return self._preflight(incoming)
        if path == CONNECT:
            _allow(incoming, "GET", "HEAD")
            page = connect_page()
            return Answer(200, page.fields, page.body)
        if path == CONNECTIONS:
            _allow(incoming, "POST")
            return await self._create(incoming, hold)
        secret, _, picture = path.removeprefix(CONNECTIONS + "/").partition("/")
        if not path.startswith(CONNECTIONS + "/") or (picture and picture not in _PICTURES):
            raise ClientError("no_route", "nothing is served here", status=404)
        _allow(incoming, "GET", "HEAD")
        return await self._about(incoming, self._known(secret), picture)

    def _known(self, secret: str) -> Connection:
        connection = self._mint.read(secret)
        if connection is None:
            raise ClientError("no_connection", "there is no such connection", status=404)
        return connection

    async def _create(self, incoming: Incoming, hold: Hold) -> Answer:
        invite_body(incoming)
        order = _order(await read_body(incoming, _MAX_BODY, _BODY_TIMEOUT, hold))
        now = int(time.time())
        connection = self._mint.make(now, lifetime=order.expires_in, size=order.size, limit=order.limit)
        text = self._code(connection)
        base = f"{self._provider.public_url}{CONNECTIONS}/{connection.id}"
        picture = base64.b64encode(qr.png(text, connection.size)).decode()
        told = {
            "id": connection.id,
            "status": Status.PENDING,
            "provider_id": self._provider.id,
            "provider_type": self._provider.type,
            "provider_username": connection.username,
            "qr_data": text,
            "qr_base64": f"data:image/png;base64,{picture}",
            "qr_svg_url": f"{base}/qr.svg",
            "page_url": self._provider.public_url + CONNECT,
            "status_url": base,
            "created_at": _iso(connection.created_at),
            "expires_at": _iso(connection.expires_at),
        }
        return self._json(incoming, 201, told, (b"Location", base.encode()))

    async def _about(self, incoming: Incoming, connection: Connection, picture: str) -> Answer:
        wallet = await self._wallets.recall(connection.hash)
        if not wallet.connected and time.time() >= connection.expires_at:
            raise _gone()
        if picture:
            draw, kind = _PICTURES[picture]
            fields = [(b"Content-Type", kind), NO_STORE, *headers.cors(self._origins, incoming.origin)]
            return Answer(200, fields, draw(self._code(connection), connection.size))
        session = await self._session(connection, wallet, _wait(incoming.query))
        if session.status is Status.EXPIRED:
            raise _gone()
        return self._json(incoming, 200, _standing(connection, wallet, session))

    async def _session(self, connection: Connection, wallet: Wallet, seconds: float) -> Session:
        if self._waiting >= _MOST_WAITING:
            raise Unavailable("busy", "too many wait for a wallet at the moment; try again")
        self._waiting += 1
        try:
            session = await self._sessions.wait(connection, seconds)
        except ConxaUnavailable as error:
            raise unavailable(error) from error
        finally:
            self._waiting -= 1
        if session.status is Status.ACTIVE and not wallet.connected:
            await self._wallets.connected(connection.hash, session.expires_at)
        if session.status is Status.PENDING and time.time() >= connection.expires_at:
            return Session(Status.EXPIRED)
        return session

    def _code(self, connection: Connection) -> str:
        return qr.payload(self._provider.id, self._provider.type, connection.username, connection.limit)

    def _preflight(self, incoming: Incoming) -> Answer:
        fields = headers.cors(self._origins, incoming.origin)
        if fields:
            fields += [
                (b"Access-Control-Allow-Methods", b"GET, HEAD, POST"),
                (b"Access-Control-Allow-Headers", b"Content-Type"),
                (b"Access-Control-Max-Age", b"86400"),
            ]
        return Answer(204, fields)

    def _json(self, incoming: Incoming, status: int, told: dict[str, Any], *more: headers.Field) -> Answer:
        cors = headers.cors(self._origins, incoming.origin)
        fields = [(b"Content-Type", b"application/json"), NO_STORE, *more, *cors]
        return Answer(status, fields, orjson.dumps(told))


def _allow(incoming: Incoming, *methods: str) -> None:
    if incoming.method not in methods:
        allowed = ", ".join((*methods, "OPTIONS"))
        raise ClientError(
            "method_not_allowed", f"served here: {allowed}", status=405, headers=[("Allow", allowed)]
        )


def _order(body: bytes) -> Order:
    try:
        return Order.model_validate_json(body or b"{}")
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "body"
        raise ClientError("bad_request", f"{where}: {first['msg']}") from error


def _wait(query: str | None) -> float:
    """Seconds to wait; ClientError for what is no duration."""
    asked = parse_qs(query or "", keep_blank_values=True).get("wait")
    if asked is None:
        return 0.0
    read = _DURATION.match(asked[0])
    if read is None or len(asked) > 1:
        raise ClientError("bad_request", "wait: must be a duration like `30s`")
    return min(_MAX_WAIT, int(read[1]) * _UNITS[read[2]])


def _standing(connection: Connection, wallet: Wallet, session: Session) -> dict[str, Any]:
    ends = session.expires_at if session.status is Status.ACTIVE else connection.expires_at
    told: dict[str, Any] = {
        "id": connection.id,
        "status": session.status,
        "expires_at": None if ends is None else _iso(ends),
    }
    return told if wallet.balance is None else told | {"balance": wallet.balance}


def _gone() -> Problem:
    return ClientError("connection_expired", "this connection has expired; make another one", status=410)


def _iso(at: float) -> str:
    """UTC, whole seconds."""
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
