"""Verifying ``exact`` payments on EVM: no key is needed for it, only the chains' endpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from facilitator import token_abi
from facilitator.base import Accepted, Purse, Refused
from facilitator.chain import ChainClient, Snapshot
from facilitator.evidence import find_paid
from facilitator.exact_evm import check_time, verify_signature
from facilitator.rpc import quantity
from facilitator.wire import ZERO_ADDRESS, Authorization, Payload, PaymentPayload, PaymentRequirements

_SHORT = Refused(token_abi.INSUFFICIENT_FUNDS, "the balance does not cover this and the claims in flight")


class Verifier:
    """Verifies against the chains it is given, by CAIP-2 id. What needs a chain raises
    VerificationUnavailable when that cannot be asked."""

    def __init__(
        self, clients: Mapping[str, ChainClient], clock: Callable[[], float], *, caller: str = ZERO_ADDRESS
    ) -> None:
        """``clock`` gives unix seconds; the transfer is simulated as sent by ``caller``."""
        self.clients = clients
        self._clock = clock
        self._caller = caller

    async def verify(
        self,
        payload: PaymentPayload,
        requirements: PaymentRequirements,
        purse: Purse,
        work_budget: int,
        least: int | None = None,
    ) -> Accepted | Refused:
        """See :class:`facilitator.base.Facilitator`; ``least`` seconds must be left to live.

        None: ``settle_within``. Less is for work that is done already.
        """
        client = self.clients[requirements.network]
        refused = self.offline(payload, requirements, work_budget, least)
        if refused is not None:
            return refused
        seen = await client.snapshot(payload, requirements, self._caller, estimate=False)
        budget = _budget(client, work_budget, least)
        refused = _refusal(payload.authorization, seen, client.now(seen.block), budget)
        if refused is not None:
            return refused
        return await self._judge_balance(client, payload, requirements, purse, seen)

    def offline(
        self,
        payload: PaymentPayload,
        requirements: PaymentRequirements,
        work_budget: int,
        least: int | None = None,
    ) -> Refused | None:
        """What needs no chain: garbage must not cause a call."""
        signed = verify_signature(payload, requirements)
        if isinstance(signed, Refused):
            return signed
        budget = _budget(self.clients[requirements.network], work_budget, least)
        return check_time(payload.authorization, int(self._clock()), budget)

    async def beside_claims(
        self, payload: PaymentPayload, requirements: PaymentRequirements, purse: Purse
    ) -> Accepted | Refused:
        """Whether the balance covers a payment that is good by itself beside the payer's other claims."""
        if not purse.spoken_for:
            return Accepted()
        client = self.clients[requirements.network]
        block = hex(quantity(await client.rpc.call("eth_blockNumber")))
        payer, claims = payload.authorization.sender, await purse.claims()
        return Accepted() if await client.covers(requirements, payer, claims, block) else _SHORT

    async def find_paid(self, requirements: PaymentRequirements, payload: Payload) -> str | None:
        """The transaction that used an authorization to pay us, whoever sent it.

        None where the authorization is unused, was used otherwise, is not for these terms, or the log
        lies further back than is searched; and for what is not EVM.
        """
        if not isinstance(payload, PaymentPayload):
            return None
        if isinstance(verify_signature(payload, requirements), Refused):
            return None
        client = self.clients[requirements.network]
        return await find_paid(client, requirements.asset, payload.authorization)

    async def _judge_balance(
        self,
        client: ChainClient,
        payload: PaymentPayload,
        requirements: PaymentRequirements,
        purse: Purse,
        seen: Snapshot,
    ) -> Accepted | Refused:
        """The balance less the claims in flight; asked precisely only when the first look is too little."""
        if seen.balance - purse.spoken_for >= requirements.amount:
            return Accepted()
        if purse.spoken_for and seen.balance >= requirements.amount:
            payer, claims = payload.authorization.sender, await purse.claims()
            if await client.covers(requirements, payer, claims, seen.block.tag):
                return Accepted()
        return _SHORT


def _budget(client: ChainClient, work_budget: int, least: int | None) -> int:
    return max(work_budget, int(client.chain.settle_within) if least is None else least)


def _refusal(authorization: Authorization, seen: Snapshot, now: int, budget: int) -> Refused | None:
    if seen.nonce_used:
        return Refused(token_abi.NONCE_USED, "the authorization is used or cancelled")
    return check_time(authorization, now, budget) or seen.refused
