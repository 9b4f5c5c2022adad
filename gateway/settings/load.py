"""From a file and an environment to one frozen Settings, or every problem at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path as File

from gateway.settings.cautions import caution, caution_unused
from gateway.settings.document import Document, read, read_mapping
from gateway.settings.facilitator import compile_facilitator
from gateway.settings.model import Configuration, ExposureEntry, PolicyFile, Server, Store, Unmatched
from gateway.settings.networks import compile_networks
from gateway.settings.problems import Path, Problems, did_you_mean
from gateway.settings.rails import compile_rails
from gateway.settings.routes import Context, Placed, compile_routes
from gateway.settings.shape import shape
from gateway.settings.tree import Network, Rails, Settings
from gateway.settings.upstreams import compile_upstreams
from policies.reach import unreachable
from policies.route import Route, parse_pattern
from policies.table import RouteTable

_GLOB = re.compile(r"[*?\[]")


def load(path: str | File, environ: Mapping[str, str]) -> Settings:
    """The settings of a file; ConfigError with every problem, each with its place.

    May be called again at any time: nothing is kept between calls.
    """
    problems = Problems()
    document = read(File(path), str(path), 0, environ, problems)
    settings = _compile(document, File(path), environ, problems) if document else None
    problems.check()
    assert settings is not None, "without problems there are settings"
    return settings


def from_mapping(data: Mapping[str, object], environ: Mapping[str, str], base: str | File = ".") -> Settings:
    """The settings of a mapping shaped like a file; ConfigError as ``load``, without lines.

    ``base`` is the folder that names of files are relative to.
    """
    problems = Problems()
    document = read_mapping(data, environ, File(base), problems)
    settings = _compile(document, File(base) / "mapping", environ, problems)
    problems.check()
    assert settings is not None, "without problems there are settings"
    return settings


def _compile(
    document: Document, file: File, environ: Mapping[str, str], problems: Problems
) -> Settings | None:
    if not _check_keys(document, tuple(Configuration.model_fields), problems):
        return None
    server = shape(Server, document, ("server",), problems)
    store = shape(Store, document, ("store",), problems)
    defined = compile_networks(document, problems)
    upstreams, names = compile_upstreams(document, server, problems)
    rails = compile_rails(document, defined, problems)
    facilitator = compile_facilitator(document, defined, problems)
    unmatched = _unmatched(document, names, problems)
    exposure = shape(ExposureEntry, document, ("exposure",), problems) or ExposureEntry()
    placed = _routes(document, file, environ, Context(upstreams, names, rails, defined, exposure, problems))
    _check_server(server, document, problems)
    if server is None or store is None or rails is None or problems.errors:
        return None
    table = RouteTable([each.route for each in placed], unmatched)
    used = {each.route.upstream for each in placed} | ({unmatched.upstream} if unmatched else set())
    caution_unused(document, upstreams, used, problems)
    caution(document, placed, server, rails, problems)
    warnings = tuple(str(each) for each in sorted(set(problems.warnings)))
    networks = _networks(defined, rails)
    return Settings(server, store, networks, upstreams, rails, table, warnings, facilitator)


def _networks(defined: Mapping[str, Network], rails: Rails) -> dict[str, Network]:
    used = rails.x402.chains if rails.x402 else ()
    return {**defined, **{network.name: network for network in used}}


def _check_keys(document: Document, known: tuple[str, ...], problems: Problems) -> bool:
    if document.data is None:
        document.data = {}
    if not isinstance(document.data, dict):
        problems.error(document.places, (), "must be a mapping of sections")
        return False
    for key in document.data:
        if key not in known:
            problems.error(document.places, (key,), f"unknown key{did_you_mean(key, known)}", key=True)
    return True


def _routes(document: Document, file: File, environ: Mapping[str, str], context: Context) -> list[Placed]:
    """Every valid route, this file's first, then those of its policy files in order."""
    before = len(context.problems.errors)
    placed = compile_routes(document, context)
    for policy in _policies(document, file, environ, context.problems):
        placed += compile_routes(policy, context)
    for_others = document.at(("facilitator",)) is not None
    if not placed and not for_others and len(context.problems.errors) == before:
        context.problems.error(document.places, ("routes",), "is required: there is nothing to serve")
    _check_names(placed, context.problems)
    for index, why in unreachable([each.route for each in placed]):
        context.problems.error(placed[index].document.places, placed[index].path, why)
    return placed


def _policies(
    document: Document, file: File, environ: Mapping[str, str], problems: Problems
) -> list[Document]:
    section = document.at(("policies",))
    patterns = section if isinstance(section, list) else [] if section is None else [section]
    found: list[Document] = []
    for index, pattern in enumerate(patterns):
        where: Path = ("policies", index) if isinstance(section, list) else ("policies",)
        if not isinstance(pattern, str) or not pattern:
            problems.error(document.places, where, "must be the name of a file, or a pattern for names")
            continue
        for each in _files(pattern, file.parent, document, where, problems):
            policy = read(each, str(each), len(found) + 1, environ, problems)
            if policy and _check_keys(policy, tuple(PolicyFile.model_fields), problems):
                found.append(policy)
    return found


def _files(pattern: str, base: File, document: Document, where: Path, problems: Problems) -> list[File]:
    if not _GLOB.search(pattern):
        return [base / pattern]
    names = File(pattern)
    root = File(names.anchor) if names.is_absolute() else base
    files = sorted(each for each in root.glob(str(names.relative_to(names.anchor))) if each.is_file())
    if not files:
        problems.warn(document.places, where, "matches no file")
    return files


def _check_names(placed: list[Placed], problems: Problems) -> None:
    first: dict[str, Placed] = {}
    for each in placed:
        other = first.setdefault(each.route.name, each)
        if other is not each and (each.named or other.named):
            place = other.document.places.values[other.path]
            message = f"has the name of another route ({other.document.places.file}:{place.line})"
            problems.error(each.document.places, (*each.path, "name"), message)


def _unmatched(document: Document, names: frozenset[str], problems: Problems) -> Route | None:
    given = document.at(("unmatched",))
    if given is None or given == "deny":
        return None
    if not isinstance(given, dict):
        problems.error(document.places, ("unmatched",), "must be `deny` or {free: UPSTREAM}")
        return None
    choice = shape(Unmatched, document, ("unmatched",), problems)
    if choice is not None and choice.free not in names:
        shown = document.places.shown(("unmatched", "free"), choice.free)
        close = did_you_mean(choice.free, names)
        problems.error(document.places, ("unmatched", "free"), f"unknown upstream {shown}{close}")
    return Route("unmatched", parse_pattern("/**"), choice.free) if choice else None


def _check_server(server: Server | None, document: Document, problems: Problems) -> None:
    if server is None:
        return
    admin, token = server.admin, server.admin_token
    if admin is not None and not admin.loopback and not (token and token.get_secret_value()):
        problems.error(
            document.places, ("server", "admin"), "can be reached from other machines: set server.admin_token"
        )
    if admin is not None and admin.port and admin == server.listen:
        problems.error(document.places, ("server", "admin"), "is the public listener's address")
    for name in ("max_request_body", "max_response_body"):
        if getattr(server, name) > server.max_buffered:
            problems.error(document.places, ("server", name), "is more than server.max_buffered")
