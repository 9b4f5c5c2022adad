"""The documents say what the code does: keys, defaults, metrics, log fields, codes, commands, links."""

from __future__ import annotations

import ast
import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from gateway.cli import main
from gateway.payment import State
from gateway.settings import Settings, builtin_networks, load
from gateway.settings.model import Configuration, Section

ROOT = Path(__file__).resolve().parent.parent
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS]
CONFIGURATIONS = [ROOT / "config" / "gateway.yaml", *sorted((ROOT / "config" / "examples").glob("*.yaml"))]
KEY = "0x" + "11" * 32
ENVIRONMENT = {
    "RPC_URL": "http://127.0.0.1:8545",
    "BASE_RPC": "http://127.0.0.1:8545",
    "SETTLEMENT_KEY": KEY,
    "ADMIN_TOKEN": "sesame",
    "API_KEY": "secret",
    "WEATHER_KEY": "secret",
    "CONXA_API_KEY": "pk_live_acme_x",
}
SECRETS = "/run/secrets/"
DECLARED_BY = {"count": ("_total", 1), "time": ("", 1), "gauge": ("", 2)}
"""What declares a metric: what the exposition format adds, and how many arguments precede its labels."""
SPOKEN = {"unmatched": "deny"}
"""Defaults that are written in another way than they are held."""
OPERATORS = {"bad_cursor"}
"""Codes only the admin listener answers with though others raise them: in the operations page."""
LEVELS = {"debug", "info", "warning", "error", "critical"}
REASONS = ("facilitator.terms", "facilitator.exact_evm", "facilitator.token_abi", "facilitator.settling")
"""The modules that name the x402 reasons of a refusal."""


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def rows(text: str) -> dict[str, str]:
    """The table rows that begin with a key in code style: key to second cell."""
    return dict(re.findall(r"^\| `([^`|]+)` \| ([^|]*?) \|", text, re.MULTILINE))


# Configuration


def inner(annotation: Any) -> tuple[str, type[Section]] | None:
    """The section an annotation holds, with how one gets there: directly, by name or by number."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return "", annotation
    for each in get_args(annotation):
        found = inner(each)
        if found is not None:
            steps = {dict: ".NAME", tuple: "[]"}
            return steps.get(getattr(annotation, "__origin__", None), "") + found[0], found[1]
    return None


def keys(section: type[Section], path: str = "") -> Iterator[tuple[str, str]]:
    """Every key of the model with its default, as the page writes both."""
    for name, field in section.model_fields.items():
        where = f"{path}.{name}" if path else name
        found = inner(field.annotation)
        if found is None or where in ("unmatched", "routes[].match") or where.endswith(".assets"):
            yield (
                where,
                "required" if field.is_required() else SPOKEN.get(where) or default(field.get_default()),
            )
        if found is not None:
            step = found[0].replace("NAME", "SYMBOL") if name == "assets" else found[0]
            yield from keys(found[1], where + step)


def default(value: object) -> str:
    if value is None:
        return "none"
    if value == "":
        return "empty"
    if isinstance(value, tuple) and len(value) == 1:
        return f"`{value[0]}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`[{', '.join(value)}]`" if isinstance(value, tuple) else f"`{value}`"


KEYS = dict(keys(Configuration))


@pytest.mark.parametrize("key", KEYS)
def test_a_configuration_key_is_there_with_its_default(key: str) -> None:
    written = rows(page("configuration.md"))
    assert key in written
    assert written[key].strip("`") == KEYS[key].strip("`")


def test_no_configuration_key_is_made_up() -> None:
    sections = {name.partition(".")[0].partition("[")[0] for name in KEYS}
    written = {key for key in rows(page("configuration.md")) if re.split(r"[.\[]", key)[0] in sections}
    assert not written - KEYS.keys()


def test_every_built_in_network_is_named() -> None:
    assert not {name for name in builtin_networks() if f"`{name}`" not in page("configuration.md")}


def checked(text: str, folder: Path) -> Settings:
    """Load a configuration from a page; the secrets it names are files of our own."""
    (folder / "settlement_key").write_text(KEY + "\n")
    file = folder / "gateway.yaml"
    (folder / "conxa_key").write_text("pk_live_acme_x\n")
    file.write_text(text.replace(SECRETS, f"{folder}/"))
    return load(file, ENVIRONMENT)


@pytest.mark.parametrize("file", CONFIGURATIONS, ids=lambda file: file.name)
def test_a_configuration_file_checks(file: Path) -> None:
    assert load(file, ENVIRONMENT).table.routes


@pytest.mark.parametrize(
    "name", ["README.md", "docs/configuration.md", "docs/facilitators.md", "docs/wallets.md"]
)
def test_configurations_in_pages_check(name: str, tmp_path: Path) -> None:
    found = blocks((ROOT / name).read_text(), "yaml")
    assert found
    for text in found:
        assert checked(text, tmp_path).table.routes


def test_the_starter_needs_no_environment() -> None:
    assert load(ROOT / "config" / "gateway.yaml", {}).table.routes


# Operations


def test_every_metric_is_named_with_its_labels() -> None:
    text = page("operations.md")
    for name in metrics():
        assert f"| `{name}` |" in text, name


def metrics() -> Iterator[str]:
    """Every metric as it is scraped, with its labels, from where they are declared."""
    for call in calls([ROOT / "gateway" / "observe.py"]):
        kind = call.func.id if isinstance(call.func, ast.Name) else ""
        if kind in DECLARED_BY:
            ending, before_labels = DECLARED_BY[kind]
            name, *more = [ast.literal_eval(each) for each in call.args]
            labels = ",".join(more[before_labels:])
            whole = f"tollway_{name}{ending}"
            yield f"{whole}{{{labels}}}" if labels else whole


def test_no_metric_is_made_up() -> None:
    written = set(re.findall(r"\btollway_[a-z_]+", page("operations.md")))
    assert written == {name.partition("{")[0] for name in metrics()}


def test_every_log_field_is_named() -> None:
    lines = [node for node in functions("gateway/render.py") if node.name in ("line", "_about_payment")]
    named = [each for line in lines for each in ast.walk(line)]
    keys = [key for each in named if isinstance(each, ast.Dict) for key in each.keys]
    keys += [each.slice for each in named if isinstance(each, ast.Subscript)]
    fields = {key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}
    assert {"request_id", "duration_ms", "tx"} <= fields
    text = page("operations.md")
    assert not {field for field in fields | {"ts", "level", "event"} if f"`{field}`" not in text}


def test_every_log_event_is_named_with_its_fields() -> None:
    for event, fields in logged():
        told = re.findall(rf"^\| `{event}` \| (.*?) \|", page("operations.md"), re.MULTILINE)
        assert any(all(f"`{field}`" in each for field in fields) for each in told), event


def logged() -> Iterator[tuple[str, set[str]]]:
    for call in calls(sources()):
        target = call.func
        if not isinstance(target, ast.Attribute) or not isinstance(target.value, ast.Name):
            continue
        if target.value.id == "log" and target.attr in LEVELS:
            [event] = call.args
            yield ast.literal_eval(event), {word.arg for word in call.keywords if word.arg}


def test_every_state_is_explained() -> None:
    assert not {state for state in State if f"| `{state}` |" not in page("operations.md")}


# Clients


def test_every_problem_code_is_there() -> None:
    admin = [file for file in sources() if file.name == "admin.py"]
    codes = set(problem_codes(calls(set(sources()).difference(admin)))) - OPERATORS
    assert {"payment_used", "busy", "headers_too_large", "store_unavailable", "no_route"} <= codes
    assert not {code for code in codes if f"`{code}`" not in page("clients.md")}
    told = set(problem_codes(calls(admin))) | OPERATORS
    assert not {code for code in told if f"`{code}`" not in page("operations.md")}


def problem_codes(found: Iterator[ast.Call]) -> Iterator[str]:
    """The first argument of everything that ends a request, with both sides of an ``if``."""
    raising = {"ClientError", "UpstreamError", "Unavailable", "Problem", "Refused", "_fail"}
    for call in found:
        name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
        if call.args and (name in raising or (name == "__init__" and len(call.args) > 1)):
            for node in ast.walk(call.args[0]):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


def test_every_reason_is_there() -> None:
    text = page("clients.md")
    reasons = {reason for name in REASONS for reason in named_reasons(name)}
    assert {"insufficient_funds", "invalid_exact_evm_payload_authorization_value"} <= reasons
    assert not {reason for reason in reasons if f"| `{reason}` |" not in text}


def named_reasons(module: str) -> Iterator[str]:
    for name, value in vars(import_module(module)).items():
        if name.isupper():
            for each in value.values() if isinstance(value, dict) else (value,):
                if isinstance(each, str) and re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)+", each):
                    yield each


def test_examples_are_what_they_say() -> None:
    """Every JSON block of the clients' page is one object."""
    found = [yaml.safe_load(text) for text in blocks(page("clients.md"), "json")]
    assert len(found) >= 5 and all(isinstance(each, dict) for each in found)


