"""A diagnosing x402 client: asks, signs, pays, and tells every leg."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import aiohttp
from coincurve import PrivateKey
from multidict import CIMultiDictProxy
from yarl import URL

from facilitator.challenge import Offer, PaymentRequired, Receipt, decode_receipt, decode_required
from facilitator.exact_evm import address_of, digest
from facilitator.wire import (
    PAYMENT_HEADER,
    RECEIPT_HEADER,
    Authorization,
    MalformedPayment,
    PaymentPayload,
    PaymentRequirements,
    encode_payment,
)

Decimals = Callable[[str, str], int | None]
"""Decimals of (network as the offer names it, asset address), or None for an unknown asset."""
Tell = Callable[[str], None]
MAX_BODY = 64 * 1024 * 1024
_ADDRESS = re.compile("0x[0-9a-fA-F]{40}")
_KEY = re.compile("(?:0x)?[0-9a-fA-F]{64}")


class PaymentFailed(Exception):
    """Nothing was bought: no offer that can be paid, a price above the limit, or a refusal."""


class Unreachable(Exception):
    """The server cannot be reached, or does not speak HTTP."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to ask for."""

    url: str
    method: str = "GET"
    data: bytes | None = None
    headers: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A server's answer, whole."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Purchase:
    """What came of it; ``offer`` and ``receipt`` are None where nothing had to be paid."""

    reply: Reply
    offer: Offer | None = None
    receipt: Receipt | None = None


async def purchase(
    request: Request,
    key: str | None,
    tell: Tell,
    *,
    decimals: Decimals,
    chain_id: Callable[[str], int | None],
    max_amount: Decimal = Decimal(1),
) -> Purchase:
    """Buy one answer with the private ``key`` (0x hex); without a key, stop after the challenge.

    ``max_amount`` is in whole tokens. PaymentFailed and Unreachable say why nothing was bought.
    """
    async with aiohttp.ClientSession(auto_decompress=False, trust_env=False) as session:
        first = await _send(session, request, {}, tell)
        if first.status != 402:
            return Purchase(first)
        required = _challenge(first)
        offer = _choose(required, decimals, chain_id, max_amount, tell)
        if key is None:
            return Purchase(first, offer)
        payload = sign(required, offer, private_key(key), chain_id(offer.network) or 0)
        tell(f"-> authorization signed by {payload.authorization.sender}, valid for {offer.max_timeout} s")
        header = PAYMENT_HEADER[required.version]
        second = await _send(session, request, {header: encode_payment(payload)}, tell)
    receipt = _receipt(second, required.version, tell)
    if second.status == 402 or second.status == 409:
        raise PaymentFailed(f"{second.status}: {second.body.decode(errors='replace')[:500]}")
    return Purchase(second, offer, receipt)


async def _send(
    session: aiohttp.ClientSession, request: Request, extra: Mapping[str, str], tell: Tell
) -> Reply:
    tell(f"-> {request.method} {request.url}" + "".join(f"  [{name}]" for name in extra))
    sent = {**(request.headers or {}), **extra}
    try:
        async with session.request(
            request.method, URL(request.url), data=request.data, headers=sent, allow_redirects=False
        ) as answer:
            body = await _whole(answer)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise Unreachable(f"{request.url}: {error}") from error
    tell(f"<- {answer.status} {answer.reason}, {len(body)} bytes")
    return Reply(answer.status, answer.headers, body)


async def _whole(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > MAX_BODY:
            raise ValueError(f"the answer is larger than {MAX_BODY} bytes")
    return bytes(body)


def _challenge(reply: Reply) -> PaymentRequired:
    header = reply.headers.get("PAYMENT-REQUIRED")
    try:
        return decode_required(reply.body if header is None else header)
    except MalformedPayment as error:
        raise PaymentFailed(f"the 402 carries no x402 challenge: {error}") from error


def _choose(
    required: PaymentRequired,
    decimals: Decimals,
    chain_id: Callable[[str], int | None],
    max_amount: Decimal,
    tell: Tell,
) -> Offer:
    """The first offer that can be signed here and stays under the limit."""
    chosen: Offer | None = None
    for offer in required.offers:
        places = decimals(offer.network, offer.asset)
        price = None if places is None else Decimal(offer.amount).scaleb(-places)
        tell(
            f"   x402 v{required.version}: {offer.scheme} on {offer.network}, "
            f"{_human(offer, price)} to {offer.pay_to}"
        )
        sound = bool(_ADDRESS.fullmatch(offer.asset) and _ADDRESS.fullmatch(offer.pay_to))
        payable = offer.scheme == "exact" and sound and chain_id(offer.network) is not None
        if chosen is None and payable and price is not None and price <= max_amount:
            chosen = offer
    if chosen is None:
        raise PaymentFailed(f"no offer of a known asset at or under {max_amount:f}")
    return chosen


def _human(offer: Offer, price: Decimal | None) -> str:
    if price is None:
        return f"{offer.amount} atomic units of {offer.asset}"
    return f"{price.normalize():f} {offer.extra.get('name', '')}"


def private_key(text: str) -> PrivateKey:
    """A key in hex; ValueError, which does not repeat it, for anything else."""
    if not _KEY.fullmatch(text):
        raise ValueError("the payer's private key must be 0x and 64 hexadecimal digits")
    return PrivateKey.from_hex(text.removeprefix("0x"))


def sign(required: PaymentRequired, offer: Offer, key: PrivateKey, chain_id: int) -> PaymentPayload:
    """Sign an EIP-3009 authorization for one offer, valid from now for the offer's time."""
    authorization = Authorization(
        sender=address_of(key.public_key),
        to=offer.pay_to.lower(),
        value=offer.amount,
        valid_after=0,
        valid_before=int(time.time()) + offer.max_timeout,
        nonce=secrets.token_bytes(32),
    )
    payload = PaymentPayload(
        version=required.version,
        scheme=offer.scheme,
        network=offer.network,
        authorization=authorization,
        signature=b"",
        accepted=offer.document if required.version == 2 else None,
        resource_url=required.resource if required.version == 2 else None,
    )
    signature = key.sign_recoverable(digest(authorization, _terms(offer, chain_id)), hasher=None)
    return replace(payload, signature=signature[:64] + bytes([signature[64] + 27]))


def _terms(offer: Offer, chain_id: int) -> PaymentRequirements:
    return PaymentRequirements(
        scheme=offer.scheme,
        network=offer.network,
        chain_id=chain_id,
        v1_network=None,
        asset=offer.asset,
        amount=offer.amount,
        pay_to=offer.pay_to,
        max_timeout=offer.max_timeout,
        name=str(offer.extra.get("name", "")),
        version=str(offer.extra.get("version", "")),
    )


def _receipt(reply: Reply, version: int, tell: Tell) -> Receipt | None:
    value = reply.headers.get(RECEIPT_HEADER[version])
    if value is None:
        return None
    try:
        receipt = decode_receipt(value)
    except MalformedPayment as error:
        tell(f"   the receipt cannot be read: {error}")
        return None
    outcome = "settled" if receipt.success else f"not settled: {receipt.error_reason}"
    tell(f"   receipt: {outcome}, transaction {receipt.transaction or '-'} on {receipt.network}")
    return receipt


def headers_of(lines: Sequence[str]) -> dict[str, str]:
    """``Name: value`` lines as given on the command line; ValueError for anything else."""
    parsed: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise ValueError(f"not a header: {line!r}; write Name: value")
        parsed[name.strip()] = value.strip()
    return parsed
