"""Buyers that do not give up: the official client as its users retry with it, and careful ones."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from uuid import uuid4

import httpx
from crash.wants import Reply, Signed, Want, signed_of
from eth_account import Account
from kit.answers import Answer, decoded, joined
from kit.payments import pay_challenge
from x402 import x402Client
from x402.http.clients.httpx import PaymentError, x402_httpx_transport
from x402.mechanisms.evm import EthAccountSigner
from x402.mechanisms.evm.exact import register_exact_evm_client

HEADER = "PAYMENT-SIGNATURE"
PAUSE = 0.35
"""Seconds between two attempts where the answer does not say; longer than the gateway takes to see that a
client left."""
LONGEST_PAUSE = 1.0
REFUSALS = 6
"""402s after which a client believes it."""

Proof = Callable[[str], Awaitable[bool]]
"""Whether a transaction is on the chain, and did not fail."""


class Witness(httpx.AsyncBaseTransport):
    """Notes every authorization that goes out, with whoever wants something by it."""

    def __init__(self, read: Callable[[str], Signed]) -> None:
        self._transport = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_keepalive_connections=20))
        self._read = read

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        header = request.headers.get(HEADER)
        if header is not None:
            request.extensions["want"].note(self._read(header))
        return await self._transport.handle_async_request(request)

    async def aclose(self) -> None:
        await self._transport.aclose()


class Buyers:
    """Everybody who buys from one gateway."""

    def __init__(self, url: str, chain_id: int, asset: str, proof: Proof) -> None:
        self._url = url
        self._proof = proof
        self._witness = Witness(lambda header: signed_of(header, chain_id, asset))
        self._plain = httpx.AsyncClient(transport=self._witness)
        self._stock: dict[str, httpx.AsyncClient] = {}

    async def close(self) -> None:
        """Hang up."""
        await self._witness.aclose()

    async def buy(self, want: Want) -> None:
        """Try until there is an answer, or nothing more to try."""
        manners = {"stock": self._as_stock, "careful": self._carefully, "quitter": self._and_quit}
        await manners[want.errand.manner](want)

    async def _as_stock(self, want: Want) -> None:
        """Each attempt begins anew, with a new signature."""
        client = self._stock_client(want)
        refusals = 0
        while not want.ended:
            reply = await self._send(client, want, {})
            refusals += reply.status == 402
            await self._judge(want, reply, refusals)

    async def _carefully(self, want: Want) -> None:
        """One signature and one key, again and again; another signature where it was refused."""
        key = {"Idempotency-Key": uuid4().hex}
        paid: Mapping[str, str] | None = None
        refusals = 0
        while not want.ended:
            if paid is None:
                paid = await self._sign(want)
                continue
            reply = await self._send(self._plain, want, paid | key)
            if reply.status == 402:
                paid = None
                refusals += 1
            await self._judge(want, reply, refusals)
        if want.answer is not None and want.errand.again and paid is not None:
            await self._fetch_again(want, paid | key)

    async def _fetch_again(self, want: Want, headers: Mapping[str, str]) -> None:
        """The key opens the stored answer: the same bytes, and no second purchase."""
        reply = await self._send(self._plain, want, headers)
        while reply.status in (0, 503) or reply.said == "payment_in_progress":
            await asyncio.sleep(_pause(reply))
            reply = await self._send(self._plain, want, headers)
        if (reply.status, reply.body) != (200, want.answer):
            want.wrong.append(f"fetched again with its key: {reply.status} {reply.said}, not the same answer")

    async def _and_quit(self, want: Want) -> None:
        """Hang up in the middle, and never come back."""
        reply = await self._send(self._stock_client(want), want, {})
        await self._judge(want, reply, REFUSALS)
        want.ended = want.ended if want.ended == "answered" else "quit"

    async def _sign(self, want: Want) -> Mapping[str, str] | None:
        reply = await self._ask(self._plain, want, {})
        if isinstance(reply, Reply):
            await asyncio.sleep(_pause(reply))
            return None
        if reply.status != 402:
            await asyncio.sleep(PAUSE)
            return None
        return pay_challenge(want.payer.key, reply).headers

    async def _judge(self, want: Want, reply: Reply, refusals: int) -> None:
        if reply.status == 200:
            await self._check_receipt(want, reply)
            want.answer, want.ended = reply.body, "answered"
        elif reply.status == 402 and refusals >= REFUSALS:
            want.ended = f"402 {reply.said}"
        elif reply.status in (400, 404, 410) or reply.said in ("payment_used", "payment_bound_elsewhere"):
            want.ended = f"{reply.status} {reply.said}"
        else:
            await asyncio.sleep(_pause(reply))

    async def _check_receipt(self, want: Want, reply: Reply) -> None:
        """Where money comes first, it is on the chain by the time the answer is here."""
        if reply.receipt is None or not reply.receipt.get("success"):
            want.wrong.append(f"an answer without a receipt that says it is paid: {reply.receipt}")
        elif want.errand.moment != "deferred" and not await self._proof(reply.receipt["transaction"]):
            want.wrong.append(f"answered before its transaction was mined: {reply.receipt['transaction']}")

    async def _send(self, client: httpx.AsyncClient, want: Want, headers: Mapping[str, str]) -> Reply:
        began = time.time()
        answer = await self._ask(client, want, headers)
        reply = answer if isinstance(answer, Reply) else _reply(answer, began)
        want.replies.append(reply)
        return reply

    async def _ask(self, client: httpx.AsyncClient, want: Want, headers: Mapping[str, str]) -> Answer | Reply:
        """One request within the client's patience; a Reply without a status where nothing came back."""
        sending = client.request(
            want.method,
            self._url + want.path,
            content=want.body or None,
            headers=dict(headers),
            extensions={"want": want},
            timeout=want.errand.patience,
        )
        began = time.time()
        try:
            async with asyncio.timeout(want.errand.patience):
                reply = await sending
        except (httpx.TimeoutException, TimeoutError) as error:
            return Reply(began, time.time(), 0, type(error).__name__, gave_up=True)
        except (httpx.TransportError, PaymentError) as error:
            gave_up = isinstance(error.__cause__, httpx.TimeoutException)
            return Reply(began, time.time(), 0, f"{type(error).__name__}: {error}", gave_up=gave_up)
        return Answer(reply.status_code, joined(reply.headers.multi_items()), reply.content)

    def _stock_client(self, want: Want) -> httpx.AsyncClient:
        if want.payer.address not in self._stock:
            payer = register_exact_evm_client(
                x402Client(), EthAccountSigner(Account.from_key(want.payer.key))
            )
            transport = x402_httpx_transport(payer, self._witness)
            self._stock[want.payer.address] = httpx.AsyncClient(transport=transport)
        return self._stock[want.payer.address]


def _reply(answer: Answer, began: float) -> Reply:
    retry_after = answer.headers.get("retry-after")
    return Reply(
        began,
        time.time(),
        answer.status,
        _said(answer),
        answer.body if answer.status == 200 else b"",
        answer.receipt,
        "idempotent-replayed" in answer.headers,
        None if retry_after is None else float(retry_after),
    )


def _said(answer: Answer) -> str:
    if answer.status == 402 and "payment-required" in answer.headers:
        return str(decoded(answer.headers["payment-required"]).get("error", ""))
    if answer.headers.get("content-type", "") == "application/problem+json":
        return str(json.loads(answer.body)["code"])
    return ""


def _pause(reply: Reply) -> float:
    return PAUSE if reply.retry_after is None else min(max(reply.retry_after, PAUSE), LONGEST_PAUSE)
