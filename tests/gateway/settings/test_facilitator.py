"""The ``facilitator`` section: what it becomes, what is wrong with it, and files that hold nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli import main
from gateway.errors import ConfigError
from gateway.settings import Settings, load

KEY = "0x" + "ab" * 32
PUBLISHED = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
TOKEN = "a-token-of-some-length"
GOOD = f"""\
networks:
  base-sepolia:
    rpc: http://127.0.0.1:8545
  base:
    rpc: http://127.0.0.1:8546
facilitator:
  listen: 127.0.0.1:8404
  networks: [base-sepolia]
  key: "{KEY}"
"""


def loaded(folder: Path, text: str) -> Settings:
    (folder / "f.yaml").write_text(text)
    return load(folder / "f.yaml", {})


def test_a_file_may_hold_nothing_else(tmp_path: Path) -> None:
    settings = loaded(tmp_path, GOOD)
    served = settings.facilitator
    assert served is not None and not settings.sells
    assert (str(served.listen), served.max_body, served.keys) == ("127.0.0.1:8404", 65_536, ())
    assert [chain.name for chain in served.chains] == ["base-sepolia"]
    assert [key.get_secret_value() for key in served.settlement_keys] == [KEY]


def test_several_keys_and_tokens(tmp_path: Path) -> None:
    text = GOOD.replace(f'key: "{KEY}"', f'key: ["{KEY}", "0x{"cd" * 32}"]\n  keys: [{TOKEN}, {TOKEN}2]')
    served = loaded(tmp_path, text.replace("127.0.0.1:8404", "0.0.0.0:8404")).facilitator
    assert served is not None and len(served.settlement_keys) == 2
    assert [key.get_secret_value() for key in served.keys] == [TOKEN, f"{TOKEN}2"]
    assert TOKEN not in repr(served) and KEY not in repr(served)


WRONG = [
    ("127.0.0.1:8404", "0.0.0.0:8404", "7:11: facilitator.listen: can be reached from other machines"),
    ("listen", "lisen", "7:3: facilitator.lisen: unknown key (did you mean `listen`?)"),
    ("[base-sepolia]", "[]", "8:13: facilitator.networks: must not be empty"),
    ("[base-sepolia]", "[base-sepola]", "8:14: facilitator.networks[0]: unknown network"),
    ("[base-sepolia]", "[base, base]", "8:20: facilitator.networks[1]: eip155:8453 is in the list twice"),
    ("[base-sepolia]", "[polygon]", "8:14: facilitator.networks[0]: settling needs an RPC"),
    (f'"{KEY}"', "nonsense", "9:8: facilitator.key: must be a private key"),
    (f'"{KEY}"', "[]", "9:8: facilitator.key: must not be empty"),
    (f'"{KEY}"', f'["{KEY}", "{KEY}"]', "9:8: facilitator.key: names one key twice"),
    (f'"{KEY}"', f'"{KEY}"\n  keys: [short]', "10:10: facilitator.keys[0]: is too short"),
    (f'"{KEY}"', f'"{KEY}"\n  keys: sixteen and more letters', "10:9: facilitator.keys: cannot be sent"),
    (f'"{KEY}"', f'"{KEY}"\n  max_body: 0B', "10:13: facilitator.max_body: must be larger than zero"),
]


@pytest.mark.parametrize(("old", "new", "says"), WRONG, ids=lambda each: each[:40])
def test_wrong(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in GOOD
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, GOOD.replace(old, new))
    assert any(line.startswith(f"{tmp_path}/f.yaml:{says}") for line in caught.value.problems), caught.value


def test_a_published_key_is_for_test_networks(tmp_path: Path) -> None:
    text = GOOD.replace(KEY, PUBLISHED)
    assert loaded(tmp_path, text).facilitator is not None
    with pytest.raises(ConfigError, match="published test key"):
        loaded(tmp_path, text.replace("[base-sepolia]", "[base-sepolia, base]"))


def test_serve_and_facilitator_say_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text(GOOD)
    served = CliRunner().invoke(main, ["serve", "-c", str(tmp_path / "f.yaml")])
    assert served.exit_code == 3 and "routes: is required" in served.output
    starter = Path(__file__).resolve().parents[3] / "config" / "gateway.yaml"
    lent = CliRunner().invoke(main, ["facilitator", "-c", str(starter)])
    assert lent.exit_code == 3 and "facilitator: is required" in lent.output
