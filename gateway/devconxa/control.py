"""``/_standin/``: makes wallets, scans codes and lets things go wrong, for this machine only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from ipaddress import ip_address
from typing import Annotated, Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from gateway.devconxa.faults import Rule
from gateway.devconxa.options import Options
from gateway.devconxa.orders import unprocessable
from gateway.devconxa.replies import Declined, Reply, error
from gateway.devconxa.service import Service
from gateway.devconxa.sessions import Action, Session

PREFIX = "/_standin"
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Wallet(_Asked):
    tokens: int
    id: str | None = None


class _TopUp(_Asked):
    tokens: int


class _Scan(_Asked):
    qr_data: str
    wallet_id: str
    session_seconds: Annotated[float, Field(gt=0, le=1e9)] | None = None


class _Act(_Asked):
    action: Action
    provider: str | None = None


_RULES = TypeAdapter(list[Rule])


class Control:
    """Every call answers JSON, errors in CONXA's envelope."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def add_to(self, app: web.Application) -> None:
        """Adds the routes."""
        for method, path, answer in (
            ("POST", "/wallets", self._open_wallet),
            ("POST", "/wallets/{wallet}", self._top_up),
            ("POST", "/scan", self._scan),
            ("POST", "/sessions/{username:.+}", self._act),
            ("GET", "/charges", self._charges),
            ("GET", "/calls", self._calls),
            ("POST", "/faults", self._add_faults),
            ("DELETE", "/faults", self._clear_faults),
            ("POST", "/options", self._set_options),
        ):
            app.router.add_route(method, PREFIX + path, self._served(answer))

    def _served(self, answer: Callable[[web.Request, bytes], dict[str, Any]]) -> _Handler:
        async def serve(request: web.Request) -> web.StreamResponse:
            body = await request.read()
            try:
                only_from_here(request)
                with self._service.lock:
                    reply = Reply(200, answer(request, body))
            except Declined as declined:
                reply = declined.reply
            except ValidationError as invalid:
                reply = unprocessable(invalid)
            return web.json_response(reply.body, status=reply.status)

        return serve

    def _open_wallet(self, request: web.Request, body: bytes) -> dict[str, Any]:
        asked = _Wallet.model_validate_json(body)
        wallet = self._service.ledger.wallets.open(asked.tokens, asked.id)
        return {"wallet_id": wallet, "tokens": asked.tokens}

    def _top_up(self, request: web.Request, body: bytes) -> dict[str, Any]:
        wallet = request.match_info["wallet"]
        tokens = self._service.ledger.wallets.top_up(wallet, _TopUp.model_validate_json(body).tokens)
        return {"wallet_id": wallet, "tokens": tokens}

    def _scan(self, request: web.Request, body: bytes) -> dict[str, Any]:
        asked = _Scan.model_validate_json(body)
        return _told(self._service.ledger.scan(asked.qr_data, asked.wallet_id, asked.session_seconds))

    def _act(self, request: web.Request, body: bytes) -> dict[str, Any]:
        asked = _Act.model_validate_json(body)
        username = request.match_info["username"]
        return _told(self._service.ledger.act(username, asked.action, asked.provider))

    def _charges(self, request: web.Request, body: bytes) -> dict[str, Any]:
        return {"charges": [asdict(charge) for charge in self._service.ledger.charges]}

    def _calls(self, request: web.Request, body: bytes) -> dict[str, Any]:
        return self._service.calls.told()

    def _add_faults(self, request: web.Request, body: bytes) -> dict[str, Any]:
        """A list of rules, or none of them if one is wrong."""
        rules = _RULES.validate_json(body)
        for rule in rules:
            self._service.faults.add(rule)
        return {"added": len(rules)}

    def _clear_faults(self, request: web.Request, body: bytes) -> dict[str, Any]:
        self._service.faults.clear()
        return {}

    def _set_options(self, request: web.Request, body: bytes) -> dict[str, Any]:
        """Some options or all of them; answers how all of them now stand."""
        ledger = self._service.ledger
        changes = Options.model_validate_json(body)
        ledger.options = ledger.options.model_copy(
            update={name: getattr(changes, name) for name in changes.model_fields_set}
        )
        return ledger.options.model_dump(mode="json")


def only_from_here(request: web.Request) -> None:
    """Declined with 403 for a caller on another machine, should the application be served to one."""
    if request.remote is None or not ip_address(request.remote).is_loopback:
        raise Declined(error(403, "Only from this machine"))


def _told(session: Session) -> dict[str, Any]:
    """A session as it is, whatever polling it would say."""
    return {
        "provider_id": session.provider,
        "provider_username": session.username,
        "wallet_id": session.wallet,
        "session_token": session.token,
        "expires_at": session.expires_at,
        "limit": session.cap,
        "spent": session.spent,
    }
