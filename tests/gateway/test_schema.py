"""The JSON schema that is shipped is the one that is generated."""

from __future__ import annotations

import warnings
from pathlib import Path

from gateway.schema import schema, text
from gateway.settings.model import RouteEntry, Server

SHIPPED = Path(__file__).parents[2] / "config" / "gateway.schema.json"


def test_shipped_schema_is_fresh() -> None:
    """`python -m gateway.schema > config/gateway.schema.json` after changing a model."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert SHIPPED.read_text(encoding="utf-8") == text()


def test_it_knows_every_key() -> None:
    """And refuses others, as the loader does."""
    definitions = schema()["$defs"]
    assert set(definitions["RouteEntry"]["properties"]) == set(RouteEntry.model_fields)
    assert set(definitions["Server"]["properties"]) == set(Server.model_fields)
    assert all(each.get("additionalProperties", False) is False for each in definitions.values())
