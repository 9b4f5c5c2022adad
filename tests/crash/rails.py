"""The rails there are."""

from __future__ import annotations

from collections.abc import Mapping

from crash.on_conxa import CONXA
from crash.on_remote import REMOTE
from crash.on_x402 import X402
from crash.rail import Kind

RAILS: Mapping[str, Kind] = {"x402": X402, "x402-remote": REMOTE, "conxa": CONXA}