# Commands and links


def test_commands_in_pages_exist_and_are_told_of() -> None:
    text = "\n".join(each.read_text() for each in PAGES)
    code = "\n".join([*re.findall(r"`([^`\n]+)`", text), *blocks(text, "console")])
    told = set(re.findall(r"(?:^|[ /])tollway ([a-z]+)", code, re.MULTILINE)) - {"listening"}
    assert told == set(main.commands)


def test_options_in_pages_exist() -> None:
    known = {name for command in main.commands.values() for each in command.params for name in each.opts}
    text = "\n".join(each.read_text() for each in PAGES)
    for line in re.findall(r"(?:^|[`/ ])tollway [a-z]+ ([^`\n]*)", text):
        assert not set(re.findall(r"(?<!\S)--[a-z-]+", line)) - known, line


def test_make_targets_in_pages_exist() -> None:
    text = "\n".join(each.read_text() for each in PAGES)
    told = set(re.findall(r"(?:`|\$ )make (?:[A-Z]+=\S+ )*([a-z]+)", text))
    assert told and not told - targets()


def test_make_help_shows_every_target() -> None:
    made = subprocess.run(["make", "help"], cwd=ROOT, env=plain(), capture_output=True, text=True, check=True)
    assert {line.split()[0] for line in made.stdout.splitlines()} == targets()


def plain() -> dict[str, str]:
    """The environment without what a ``make`` above us left in it."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}


def targets() -> set[str]:
    [line] = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return set(line.split())


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)
def test_links_lead_somewhere(file: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", file.read_text()):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        found = file.parent / name if name else file
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


def anchors(file: Path) -> set[str]:
    """Headings as GitHub links to them."""
    headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# The code


def sources() -> list[Path]:
    return sorted((ROOT / "gateway").rglob("*.py"))


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def calls(files: Iterable[Path]) -> Iterator[ast.Call]:
    for file in files:
        yield from (node for node in ast.walk(tree(file)) if isinstance(node, ast.Call))


def functions(file: str) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree(ROOT / file)) if isinstance(node, ast.FunctionDef)]
