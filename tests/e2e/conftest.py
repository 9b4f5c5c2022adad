"""Gateways as they are deployed: on both stores, with one worker and with two."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from kit.anvil import Anvil
from kit.deployment import Deployment, deployed
from kit.redis_server import RedisServer


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Redis fit for money."""
    with RedisServer() as server:
        yield server


@pytest.fixture(
    scope="module",
    params=[("embedded", 1), ("embedded", 2), ("redis", 1), ("redis", 2)],
    ids=lambda param: f"{param[0]}-{param[1]}",
)
def anywhere(
    request: pytest.FixtureRequest,
    anvil: Anvil,
    redis_server: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Deployment]:
    """Each way to run the gateway, in turn."""
    store, workers = request.param
    sections = {
        "store": {"url": redis_server.url if store == "redis" else "embedded"},
        "server": {"workers": workers},
    }
    with deployed(anvil, tmp_path_factory.mktemp("gateway"), **sections) as deployment:
        yield deployment


@pytest.fixture
def single(anvil: Anvil, tmp_path: Path) -> Iterator[Deployment]:
    """One worker on the embedded store, for this test alone."""
    with deployed(anvil, tmp_path) as deployment:
        yield deployment


@pytest.fixture
def single_with(anvil: Anvil, tmp_path: Path) -> Iterator[Callable[..., Deployment]]:
    """The same with configuration sections of the test's own."""
    with ExitStack() as running:

        def start(**sections: Any) -> Deployment:
            return running.enter_context(deployed(anvil, tmp_path, **sections))

        yield start
