"""The corpora in ``tests/corpus``: one case a line, and the routes they assume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "corpus"

PRICES = {"A": "10000", "B": "20000", "C": "30000", "D": "40000"}
"""Atomic units by the letter a row names."""

ROUTES: list[dict[str, Any]] = [
    {"match": "GET /paid/item", "price": "$0.01"},
    {"match": "POST /paid/item", "price": "$0.02"},
    {"match": "GET /paid/tree/**", "price": "$0.03"},
    {"match": "GET /user/{id}/report", "price": "$0.04"},
    {"match": "* /free/**", "price": "free"},
]


def rows(name: str) -> list[dict[str, Any]]:
    """The cases of one corpus that need no rail of their own."""
    lines = (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").split("\n")
    return [row for row in map(json.loads, filter(None, lines)) if "from" not in row]
