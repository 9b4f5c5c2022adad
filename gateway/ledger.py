"""What ``tollway ledger`` tells: payments as recorded, newest first, in three formats.

It reads the store of the configuration beside whatever gateway runs on it, page by page.
"""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from gateway.errors import StoreUnfit
from gateway.payment import Orphan, Payment, State, payment_id
from gateway.settings import Settings
from gateway.settings.scalars import parse_duration
from gateway.store import Store
from gateway.store.connect import store_of
from gateway.store.sqlite_file import FILE
from policies.money import Asset, whole_units

ORPHAN = "orphan"
"""The state told of money that came without a record."""
COLUMNS = (
    *("created_at", "id", "state", "route", "rail", "network", "asset", "amount", "symbol", "units"),
    *("payer", "attempts", "transaction", "reason", "settled_at", "delivered_at", "left"),
)
"""The cells of a CSV line; JSON objects have them and more."""
TABLE = tuple(name for name in COLUMNS if name not in ("asset", "symbol", "units"))
"""For people: the amount is in whole units, with its symbol, where the asset is known."""
_PAGE = 500
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet would compute."""
Entry = dict[str, Any]
"""One payment or orphan, as the JSON format has it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Which payments; times in Unix milliseconds, by when a payment was first claimed."""

    since: int | None = None
    until: int | None = None
    """The first millisecond that is too late."""
    state: str | None = None
    """A state of ``payment.State``, or ``orphan``."""
    route: str | None = None

    @property
    def orphans(self) -> bool:
        """Whether money without a record is asked for, too; it belongs to no route."""
        return self.state in (None, ORPHAN) and self.route is None

    def within(self, at: int) -> bool:
        """Whether a time is between the two."""
        return (self.since is None or at >= self.since) and (self.until is None or at < self.until)


def asked(since: str | None, until: str | None, state: str | None, route: str | None, now: datetime) -> Asked:
    """Read the filters as given on the command line; ValueError says which cannot be meant."""
    known = (*State, ORPHAN)
    if state is not None and state not in known:
        raise ValueError(f"--state is one of {', '.join(known)}")
    return Asked(_moment("--since", since, now), _moment("--until", until, now), state, route)


def _moment(name: str, text: str | None, now: datetime) -> int | None:
    """A duration counts back from now; a date or time without a zone is UTC."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = _ago(name, text, now)
    aware = at if at.tzinfo else at.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1000)


def _ago(name: str, text: str, now: datetime) -> datetime:
    try:
        return now - timedelta(seconds=parse_duration(text))
    except ValueError as error:
        raise ValueError(
            f"{name} is a date or time such as `2026-03-01` or `2026-03-01T12:00:00Z`, or how long ago: `24h`"
        ) from error


async def entries(settings: Settings, asked: Asked) -> AsyncIterator[Entry]:
    """What is asked for, newest first; StoreUnavailable or StoreUnfit where there is no store to read."""
    embedded = Path(settings.store.path) / FILE
    if settings.store.url == "embedded" and not embedded.exists():
        raise StoreUnfit(f"no payments are kept in {settings.store.path}")
    assets = _assets(settings)
    store = store_of(settings)
    try:
        await store.open()
        async for found in _found(store, asked):
            yield _told(found, assets) if isinstance(found, Payment) else _orphaned(found, assets)
    finally:
        await store.close()


async def _found(store: Store, asked: Asked) -> AsyncIterator[Payment | Orphan]:
    """Both kinds in one order."""
    orphans = [each for each in await store.orphans() if asked.within(each.found_at)] if asked.orphans else []
    orphans.sort(key=lambda orphan: orphan.found_at)
    if asked.state != ORPHAN:
        async for payment in _payments(store, asked):
            while orphans and orphans[-1].found_at > payment.created_at:
                yield orphans.pop()
            yield payment
    while orphans:
        yield orphans.pop()


async def _payments(store: Store, asked: Asked) -> AsyncIterator[Payment]:
    state = None if asked.state is None else State(asked.state)
    cursor: str | None = None
    while True:
        page, cursor = await store.listing(state=state, route=asked.route, limit=_PAGE, cursor=cursor)
        for payment in page:
            if asked.within(payment.created_at):
                yield payment
        # Clocks may step back a little between payments, hardly for a whole page.
        over = asked.since is not None and page and all(each.created_at < asked.since for each in page)
        if cursor is None or over:
            return


def _assets(settings: Settings) -> Mapping[tuple[str, str], Asset]:
    """The configuration's tokens by (network, lower-case address)."""
    return {
        (network.caip2, asset.address.lower()): asset
        for network in settings.networks.values()
        for asset in network.assets.values()
    }


def _told(payment: Payment, assets: Mapping[tuple[str, str], Asset]) -> Entry:
    return {
        "created_at": _iso(payment.created_at),
        "id": payment.id,
        "state": str(payment.state),
        "route": payment.route,
        "rail": payment.rail,
        "network": payment.network,
        **_money(payment, assets),
        "payer": payment.payer,
        "attempts": payment.attempts,
        "transaction": payment.transaction,
        "reason": payment.reason,
        "settled_at": _iso(payment.settled_at),
        "delivered_at": _iso(payment.delivered_at),
        "left": payment.left,
        "settle": str(payment.moment),
        "digest": payment.digest,
        "updated_at": _iso(payment.updated_at),
        "valid_before": str(payment.expires_at),
        "redemptions": payment.redemptions,
        "transitions": [{"state": str(state), "at": _iso(at)} for state, at in payment.history],
    }


def _orphaned(orphan: Orphan, assets: Mapping[tuple[str, str], Asset]) -> Entry:
    return {
        "created_at": _iso(orphan.found_at),
        "id": payment_id(orphan.replay_key),
        "state": ORPHAN,
        "route": None,
        "rail": None,
        "network": orphan.network,
        **_money(orphan, assets),
        "payer": orphan.payer,
        "attempts": 0,
        "transaction": orphan.transaction,
        "reason": "",
        "settled_at": None,
        "delivered_at": None,
        "left": False,
    }


def _money(found: Payment | Orphan, assets: Mapping[tuple[str, str], Asset]) -> Entry:
    """Amounts are text: they may be larger than a JSON number is read exactly."""
    asset = assets.get((found.network, found.asset.lower()))
    return {
        "asset": found.asset,
        "amount": str(found.amount),
        "symbol": asset and asset.symbol,
        "units": asset and whole_units(found.amount, asset.decimals),
    }


def _iso(at: int | None) -> str | None:
    """Unix milliseconds as UTC, to the millisecond."""
    if at is None:
        return None
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def json_line(entry: Entry) -> str:
    """One JSON object, every field with its own type, without the line's end."""
    return orjson.dumps(entry).decode()


def csv_line(cells: Iterable[str]) -> str:
    """One line as RFC 4180 has it, with its end."""
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()


def csv_cells(entry: Entry) -> Iterator[str]:
    """The cells of ``COLUMNS``, none of which a spreadsheet takes for a formula."""
    for name in COLUMNS:
        text = _text(entry[name])
        yield f"'{text}" if text.startswith(_FORMULA) else text


def table_row(entry: Entry) -> dict[str, str]:
    """The cells of ``TABLE``: nothing in them can move a terminal's cursor."""
    shown = entry if entry["units"] is None else entry | {"amount": f"{entry['units']} {entry['symbol']}"}
    return {name: _printable(_text(shown[name]) or "-") for name in TABLE}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
