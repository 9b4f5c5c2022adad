"""What tests of connections share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from kit.listening import Served, serving


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as served:
        yield served
