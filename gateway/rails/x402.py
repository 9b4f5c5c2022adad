"""x402, both generations at once: the v2 header and the v1 body in one 402.

The x402 objects and checks live in ``facilitator``; here is only what ties them to a request:
which terms were quoted, the replay key, and what is kept to settle with.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields, replace
from operator import attrgetter
from typing import Any

import orjson

from facilitator.base import (
    Due,
    Facilitator,
    InFlight,
    Journal,
    Purse,
    Refused,
    Settlement,
    VerificationUnavailable,
)
from facilitator.challenge import payment_required_v1, payment_required_v2, receipt
from facilitator.exact_evm import INVALID_SIGNATURE, check_time, digest, recover, replay_key
from facilitator.opaque import signed_digest
from facilitator.pins import known
from facilitator.terms import INVALID_REQUIREMENTS, match, same_resource
from facilitator.wire import (
    PAYMENT_HEADER,
    RECEIPT_HEADER,
    MalformedPayment,
    OpaquePayload,
    Payload,
    PaymentPayload,
    PaymentRequirements,
    decode_payment,
    payment_document,
    read_opaque,
    read_payment,
)
from gateway.headers import Field
from gateway.payment import Payment, payment_id
from gateway.rails.base import (
    Challenge,
    Credential,
    MalformedCredential,
    Measure,
    OtherClaims,
    Outcome,
    Quote,
    Refusal,
    Wanted,
)
from policies.money import Money
from policies.route import Terms

Offers = Callable[[Money, Terms | None], Sequence[PaymentRequirements]]
_TERMS = tuple(each.name for each in fields(PaymentRequirements))
_terms_of = attrgetter(*_TERMS)
_MOST_RECENT = 256
_VERSIONS = {name: version for version, name in PAYMENT_HEADER.items()}


class X402Rail:
    """x402 ``exact`` payments, verified and settled by a facilitator."""

    name = "x402"

    def __init__(
        self,
        offers: Offers,
        facilitator: Facilitator,
        *,
        versions: frozenset[int],
        settle_within: Mapping[str, float],
        worth: Callable[[PaymentRequirements], int],
        opaque: Collection[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._offers = offers
        self._facilitator = facilitator
        self._versions = versions
        self._settle_within = settle_within
        self._worth = worth
        self._opaque = frozenset(opaque)
        self._clock = clock
        self._known: dict[int, tuple[PaymentRequirements, PaymentRequirements]] = {}
        """Offers by their ids, and what was made of them: the same few are asked for again and again."""
        self.headers = tuple(PAYMENT_HEADER[version] for version in sorted(versions, reverse=True))
        self.queues = tuple(facilitator.senders())

    def challenge(self, quote: Quote, error: str) -> Challenge | None:
        """The v2 header and the v1 body (x402 v1 and v2, PaymentRequired), for networks with gas."""
        offers = self._offers(quote.money, quote.terms)
        offers = [self._told(offer) for offer in offers if self._facilitator.ready(offer.network)]
        if not offers:
            return None
        about = (offers, quote.resource, quote.description, quote.mime_type, error)
        documents = [(b"PAYMENT-REQUIRED", payment_required_v2(*about))] if 2 in self._versions else []
        body = payment_required_v1(*about) if 1 in self._versions else {"error": error}
        return Challenge(documents, body)

    def standing(self, quote: Quote) -> object:
        """Which networks could settle, and what their facilitators want told."""
        asked, ask = self._offers(quote.money, quote.terms), self._facilitator
        return [(ask.ready(each.network), ask.extra(each.network, each.scheme)) for each in asked]

    def read(self, header: str, value: str, quotes: Sequence[Quote], key: str | None) -> Credential | Refusal:
        """Decode, find our own terms, check the signature; MalformedCredential for what is no payment."""
        try:
            payload = decode_payment(value, _VERSIONS[header], self._opaque)
        except MalformedPayment as error:
            raise MalformedCredential(str(error)) from error
        offers = [offer for quote in quotes for offer in self._offers(quote.money, quote.terms)]
        terms = match(payload, offers)
        if isinstance(payload, OpaquePayload):
            try:
                return self._opaque_credential(payload, terms, quotes[0])
            except MalformedPayment as error:
                raise MalformedCredential(str(error)) from error
        domain = terms if isinstance(terms, PaymentRequirements) else _same_token(payload, offers)
        if domain is None:
            assert isinstance(terms, Refused)
            return Refusal(terms.reason)
        if recover(digest(payload.authorization, domain), payload.signature) != payload.authorization.sender:
            return Refusal(INVALID_SIGNATURE)
        refused = terms if isinstance(terms, Refused) else self._refused(payload, terms, quotes[0])
        return self._credential(
            payload, self._told(domain), None if refused is None else Refusal(refused.reason)
        )

    async def verify(self, credential: Credential, others: OtherClaims, wanted: Wanted) -> Refusal | None:
        """Ask the facilitator; the payer's other claims are subtracted from its balance."""
        payload, requirements = _read_terms(credential.terms)
        if not self._facilitator.ready(credential.network):
            raise VerificationUnavailable(f"{credential.network}: nothing can be settled there now")

        async def claims() -> list[InFlight]:
            return [in_flight(payment) for payment in await others.load()]

        budget = self._budget(requirements, wanted.quote.work)
        verdict = await self._facilitator.verify(
            payload, requirements, Purse(others.total, claims), work_budget=budget
        )
        return Refusal(verdict.reason) if isinstance(verdict, Refused) else None

    async def measure(self, credential: Credential, wanted: Wanted) -> Measure:
        """Nothing: ``exact`` payments have one price."""
        return Measure()

    async def find_paid(self, credential: Credential) -> str | None:
        """The transaction that used an authorization to pay us."""
        payload, requirements = _read_terms(credential.terms)
        return await self._facilitator.find_paid(requirements, payload)

    def at_once(self, queue: str) -> int:
        """As the facilitator says."""
        return self._facilitator.at_once(queue)

    async def settle(self, payment: Payment, journal: Journal) -> Settlement:
        """Settle through the facilitator by the recorded terms."""
        payload, requirements = _read_terms(payment.terms)
        due = Due(payment.id, payload, requirements, payment.created_at, payment.queue)
        return await self._facilitator.settle(due, journal)

    async def resume(self, queue: str, journal: Journal) -> None:
        """Send recorded, open transactions again."""
        await self._facilitator.resume(queue, journal)

    def receipt(self, terms: bytes, outcome: Outcome) -> Sequence[Field]:
        """``PAYMENT-RESPONSE`` (v2) or ``X-PAYMENT-RESPONSE`` (v1), with the credential's network name."""
        payload, _ = _read_terms(terms)
        promised = outcome.promised
        value = receipt(
            success=outcome.reason is None,
            network=payload.network,
            payer=_payer(payload),
            transaction=outcome.transaction if known(outcome.transaction) else "",
            error_reason=outcome.reason,
            extra=None if promised is None else {"settlement": "deferred", "paymentId": promised},
        )
        return [(RECEIPT_HEADER[payload.version].encode(), value.encode())]

    def refusal(self, payment: Payment) -> Refusal:
        """The chain's reason."""
        return Refusal(payment.reason)

    def credential(self, payload: PaymentPayload, terms: PaymentRequirements) -> Credential:
        """What a payment is that was checked against terms somebody else named (``tollway facilitator``)."""
        return self._credential(payload, terms, None)

    def _told(self, offer: PaymentRequirements) -> PaymentRequirements:
        """An offer with what its facilitator wants clients to know."""
        extra = self._facilitator.extra(offer.network, offer.scheme)
        if not extra:
            return offer
        known = self._known.get(id(offer))
        if known is None or known[0] is not offer or known[1].extra is not extra:
            if len(self._known) >= _MOST_RECENT:
                self._known.clear()
            known = self._known[id(offer)] = offer, replace(offer, extra=extra)
        return known[1]

    def _refused(self, payload: PaymentPayload, terms: PaymentRequirements, quote: Quote) -> Refused | None:
        if not same_resource(payload, quote.resource):
            return Refused(INVALID_REQUIREMENTS, "resource: not what was asked for")
        return check_time(payload.authorization, int(self._clock()), self._budget(terms, quote.work))

    def _credential(
        self, payload: PaymentPayload, terms: PaymentRequirements, refused: Refusal | None
    ) -> Credential:
        authorization = payload.authorization
        asset = terms.asset.lower()
        key = replay_key(terms.chain_id, asset, authorization)
        return Credential(
            rail=self.name,
            replay_key=key,
            payer=authorization.sender,
            amount=terms.amount,
            asset=asset,
            network=terms.network,
            purse=f"{terms.network}:{asset}:{authorization.sender}",
            queue=self._facilitator.sender_for(terms.network, payment_id(key)),
            expires_at=authorization.valid_before,
            terms=_write_terms(payload, terms),
            settle_within=self._settle_within[terms.network],
            worth=self._worth(terms),
            refused=refused,
            identifier=payload.identifier,
        )

    def _opaque_credential(
        self, payload: OpaquePayload, terms: PaymentRequirements | Refused, quote: Quote
    ) -> Credential | Refusal:
        """Of a payload only a facilitator understands: it is one payment, whoever pays."""
        if isinstance(terms, Refused):
            return Refusal(terms.reason)
        if not same_resource(payload, quote.resource):
            return Refusal(INVALID_REQUIREMENTS)
        terms = self._told(terms)
        key = f"{terms.network}:{terms.scheme}:{signed_digest(payload)}".lower()
        return Credential(
            rail=self.name,
            replay_key=key,
            payer=_payer(payload),
            amount=terms.amount,
            asset=terms.asset,
            network=terms.network,
            purse=key,
            queue=self._facilitator.sender_for(terms.network, payment_id(key)),
            expires_at=int(self._clock()) + terms.max_timeout,
            terms=_write_terms(payload, terms),
            settle_within=self._settle_within[terms.network],
            worth=self._worth(terms),
            refused=None,
            identifier=payload.identifier,
        )

    def _budget(self, terms: PaymentRequirements, work: float) -> int:
        return int(work + self._settle_within[terms.network])


