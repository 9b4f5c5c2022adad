"""Idempotency keys: one debit per key, however often it is sent."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.devconxa.orders import Order
from gateway.devconxa.replies import Declined, Reply, error

Scope = tuple[str, str]
"""Provider and key: the keys of two providers are different keys."""


@dataclass(slots=True)
class _Entry:
    order: Order
    reply: Reply | None = None


class Keys:
    """What was answered under each key. ``begin`` comes first, then either ``finish`` or ``release``."""

    def __init__(self) -> None:
        self._entries: dict[Scope, _Entry] = {}

    def begin(self, scope: Scope, order: Order) -> Reply | None:
        """The stored answer; None: the key is new, and the caller's until it finishes or releases it.

        Raises Declined: 422 if the key came with another body before, 409 while a call under it is running.
        """
        entry = self._entries.get(scope)
        if entry is None:
            self._entries[scope] = _Entry(order)
            return None
        if entry.order != order:
            raise Declined(error(422, "Idempotency key was used with another body", "IDEMPOTENCY_KEY_REUSED"))
        if entry.reply is None:
            raise Declined(error(409, "Idempotency key in progress", "IDEMPOTENCY_IN_PROGRESS"))
        return entry.reply

    def finish(self, scope: Scope, reply: Reply) -> None:
        """Stores the answer for every later call under the key."""
        self._entries[scope].reply = reply

    def release(self, scope: Scope) -> None:
        """Forgets a key under which nothing was decided, so that the same call can come again."""
        del self._entries[scope]
