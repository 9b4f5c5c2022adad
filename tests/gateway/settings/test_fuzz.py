"""Any value anywhere: settings or located problems, never another exception."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import ConfigError
from gateway.settings import load

GOOD: dict[str, Any] = yaml.load(
    """
server: {listen: "127.0.0.1:1", admin: "off", cors: {origins: ["https://a"]}, trusted_proxies: [10.0.0.0/8]}
store: {url: embedded}
networks:
  dev:
    chain_id: 84532
    rpc: ["http://a"]
    assets:
      USDC: {address: "0x036CbD53842c5426634e7929541eC2318f3dCF7e", decimals: 6, name: n, version: "1"}
upstreams: {a: {url: "http://a", headers: {X: y}}, b: {url: "http://b"}}
rails:
  x402:
    pay_to: {dev: "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"}
    networks: [dev]
    facilitator: {key: [KEY]}
unmatched: {free: a}
policies: ["*.none"]
routes:
- {match: GET /a, price: $1, upstream: a, accept: [x402], success: [2xx]}
- match: {method: [GET], path: /b, query: {q: v}, body: {m.n: v}}
  upstream: b
  price: {when: [{body.model: x, price: $1}], else: {amount: "1", asset: USDC}}
""".replace("KEY", "ab" * 32),
    yaml.SafeLoader,
)

SCALARS = st.sampled_from(
    [None, True, 0, -1, 10**30, "", "x", "${A}", "${", "free", "$1", "*", "/", "GET /", "0x00"]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["", "*", "price", "when", "else", "free", "a", "path", "x.y"]), inner, max_size=3
        )
    ),
    max_leaves=5,
)


def test_the_good_one_is_good(tmp_path: Path) -> None:
    """So that one replaced value is the only thing wrong."""
    file = tmp_path / "x.yaml"
    file.write_text(json.dumps(GOOD))
    assert len(load(file, {}).table.routes) == 2


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(each for key, inner in items for each in paths(inner, (*path, key)))]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
@given(st.sampled_from(paths(GOOD)[1:]), VALUES)
def test_any_value_anywhere(tmp_path: Path, path: tuple[Any, ...], value: Any) -> None:
    """One value of a rich configuration replaced by anything."""
    data = deepcopy(GOOD)
    around = data
    for key in path[:-1]:
        around = around[key]
    around[path[-1]] = value
    file = tmp_path / "x.yaml"
    file.write_text(json.dumps(data))
    try:
        load(file, {"A": "a"})
    except ConfigError as error:
        assert all(re.match(r".+:[0-9]+:[0-9]+: ", line) for line in error.problems)
