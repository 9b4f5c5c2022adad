"""`tollway ledger`: what is on record, as people, spreadsheets and programs read it."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from kit.ops import tollway
from kit.redis_server import RedisServer
from kit.stores import HERE, claimed, make_claim, settle

from gateway.ledger import COLUMNS, TABLE, Asked, asked, entries
from gateway.payment import Claim, Orphan, payment_id
from gateway.settings import Settings, load
from gateway.store import Store
from gateway.store.connect import store_of

USDC = "0x036cbd53842c5426634e7929541ec2318f3dcf7e"
TEXT = """\
store: {{url: "{url}", path: "{path}"}}
networks: {{base-sepolia: {{rpc: "http://127.0.0.1:1"}}}}
upstreams: {{api: {{url: "http://127.0.0.1:1"}}}}
rails:
  x402:
    pay_to: 0x70997970C51812dc3A010C7d01b50e0d17dc79C8
    networks: [base-sepolia]
    facilitator: {{key: 0xabababababababababababababababababababababababababababababababab}}
routes: [{{match: GET /paid, price: $0.01}}]
"""
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.fixture(params=["embedded", "redis"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A configuration on a fresh store of either kind."""
    file = tmp_path / "gateway.yaml"
    with RedisServer() as server:
        url = "embedded" if request.param == "embedded" else server.url
        file.write_text(TEXT.format(url=url, path=tmp_path / "data"))
        yield file


@pytest.fixture
def settings(config: Path) -> Settings:
    return load(config, {})


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[Store]:
    """The gateway's own hand on the store: it stays open beside the command."""
    store = store_of(settings)
    await store.open()
    await store.arrive(HERE)
    yield store
    await store.close()


def cent(**changes: object) -> Claim:
    """A claim on a cent of the configured token."""
    return make_claim(**({"asset": USDC} | changes))


def orphan(number: int = 0) -> Orphan:
    return Orphan(f"key-{number}", "eip155:84532", USDC, "0xstranger", 20_000, "0xfound")


async def ids(settings: Settings, wanted: Asked) -> list[str]:
    return [entry["id"] async for entry in entries(settings, wanted)]


async def run(config: Path, *arguments: str) -> str:
    """The command's output; it must end well."""
    done = await asyncio.to_thread(tollway, "ledger", "-c", str(config), *arguments)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


async def test_json_lines_say_what_is_on_record(store: Store, config: Path) -> None:
    claim = cent(route="GET /paid")
    began = time.time()
    await settle(store, claim, transaction="0xabc")
    await store.mark(delivered=[claim.id])
    lines = (await run(config, "--format", "jsonl")).splitlines()

    [entry] = map(json.loads, lines)

    created, settled, delivered = (
        datetime.fromisoformat(entry[name]) for name in ("created_at", "settled_at", "delivered_at")
    )
    assert began - 1 < created.timestamp() <= settled.timestamp() <= delivered.timestamp() < time.time() + 1
    assert [each["state"] for each in entry["transitions"]] == ["reserved", "served", "settling", "settled"]
    told = {name: entry[name] for name in COLUMNS if not name.endswith("_at")}
    assert told == {
        "id": claim.id,
        "state": "settled",
        "route": "GET /paid",
        "rail": "x402",
        "network": "eip155:84532",
        "asset": USDC,
        "amount": "10000",
        "symbol": "USDC",
        "units": "0.01",
        "payer": "0xpayer",
        "attempts": 1,
        "transaction": "0xabc",
        "reason": "",
        "left": False,
    }


async def test_a_token_the_configuration_does_not_know_has_no_units(store: Store, settings: Settings) -> None:
    await claimed(store, make_claim(asset="0xother", amount=2**256 - 1))
    [entry] = [each async for each in entries(settings, Asked())]
    assert (entry["amount"], entry["symbol"], entry["units"]) == (str(2**256 - 1), None, None)


async def test_more_than_one_page_newest_first(store: Store, settings: Settings) -> None:
    claims = [cent(payer=f"0x{number}", purse="one") for number in range(1101)]
    for claim in claims:
        await claimed(store, claim)
    assert await ids(settings, Asked()) == [claim.id for claim in reversed(claims)]


