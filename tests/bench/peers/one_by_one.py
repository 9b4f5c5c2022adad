"""Settling one after the other: by waiting for each receipt, and by the official facilitator."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import httpx
from bench.chain import settlement_key
from bench.money import CHAIN_ID, Paymaster
from bench.peers.tollway import PAY_TO
from bench.results import Metrics
from bench.servers import program
from bench.session import local_url

from facilitator.token_abi import transfer_with_authorization
from facilitator.wire import PaymentPayload, decode_payment
from gateway.devchain.accounts import DEV_ACCOUNTS
from gateway.devchain.anvil import Chain
from gateway.devchain.token import TOKEN_ADDRESS

NUMBER = 5
_PAUSE = 0.01
OFFER = {
    "scheme": "exact",
    "network": f"eip155:{CHAIN_ID}",
    "asset": TOKEN_ADDRESS,
    "amount": "10000",
    "payTo": PAY_TO,
    "maxTimeoutSeconds": 300,
    "extra": {"name": "USDC", "version": "2"},
}


def waiting(anvil: Chain, paymaster: Paymaster) -> Metrics:
    """A transaction, its receipt, the next one."""
    started = time.monotonic()
    for value in _signed(paymaster):
        payload = decode_payment(value, 2)
        assert isinstance(payload, PaymentPayload)
        data = transfer_with_authorization(payload.authorization, payload.signature)
        call = {"from": DEV_ACCOUNTS[0].address, "to": TOKEN_ADDRESS, "data": data, "gas": hex(200_000)}
        transaction = anvil.rpc.call("eth_sendTransaction", call)
        while anvil.rpc.call("eth_getTransactionReceipt", transaction) is None:
            time.sleep(_PAUSE)
    return {"settlements_per_s": NUMBER / (time.monotonic() - started)}


def official(anvil: Chain, paymaster: Paymaster) -> Metrics:
    """x402's Python facilitator, asked to settle one after the other as it can do no more at once."""
    key = settlement_key(anvil)
    with program("bench.apps.x402_facilitator", local_url(), anvil.url, key) as server:
        started = time.monotonic()
        for value in _signed(paymaster):
            asked = {"paymentPayload": json.loads(base64.b64decode(value)), "paymentRequirements": OFFER}
            told: dict[str, Any] = httpx.post(f"{server.url}/settle", json=asked, timeout=60).json()
            assert told["success"], told
        return {"settlements_per_s": NUMBER / (time.monotonic() - started)}


def _signed(paymaster: Paymaster) -> list[str]:
    required = {"accepts": [OFFER], "resource": {"url": "http://shop.example/goods"}}
    return [value for _, value in paymaster.sign(required, NUMBER)]
