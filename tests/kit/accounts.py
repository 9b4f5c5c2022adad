"""Wallets nobody has seen before."""

from __future__ import annotations

import os

from eth_account import Account

from gateway.devchain.accounts import DevAccount


def new_account() -> DevAccount:
    """An address and its private key, with nothing in it."""
    key = "0x" + os.urandom(32).hex()
    return DevAccount(Account.from_key(key).address, key)
