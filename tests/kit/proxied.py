"""What tests share that send the same through a free path and a paid one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Pay = Callable[..., dict[str, str]]
"""The fields that pay for a path, none for a free one."""

BOTH = pytest.mark.parametrize("path", ["/free/x", "/v1/x"])
CHUNKS = b"5\r\nhello\r\n7;ext=1\r\n, world\r\n0\r\nX-Trailer: secret\r\n\r\n"
"""A body with an extension and a trailer."""
