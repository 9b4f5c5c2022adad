"""Buyers that do not give up: stock ones that begin anew each time, and careful ones with a key."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import httpx
from crash.wants import Reply, Want
from kit.answers import Answer, decoded, joined
from x402.http.clients.httpx import PaymentError

KEY = "Idempotency-Key"
PAUSE = 0.35
"""Seconds between two attempts where the answer does not say; longer than the gateway takes to see that a
client left."""
LONGEST_PAUSE = 1.0
REFUSALS = 20
"""402s after which a client believes it: a wallet whose session ended needs some seconds."""


class Buyers:
    """Everybody who buys from one gateway. How they pay is their rail's."""

    def __init__(self, url: str, transport: httpx.AsyncBaseTransport) -> None:
        self._url = url
        self._transport = transport
        self._plain = httpx.AsyncClient(transport=transport)

    async def close(self) -> None:
        """Hang up."""
        await self._transport.aclose()

    def _stock(self, want: Want) -> tuple[httpx.AsyncClient, Mapping[str, str]]:
        """What the want's payer sends each attempt with, and the headers that pay for it."""
        raise NotImplementedError

    async def _paid(self, want: Want) -> Mapping[str, str] | None:
        """The headers that pay, for as many attempts as it takes, with a key of its own where a refused one
        is used up; None where that has to be tried again."""
        raise NotImplementedError

    def _receipt(self, answer: Answer) -> dict[str, Any] | None:
        """What an answer says of its payment."""
        raise NotImplementedError

    async def _check_receipt(self, want: Want, reply: Reply) -> None:
        """Note what is wrong with the receipt of an answer that came whole."""
        raise NotImplementedError

    async def buy(self, want: Want) -> None:
        """Try until there is an answer, or nothing more to try."""
        manners = {"stock": self._as_stock, "careful": self._carefully, "quitter": self._and_quit}
        await manners[want.errand.manner](want)

    async def _as_stock(self, want: Want) -> None:
        """Each attempt begins anew, with a payment of its own."""
        client, headers = self._stock(want)
        refusals = 0
        while not want.ended:
            reply = await self._send(client, want, headers)
            refusals += reply.status == 402
            await self._judge(want, reply, refusals)

    async def _carefully(self, want: Want) -> None:
        """One payment and one key, again and again; another payment where it was refused."""
        key: Mapping[str, str] = {KEY: uuid4().hex}
        paid: Mapping[str, str] | None = None
        refusals = 0
        while not want.ended:
            if paid is None:
                paid = await self._paid(want)
                continue
            reply = await self._send(self._plain, want, {**key, **paid})
            if reply.status == 402:
                paid = None
                refusals += 1
            await self._judge(want, reply, refusals)
        if want.answer is not None and want.errand.again and paid is not None:
            await self._fetch_again(want, {**key, **paid})

    async def _fetch_again(self, want: Want, headers: Mapping[str, str]) -> None:
        """The key opens the stored answer: the same bytes, and no second purchase."""
        reply = await self._send(self._plain, want, headers)
        while reply.status in (0, 503) or reply.said == "payment_in_progress":
            await asyncio.sleep(pause(reply))
            reply = await self._send(self._plain, want, headers)
        if (reply.status, reply.body) != (200, want.answer):
            want.wrong.append(f"fetched again with its key: {reply.status} {reply.said}, not the same answer")

    async def _and_quit(self, want: Want) -> None:
        """Hang up in the middle, and never come back."""
        client, headers = self._stock(want)
        reply = await self._send(client, want, headers)
        await self._judge(want, reply, REFUSALS)
        want.ended = want.ended if want.ended == "answered" else "quit"

    async def _judge(self, want: Want, reply: Reply, refusals: int) -> None:
        if reply.status == 200:
            await self._check_receipt(want, reply)
            want.answer, want.ended = reply.body, "answered"
        elif reply.status == 402 and refusals >= REFUSALS:
            want.ended = f"402 {reply.said}"
        elif reply.status in (400, 404, 410) or reply.said in ("payment_used", "payment_bound_elsewhere"):
            want.ended = f"{reply.status} {reply.said}"
        else:
            await asyncio.sleep(pause(reply))

    async def _send(self, client: httpx.AsyncClient, want: Want, headers: Mapping[str, str]) -> Reply:
        began = time.time()
        answer = await self._ask(client, want, headers)
        reply = answer if isinstance(answer, Reply) else self._reply(answer, began)
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

    def _reply(self, answer: Answer, began: float) -> Reply:
        retry_after = answer.headers.get("retry-after")
        return Reply(
            began,
            time.time(),
            answer.status,
            _said(answer),
            answer.body if answer.status == 200 else b"",
            self._receipt(answer),
            "idempotent-replayed" in answer.headers,
            None if retry_after is None else float(retry_after),
        )


def _said(answer: Answer) -> str:
    if answer.status == 402 and "payment-required" in answer.headers:
        return str(decoded(answer.headers["payment-required"]).get("error", ""))
    if answer.status == 402 or answer.headers.get("content-type", "") == "application/problem+json":
        return str(json.loads(answer.body)["code"])
    return ""


def pause(reply: Reply) -> float:
    """Seconds until the next attempt."""
    return PAUSE if reply.retry_after is None else min(max(reply.retry_after, PAUSE), LONGEST_PAUSE)