def _same_token(payload: PaymentPayload, offers: Sequence[PaymentRequirements]) -> PaymentRequirements | None:
    """Our token the credential was signed for, whatever else it says: only that names its replay key."""
    for offer in offers:
        named = offer.v1_network if payload.version == 1 else offer.network
        asset = (payload.accepted or {}).get("asset", offer.asset)
        if payload.network == named and asset.lower() == offer.asset.lower():
            return offer
    return None


def _payer(payload: Payload) -> str:
    """Who pays, as far as we can tell; a payload we do not understand stands for itself."""
    if isinstance(payload, PaymentPayload):
        return payload.authorization.sender
    return f"opaque-{signed_digest(payload)[:32]}"


def _write_terms(payload: Payload, terms: PaymentRequirements) -> bytes:
    requirements = dict(zip(_TERMS, _terms_of(terms), strict=True))
    # As text: it may be larger than a JSON number is read exactly.
    requirements["amount"] = str(terms.amount)
    if isinstance(payload, OpaquePayload):
        # As text: what is signed in it may depend on how it is written.
        return orjson.dumps({"raw": payload.raw.decode(), "requirements": requirements})
    signed = {"v": payload.version, "payment": payment_document(payload), "requirements": requirements}
    written = orjson.dumps(signed)
    _remembered(written, payload, terms)
    return written


