"""The configuration's JSON schema: ``python -m gateway.schema > config/gateway.schema.json``."""

from __future__ import annotations

import json
import sys
from typing import Any

from gateway.settings.model import Configuration


def schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of the configuration file, for editors."""
    generated = Configuration.model_json_schema(mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **generated, "title": "Tollway"}


def text() -> str:
    """The schema as it is kept in ``config/gateway.schema.json``."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