async def test_filters(store: Store, settings: Settings) -> None:
    early, late, elsewhere = cent(route="a"), cent(route="a"), cent(route="b")
    await settle(store, early)
    await asyncio.sleep(0.02)
    between = time.time_ns() // 1_000_000
    await asyncio.sleep(0.02)
    await claimed(store, late)
    await settle(store, elsewhere)
    await asyncio.sleep(0.02)
    await store.note_orphan(orphan())
    lost = payment_id(orphan().replay_key)

    assert await ids(settings, Asked()) == [lost, elsewhere.id, late.id, early.id]
    assert await ids(settings, Asked(state="settled")) == [elsewhere.id, early.id]
    assert await ids(settings, Asked(route="a")) == [late.id, early.id]
    assert await ids(settings, Asked(state="reserved", route="a")) == [late.id]
    assert await ids(settings, Asked(state="orphan")) == [lost]
    assert await ids(settings, Asked(state="orphan", route="a")) == []
    assert await ids(settings, Asked(since=between)) == [lost, elsewhere.id, late.id]
    assert await ids(settings, Asked(until=between)) == [early.id]
    assert await ids(settings, Asked(since=between, until=between)) == []


async def test_orphans_stand_where_they_were_found(store: Store, settings: Settings) -> None:
    before, after = cent(), cent()
    await claimed(store, before)
    await asyncio.sleep(0.01)
    await store.note_orphan(orphan())
    await asyncio.sleep(0.01)
    await claimed(store, after)
    found = [each async for each in entries(settings, Asked())]
    assert [each["id"] for each in found] == [after.id, payment_id(orphan().replay_key), before.id]
    assert (found[1]["state"], found[1]["units"], found[1]["transaction"]) == ("orphan", "0.02", "0xfound")


async def test_csv_can_be_read_back_and_computes_nothing(store: Store, config: Path) -> None:
    claim = cent(route='GET /a,"b"', payer='=HYPERLINK("http://evil")')
    await settle(store, claim, reason="-1+1")
    text = await run(config, "--format", "csv")
    assert text.splitlines()[0] == ",".join(COLUMNS)
    [row] = csv.DictReader(io.StringIO(text))
    assert (row["id"], row["route"], row["units"]) == (claim.id, 'GET /a,"b"', "0.01")
    assert (row["payer"], row["reason"]) == ('\'=HYPERLINK("http://evil")', "'-1+1")
    assert (row["left"], row["delivered_at"]) == ("no", "")


async def test_a_table_cannot_steer_a_terminal(store: Store, config: Path) -> None:
    claim = cent()
    await settle(store, claim, reason="\x1b[2Jgone\n")
    titles, cells = (line.split("\t") for line in (await run(config)).splitlines())
    assert tuple(titles) == TABLE
    shown = dict(zip(titles, cells, strict=True))
    assert (shown["id"], shown["amount"]) == (claim.id, "0.01 USDC")
    assert (shown["reason"], shown["delivered_at"]) == ("\\x1b[2Jgone\\n", "-")


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-03-01T10:30", datetime(2026, 3, 1, 10, 30, tzinfo=UTC)),
        ("2026-03-01T10:30:00+02:00", datetime(2026, 3, 1, 8, 30, tzinfo=UTC)),
        ("2026-03-01T10:30:00.250Z", datetime(2026, 3, 1, 10, 30, 0, 250_000, tzinfo=UTC)),
        ("24h", NOW - timedelta(hours=24)),
        ("250ms", NOW - timedelta(milliseconds=250)),
    ],
)
def test_times(text: str, at: datetime) -> None:
    milliseconds = round(at.timestamp() * 1000)
    assert asked(text, text, None, None, NOW) == Asked(milliseconds, milliseconds)


@pytest.mark.parametrize(
    "arguments",
    [("--since", "yesterday"), ("--until", "-1h"), ("--state", "paid"), ("--format", "xml"), ("--all",)],
)
def test_what_is_not_understood_is_a_usage_error(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = tollway("ledger", "-c", str(tmp_path / "none.yaml"), *arguments)
    assert done.returncode == 2 and done.stdout == "" and arguments[0] in done.stderr


def test_a_configuration_that_is_none(tmp_path: Path) -> None:
    assert tollway("ledger", "-c", str(tmp_path / "none.yaml")).returncode == 3


@pytest.mark.parametrize("url", ["embedded", "redis://127.0.0.1:1/0"])
def test_a_store_that_is_not_there(url: str, tmp_path: Path) -> None:
    """A wrong path must not look like an empty ledger, nor be made."""
    file = tmp_path / "gateway.yaml"
    file.write_text(TEXT.format(url=url, path=tmp_path / "data"))
    done = tollway("ledger", "-c", str(file))
    assert (done.returncode, done.stdout) == (4, "") and done.stderr.startswith("tollway: ")
    assert not (tmp_path / "data").exists()
