"""The shape of the tree: who may import whom, what lies where, and that nothing is left untested."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
WINGS = ("gateway", "policies", "facilitator")
MAY_IMPORT = {
    "gateway": {"gateway", "policies", "facilitator"},
    "facilitator": {"facilitator", "policies.money"},
    "policies": {"policies"},
}
TOP = {
    *("pyproject.toml", "gateway", "policies", "facilitator", "config", "tests", "Dockerfile", "README.md"),
    *("Makefile", "docs", "CHANGELOG.md", "LICENSE", "requirements.lock"),
}
"""Besides these only names that begin with a dot, ``.ci`` among them."""

EXERCISED = {
    "gateway": "the version, printed by every end-to-end test",
    "gateway.__main__": "how the kit starts every gateway, forked or executed",
    "gateway.accept": "tests/e2e/test_corpus_path.py and test_corpus_smuggling.py",
    "gateway.admin": "tests/e2e reads health, metrics and payments through it",
    "gateway.app": "puts a gateway together: every test in tests/e2e",
    "gateway.chainwatch": "tests/e2e: /readyz and the gauges",
    "gateway.cli": "every command is run as a process in tests/e2e and tests/gateway",
    "gateway.demo_chat": "tests/gateway/test_demo.py",
    "gateway.demo_client": "tests/gateway/test_demo.py",
    "gateway.demo_conxa": "tests/gateway/test_demo.py",
    "gateway.demo_stage": "tests/gateway/test_demo.py",
    "gateway.demo_x402": "tests/gateway/test_demo.py",
    "gateway.orphans": "tests/e2e/test_ops_chain.py: money without a record",
    "gateway.conxa.desk": "tests/e2e/test_conxa_desk.py",
    "gateway.conxa.measuring": "tests/e2e/test_conxa_streams.py",
    "gateway.conxa.own_sessions": "tests/e2e/test_conxa_own_sessions.py",
    "gateway.conxa.preflight": "tests/e2e/test_conxa_charges.py and test_conxa_debts.py",
    "gateway.rails.conxa": "tests/gateway/rails/test_laws.py, and tests/e2e/test_conxa_*.py",
    "gateway.facilitators": "every gateway of tests/e2e/test_remote_failover.py and test_remote_opaque.py",
    "gateway.settings.receivers": "tests/gateway/settings/test_facilitators.py",
    "gateway.settings.terms": "tests/gateway/settings/test_facilitators.py, tests/e2e/test_remote_routes.py",
    "facilitator.by_network": "every x402 payment in tests/e2e; several of them in test_remote_routes.py",
    "facilitator.checksum": "tests/gateway/settings/test_addresses.py, against eth_utils",
    "gateway.drain": "tests/e2e/test_ops_signals.py ends gateways in mid work",
    "gateway.exchange": "the order of a request: every test in tests/e2e",
    "gateway.facilitator_process": "starts every facilitator of tests/e2e/test_facilitator_once.py",
    "gateway.handout": "every paid request in tests/e2e",
    "gateway.intake": "every request in tests/e2e",
    "gateway.purchase": "every paid request in tests/e2e",
    "gateway.redemption": "tests/e2e/test_lost_answers.py and test_settle_before.py",
    "gateway.stream": "tests/e2e/test_settle_before.py and test_settle_deferred.py",
    "gateway.tunnel": "tests/e2e/test_proxy_upgrade.py",
    "gateway.verifying": "every paid request in tests/e2e",
    "gateway.metering.base": "every meter in tests/gateway/metering",
    "gateway.metering.held": "tests/gateway/metering/test_tee.py: huge answers and huge events",
    "gateway.metering.text": "estimates in tests/gateway/metering/test_request.py and test_tee.py",
    "gateway.metering.vendors": "every answer in tests/gateway/metering/test_recorded.py",
    "gateway.online": "check --online against a real chain in tests/e2e",
    "gateway.outcomes": "tests/e2e/test_exactly_once.py and test_corpus_payment.py",
    "gateway.payer": "the demo and `tollway pay` in tests/e2e/test_official_clients.py",
    "gateway.paying": "`tollway pay` in tests/e2e/test_official_clients.py",
    "gateway.relay": "free routes in tests/e2e",
    "gateway.reloading": "tests/e2e/test_ops_signals.py reloads running gateways",
    "gateway.render": "bodies and headers of every answer in tests/e2e",
    "gateway.serving": "starts every gateway of tests/e2e",
    "gateway.settings.cautions": "warnings in tests/gateway/settings/test_load.py",
    "gateway.settings.rails": "tests/gateway/settings/test_load.py and test_wrong.py",
    "gateway.settings.keys": "tests/gateway/settings/test_wrong.py and test_facilitator.py",
    "gateway.settings.routes": "tests/gateway/settings/test_load.py and test_wrong.py",
    "gateway.settings.shape": "every refusal in tests/gateway/settings/test_wrong.py",
    "gateway.settings.upstreams": "tests/gateway/settings/test_load.py and test_wrong.py",
    "gateway.rails": "a docstring",
    "gateway.store.record": "what both stores share: every test in tests/gateway/store",
    "gateway.store.redis_link": "every store test that runs on Redis",
    "gateway.store.redis_session": "every store test that runs on Redis",
    "gateway.store.redis_words": "every store test that runs on Redis",
    "gateway.store.sqlite_answers": "tests/gateway/store/test_answers.py on SQLite",
    "gateway.store.sqlite_claims": "tests/gateway/store/test_claims.py on SQLite",
    "gateway.store.sqlite_exposure": "tests/gateway/store/test_exposure.py on SQLite",
    "gateway.store.sqlite_facts": "tests/gateway/store/test_facts.py on SQLite",
    "gateway.store.sqlite_instances": "tests/gateway/store/test_instances.py on SQLite",
    "gateway.store.sqlite_leases": "tests/gateway/store/test_leases.py on SQLite",
    "gateway.store.sqlite_orphans": "tests/gateway/store/test_orphans.py on SQLite",
    "gateway.store.sqlite_purge": "tests/gateway/store/test_lifetimes.py on SQLite",
    "gateway.store.sqlite_rows": "every store test that runs on SQLite",
    "gateway.store.sqlite_schema": "every store test that runs on SQLite",
    "gateway.store.sqlite_standing": "tests/gateway/store/test_standing.py on SQLite",
    "gateway.store.sqlite_steps": "tests/gateway/store/test_steps.py on SQLite",
    "gateway.store.sqlite_worker": "every store test that runs on SQLite",
    "gateway.watch": "store outages in tests/e2e",
    "gateway.workers": "deployments with two workers in tests/e2e",
    "gateway.conxa": "a docstring",
    "gateway.devchain.batcher": "placed by tests/conftest.py; tests/facilitator/test_batching.py calls it",
    "gateway.devchain.leash": "tests/gateway/test_devchain.py kills parents",
    "gateway.devconxa": "a docstring",
    "gateway.devconxa.__main__": "tests/standins/test_conxa_control.py runs it",
    "gateway.devconxa.calls": "tests/standins/test_conxa_control.py and test_conxa_flood.py",
    "gateway.devconxa.keys": "tests/standins/test_conxa_ledger.py",
    "gateway.devconxa.mischief": "every fault in tests/standins/test_conxa_sdk.py",
    "gateway.devconxa.service": "every call in tests/standins/test_conxa_sdk.py",
    "gateway.devconxa.sessions": "tests/standins/test_conxa_ledger.py",
    "gateway.devconxa.wallets": "tests/standins/test_conxa_ledger.py",
    "facilitator": "empty",
    "facilitator.http1": "a docstring",
    "facilitator.http1.upload": "tests/facilitator/http1/test_connection.py: streamed content",
    "facilitator.crashpoints": "tests/crash, and every crash in tests/e2e",
    "facilitator.identifier": "tests/e2e/test_lost_answers.py",
    "facilitator.desk": "tests/facilitator/test_batching.py and test_settle.py: everybody is settled there",
    "facilitator.shipment": "tests/facilitator/test_batching_faults.py",
    "facilitator.local": "made in the conftest of tests/facilitator for every test there",
    "facilitator.pinned": "tests/facilitator/test_remote_settle.py and test_remote_opaque.py",
    "facilitator.receipts": "tests/facilitator/test_settle.py and test_settle_faults.py",
    "facilitator.settling": "tests/facilitator/test_settle.py and test_settle_faults.py",
    "facilitator.signer": "tests/facilitator/test_settle.py and test_settle_faults.py",
    "facilitator.lane": "tests/facilitator/test_settle.py and test_settle_faults.py",
    "policies": "a docstring",
}
"""Modules no test imports or is named after, and what tests them all the same."""


@cache
def modules() -> dict[str, Path]:
    """Every module of the three packages by its dotted name."""
    found = {}
    for wing in WINGS:
        for file in sorted((ROOT / wing).rglob("*.py")):
            parts = file.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports(file: Path, *, at_load: bool = False) -> Iterator[str]:
    """What a file imports, as dotted names; ``at_load``: without functions and what is for type checkers."""
    pending: list[ast.AST] = [ast.parse(file.read_text())]
    while pending:
        node = pending.pop()
        if at_load and (isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or typing_only(node)):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield from (_imported(node.module or "", alias.name) for alias in node.names)
        pending.extend(ast.iter_child_nodes(node))


def typing_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _imported(module: str, name: str) -> str:
    """``from a import b`` imports ``a.b`` where that is a module, ``a`` otherwise."""
    whole = f"{module}.{name}"
    return whole if whole in modules() else module


def ours(names: Iterator[str]) -> set[str]:
    return {name for name in names if name.partition(".")[0] in WINGS}


@cache
def texts() -> dict[Path, str]:
    """Every text file of the tree, without what is hidden, installed or left behind by a run."""
    ignored = set((ROOT / ".gitignore").read_text().replace("/", "").split()) | {".git"}
    found = {}
    pending = [ROOT]
    while pending:
        for entry in pending.pop().iterdir():
            if entry.name in ignored or entry.suffix in (".pyc", ".tmp"):
                continue
            if entry.is_dir():
                pending.append(entry)
            else:
                found[entry.relative_to(ROOT)] = entry.read_text(encoding="utf-8", errors="replace")
    return found


@pytest.mark.parametrize("name", modules())
def test_imports_keep_the_law(name: str) -> None:
    allowed = MAY_IMPORT[name.partition(".")[0]]
    for imported in ours(imports(modules()[name])):
        assert imported.partition(".")[0] in allowed or imported in allowed, f"{name} imports {imported}"


def test_no_module_imports_tests() -> None:
    for name, file in modules().items():
        assert not any(each.split(".")[0] in ("tests", "kit") for each in imports(file)), name


def test_imports_make_no_circle() -> None:
    """By what runs when a module is loaded; a package counts where it is named."""
    graph = {name: ours(imports(file, at_load=True)) - {name} for name, file in modules().items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"imports in a circle: {' -> '.join(error.args[1])}")


def test_config_holds_no_code() -> None:
    found = {file.suffix for file in texts() if file.parts[0] == "config"}
    assert found == {".yaml", ".json"}


def test_the_top_level_is_the_fixed_one() -> None:
    found = {file.parts[0] for file in texts() if not file.parts[0].startswith(".")}
    assert found == TOP
    assert (ROOT / ".ci" / "run").is_file()


@pytest.mark.parametrize(
    "forbidden",
    [
        "../" + "shared",
        *("pypi" + ".org", "files.pythonhosted" + ".org"),
        *("registry.npmjs" + ".org", "registry.yarnpkg" + ".com"),
        *("TO" + "DO", "FIX" + "ME"),
    ],
)
def test_no_file_mentions(forbidden: str) -> None:
    word = re.compile(rf"(?<!\w){re.escape(forbidden)}(?!\w)")
    assert [str(file) for file, text in texts().items() if word.search(text)] == []


def covered() -> set[str]:
    """Modules that a test file imports or is named after."""
    found: set[str] = set()
    for file in (ROOT / "tests").rglob("test_*.py"):
        folder = file.relative_to(ROOT / "tests").parts[:-1]
        found |= ours(imports(file)) | {".".join((*folder, file.stem.removeprefix("test_")))}
    return found


def test_every_module_is_tested() -> None:
    untested = modules().keys() - covered() - EXERCISED.keys()
    assert not untested, f"write a test, or say in EXERCISED what tests {sorted(untested)}"


def test_excuses_are_about_modules_and_files_that_exist() -> None:
    assert not EXERCISED.keys() - modules().keys()
    named = {name for why in EXERCISED.values() for name in re.findall(r"\btest_\w+\.py", why)}
    assert not named - {file.name for file in texts()}
