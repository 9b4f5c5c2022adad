"""What is judged before the upstream works, and how CONXA's refusals are told."""

from __future__ import annotations

import math

from gateway.conxa.charging import SESSION_EXPIRED, reason_of
from gateway.conxa.wallets import Wallet
from gateway.conxa.wire import INSUFFICIENT_BALANCE, NO_CHARGE_PERMISSION, ConxaUnavailable, KeyRefused
from gateway.errors import Unavailable
from gateway.observe import log
from gateway.rails.base import Refusal

REQUIRED = "wallet_connection_required"
"""The reason where there is no session to be charged: connecting helps."""


def preflight(wallet: Wallet, token: str) -> Refusal | None:
    """Why a session will not be charged, as far as is known."""
    if wallet.block is not None and wallet.blocks(token):
        return declined(wallet.block.code, wallet.block.balance)
    return declined(INSUFFICIENT_BALANCE, wallet.balance) if wallet.broke else None


def declined(code: str, balance: int | None) -> Refusal:
    """A charge that CONXA refused: connecting again does not help who withdrew the permission."""
    if code == SESSION_EXPIRED:
        return Refusal(REQUIRED)
    members = {"error_code": code, "new_balance": balance}
    return Refusal(reason_of(code), members, final=code == NO_CHARGE_PERMISSION)


def unavailable(error: ConxaUnavailable) -> Unavailable:
    """CONXA cannot be asked about a session now."""
    if isinstance(error, KeyRefused):
        log.error("conxa", reason=str(error))
    else:
        log.warning("conxa", reason=str(error))
    seconds = max(1, math.ceil(error.retry_after or 1.0))
    return Unavailable(
        "verification_unavailable", "the wallet's session cannot be checked right now", retry_after=seconds
    )
