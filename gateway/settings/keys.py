"""Settlement keys as they stand in a configuration: checked, and never repeated in a message."""

from __future__ import annotations

import stat
from collections.abc import Sequence

from pydantic import SecretStr

from gateway.settings.addresses import PUBLISHED_KEYS, private_key
from gateway.settings.document import Document
from gateway.settings.problems import Path, Problems
from gateway.settings.tree import Network

_WORLD_READABLE = stat.S_IROTH


def place(document: Document, at: Path, index: int) -> Path:
    """Where a list's item stands, or the one value that was written instead of a list."""
    return (*at, index) if (*at, index) in document.places.values else at


def compile_keys(
    given: Sequence[SecretStr],
    at: Path,
    chains: Sequence[Network],
    document: Document,
    problems: Problems,
) -> tuple[SecretStr, ...]:
    """The keys at a path, which settle on ``chains``; problems are noted."""
    keys = [
        _key(key.get_secret_value(), place(document, at, index), chains, document, problems)
        for index, key in enumerate(given)
    ]
    if len(set(keys)) != len(keys):
        problems.error(document.places, at, "names one key twice")
    return tuple(SecretStr(key) for key in keys)


def _key(text: str, where: Path, chains: Sequence[Network], document: Document, problems: Problems) -> str:
    for file in document.sources.get(where, []):
        if file.stat().st_mode & _WORLD_READABLE:
            problems.warn(document.places, where, "every user can read the key's file (chmod 600)")
    try:
        key = private_key(text)
    except ValueError as error:
        problems.error(document.places, where, str(error))
        return text
    if key in PUBLISHED_KEYS and not all(network.testnet for network in chains):
        problems.error(
            document.places,
            where,
            "is a published test key: whatever is sent with it on a real network is lost",
        )
    return key