_recent: OrderedDict[bytes, tuple[Payload, PaymentRequirements]] = OrderedDict()
"""By what is recorded of them: a payment is read when it comes, verified, settled and receipted."""


def _read_terms(terms: bytes) -> tuple[Payload, PaymentRequirements]:
    return _recent.get(terms) or _remembered(terms, *_parsed(terms))


def _remembered(
    terms: bytes, payload: Payload, requirements: PaymentRequirements
) -> tuple[Payload, PaymentRequirements]:
    if len(_recent) >= _MOST_RECENT:
        _recent.popitem(last=False)
    read = _recent[terms] = (payload, requirements)
    return read


def _parsed(terms: bytes) -> tuple[Payload, PaymentRequirements]:
    kept: dict[str, Any] = orjson.loads(terms)
    requirements = kept["requirements"] | {"amount": int(kept["requirements"]["amount"])}
    return _read_payload(kept), PaymentRequirements(**requirements)


def _read_payload(kept: Mapping[str, Any]) -> Payload:
    if "raw" in kept:
        return read_opaque(orjson.loads(kept["raw"]), kept["raw"].encode())
    return read_payment(kept["payment"], kept["v"])


def in_flight(payment: Payment) -> InFlight:
    """A recorded payment as one of its payer's claims."""
    payload, _ = _read_terms(payment.terms)
    assert isinstance(payload, PaymentPayload), "opaque payments have purses of their own"
    return InFlight(payload.authorization.nonce, payment.amount)
