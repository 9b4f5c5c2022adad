"""Gateways as they are deployed: on both stores, with one worker and with two."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from kit.anvil import Anvil
from kit.deployment import Deployment, deployed
from kit.dialogue import Dialogue
from kit.gateway import Gateway, plain_config
from kit.ops import tracebacks
from kit.proxied import Pay
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


@pytest.fixture
def pair(anvil: Anvil, tmp_path: Path) -> Iterator[tuple[Deployment, Gateway]]:
    """Two gateways on a Redis of their own with one settlement key: together they are one shop.

    The second knows itself by the first one's public URL, as behind a load balancer.
    """
    (tmp_path / "second").mkdir()
    with RedisServer() as redis, deployed(anvil, tmp_path, store={"url": redis.url}) as shop:
        config = plain_config(
            upstream=shop.upstream.url,
            rpc=anvil.url,
            pay_to=shop.pay_to,
            key=shop.sender.key,
            store={"url": redis.url},
            server={"public_url": shop.url},
        )
        with Gateway(config, folder=tmp_path / "second") as second:
            yield shop, second
            assert not tracebacks(second.logs())
        assert not tracebacks(shop.gateway.logs())


@pytest.fixture(scope="module")
def plain(anvil: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """One worker that has little patience with bodies, for a file of tests about what goes through it."""
    limits = {"max_request_body": "64KiB", "body_timeout": "700ms"}
    with deployed(anvil, tmp_path_factory.mktemp("gateway"), server=limits) as deployment:
        yield deployment
        assert not tracebacks(deployment.gateway.logs())


@pytest.fixture
def client(plain: Deployment) -> Iterator[Dialogue]:
    """A connection to it."""
    plain.upstream.forget()
    with Dialogue(plain.url) as dialogue:
        yield dialogue


@pytest.fixture
def pay(plain: Deployment, funded_account: Callable[..., Any]) -> Pay:
    """A payment for a path, on free paths nothing."""

    def signed(path: str, method: str = "GET") -> dict[str, str]:
        return plain.sign(path, funded_account(), method=method).headers if path.startswith("/v1") else {}

    return signed
