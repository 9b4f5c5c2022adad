"""Names of processes: restarts, forerunners that still run, and processes that are gone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.payment import Instance
from gateway.presence import Presence, gone, here, this_process
from gateway.store import Store
from gateway.store.connect import open_store

SLOT = "host:8402"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = open_store("embedded", tmp_path, 60.0, 1000, 10_000)
    await opened.open()
    yield opened
    await opened.close()


async def names(store: Store) -> set[str]:
    return {each.name for each in await store.instances()}


def ended() -> str:
    """A process of this machine that is no more."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from gateway.presence import this_process as me; print(me())"],
        stdout=subprocess.PIPE,
        text=True,
    )
    told = process.communicate()[0].strip()
    assert told
    return told


async def test_a_name_is_made_once(store: Store) -> None:
    presence = Presence(store, SLOT, "run", 0)
    name = await presence.name()
    assert name == await presence.name() and await names(store) == {name}
    await presence.leave()
    assert await names(store) == set()


async def test_a_restart_takes_its_forerunners_names_away(store: Store) -> None:
    for number in (0, 1):
        await store.arrive(Instance(f"old-{number}", SLOT, "old", number, ended()))
    new = await Presence(store, SLOT, "new", 0).name()
    assert await names(store) == {new}


async def test_a_forerunner_that_still_drains_keeps_its_name(store: Store) -> None:
    await store.arrive(Instance("old", SLOT, "old", 0, this_process()))
    new = await Presence(store, SLOT, "new", 0).name()
    assert await names(store) == {"old", new}


async def test_workers_of_one_run_stand_beside_each_other(store: Store) -> None:
    both = {await Presence(store, SLOT, "run", number).name() for number in (0, 1)}
    assert await names(store) == both
    again = await Presence(store, SLOT, "run", 1).name()
    assert again in await names(store) and len(await names(store)) == 2


async def test_who_is_gone_from_this_machine_is_buried(store: Store) -> None:
    mine = Presence(store, SLOT, "run", 0)
    name = await mine.name()
    other_machine = this_process().replace(":", "elsewhere:", 1)
    for number, process in enumerate([ended(), this_process(), other_machine], start=1):
        await store.arrive(Instance(f"worker-{number}", SLOT, "run", number, process))
    everybody = frozenset({name, "worker-1", "worker-2", "worker-3", "nobody"})
    assert await mine.bury_gone(everybody)
    assert await names(store) == {name, "worker-2", "worker-3"}
    assert not await mine.bury_gone(everybody)
    assert await mine.bury_gone(everybody, known=True), "somebody else buried one of them meanwhile"
    assert not await mine.bury_gone(frozenset({"worker-2"}), known=True)


async def test_nobody_else_is_asked_for_while_alone(store: Store) -> None:
    mine = Presence(store, SLOT, "run", 0)
    assert not await mine.bury_gone(frozenset({await mine.name()}))


def test_a_process_is_told_from_the_next_one_of_its_number() -> None:
    me = this_process()
    assert here(me) and not gone(me)
    machine, pid, started = me.rsplit(":", 2)
    assert gone(f"{machine}:{pid}:{int(started) - 1}")
    assert not here("") and not gone("")
    assert not here(f"other:{pid}:{started}") and not gone(f"other:{pid}:{started}")
