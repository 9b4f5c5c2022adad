"""What the scripts are given of what they share."""

from __future__ import annotations

import re

import pytest

from gateway.store.redis_scripts import Script, load_scripts

SCRIPTS = load_scripts()
DEFINED = re.compile(r"^local (?:function )?(\w+)", re.MULTILINE)
EVERYWHERE = {name for script in SCRIPTS.values() for name in DEFINED.findall(script.source.decode())}


CONSTANTS = {"READY", "OWED", "REDEEMABLE", "TAKEN_UP_AGAIN", "TO_SETTLE", "SILENT", "LOSS_KEPT", "ABANDONED"}


def named(name: str, source: str) -> re.Match[str] | None:
    return re.search(rf"(?<![.\w']){name}\b", source)


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_a_script_defines_what_it_calls_before_it_does(script: Script) -> None:
    """A name that is not would only be found out when its line runs."""
    source = script.source.decode()
    for name in set(re.findall(r"(?<![.\w])([A-Za-z_]\w*)\(", source)) & EVERYWHERE:
        first = named(name, source)
        assert first is not None and source[: first.start()].endswith("local function "), name


def test_a_script_carries_nothing_that_it_does_not_use() -> None:
    assert DEFINED.findall(SCRIPTS["forget"].source.decode()) == [], "It does not even ask for the time"
    states = DEFINED.findall(SCRIPTS["states"].source.decode())
    assert states == ["time", "MICROS", "NOW", "load", "forgotten", "find", "states"]


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_comments_stay_at_home_and_constants_are_written_out(script: Script) -> None:
    assert b"--" not in script.source
    assert not set(re.findall(r"\b[A-Z_]{4,}\b", script.source.decode())) & CONSTANTS
