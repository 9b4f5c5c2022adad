"""Payments due together on one key go out in one transaction: gathered, looked at, packed, sent.

Whoever cannot travel goes alone, by the steps of :mod:`facilitator.settling`, which give precise verdicts:
who is alone, who would fail, for whom anything was ever recorded, and everybody where the chain has no
Multicall3. One payment is never in two transactions that may both be mined:

- anything recorded for it keeps it out of a new batch, and the lane looks again when it had to start anew;
- a batch is recorded for all its payments in one durable step before it is sent, as one nonce of the
  lane: raises of its fees are the same calls with the same nonce;
- it goes alone after a batch only when that one is mined or replaced by evidence (``settling``).

Whatever goes wrong between, the token takes an authorization once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from facilitator import multicall
from facilitator.base import Due, Journal, VerificationUnavailable
from facilitator.chain import ChainClient
from facilitator.lane import Lane, Transfer
from facilitator.packing import Batches, Gathering, gas_budget
from facilitator.preview import Costs, Item, Preview, learn, preview

if TYPE_CHECKING:
    from facilitator.desk import Desk
    from facilitator.fees import Fees
    from facilitator.shipment import Shipment
    from facilitator.signer import Signer

HANDS = 2
"""Batches of one key in preparation at once: the second one is looked at while the first is sent."""

REST = 60.0
"""Seconds in which everybody goes alone after a batch that mostly failed, or that a node would not try."""

Packed = dict[str, "Shipment"]
"""By payment; who is missing goes alone."""


class Together:
    """Whether payments of one chain may travel together at all, and what they need."""

    def __init__(self, client: ChainClient, batches: Batches, told: Callable[[bool], None]) -> None:
        """``told`` hears once whether the chain has Multicall3."""
        self.batches = batches
        self.costs = Costs()
        self._client = client
        self._told = told
        self._there: bool | None = None
        self._asking = asyncio.Lock()
        self._rests_until = float("-inf")

    async def possible(self) -> bool:
        """Ask the chain once; VerificationUnavailable when it does not answer."""
        if not self.likely:
            return False
        return await self._ask() if self._there is None else self._there

    async def _ask(self) -> bool:
        async with self._asking:
            if self._there is None:
                code = await self._client.rpc.call("eth_getCode", multicall.ADDRESS, "latest")
                self._there = isinstance(code, str) and len(code) > 2
                self._told(self._there)
            return self._there

    @property
    def likely(self) -> bool:
        """Whether they do, as far as is known."""
        now = asyncio.get_running_loop().time()
        return self.batches.max_size > 1 and self._there is not False and now >= self._rests_until

    def rest(self) -> None:
        """It does not work out just now."""
        self._rests_until = asyncio.get_running_loop().time() + REST
        self.costs.forget()

    def judge(self, payments: int, moved: int) -> None:
        """A batch of which most did not move was given too little gas, or somebody plays with us."""
        if moved * 2 < payments:
            self.rest()


class _Passenger(Item):
    """Who waits to be packed, and for what."""

    __slots__ = ("journal", "packing")

    def __init__(self, due: Due, journal: Journal) -> None:
        super().__init__(due)
        self.journal = journal
        self.packing: asyncio.Future[asyncio.Task[Packed]] = asyncio.get_running_loop().create_future()


class Packer:
    """The payments that wait for one lane."""

    def __init__(self, desk: Desk, lane: Lane) -> None:
        self._desk = desk
        self._together = desk.together
        self._lane = lane
        # A journal belongs to one hold of the key's lease: under another one nothing may be sent.
        self._waiting = Gathering[_Passenger](desk.together.batches, lambda passenger: id(passenger.journal))
        self._hands: set[asyncio.Task[Packed]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.settling = 0
        """Payments of this lane that are being settled, waiting or sent."""

    async def ship(self, due: Due, journal: Journal) -> Shipment | None:
        """Send a payment together with others; None when it is to go alone.

        VerificationUnavailable: nothing was sent. What the journal raises passes through.
        """
        passenger = _Passenger(due, journal)
        now = asyncio.get_running_loop().time()
        self._waiting.join(passenger, now, company=self.settling > 1)
        self._plan()
        packing = await passenger.packing
        await asyncio.wait((packing,))
        return packing.result().get(due.payment_id)

    def _plan(self) -> None:
        """Let leave who may, and look again when the next ones may."""
        loop = asyncio.get_running_loop()
        while self._waiting and len(self._hands) < HANDS:
            at = self._waiting.leaves_at(busy=bool(self._hands))
            if at > loop.time():
                if self._timer is None:
                    self._timer = loop.call_at(at, self._on_time)
                return
            self._depart()

    def _on_time(self) -> None:
        self._timer = None
        self._plan()

    def _depart(self) -> None:
        passengers = [each for each in self._waiting.take() if not each.packing.done()]
        task = asyncio.create_task(self._pack(passengers))
        self._hands.add(task)
        task.add_done_callback(self._free)
        for passenger in passengers:
            passenger.packing.set_result(task)

    def _free(self, task: asyncio.Task[Packed]) -> None:
        self._hands.discard(task)
        self._plan()

    async def _pack(self, passengers: Sequence[_Passenger]) -> Packed:
        items = await self._fresh(passengers)
        if len(items) < 2:
            return {}
        seen = await preview(self._desk.client, self._together.costs, items, self._lane.address)
        if seen is None:
            self._together.rest()
            return {}
        self._waiting.room = self._together.costs.room(gas_budget(seen.block.gas_limit))
        signer = await self._desk.signer()
        going, fees = await self._affordable(signer, seen)
        if len(going) < 2:
            return {}
        return await self._send(signer, passengers[0].journal, going, fees)

    async def _fresh(self, passengers: Sequence[_Passenger]) -> list[Item]:
        """Of whom nothing is recorded, and whose token is known to work."""
        if len(passengers) < 2:
            return []
        known = await passengers[0].journal.known([each.due.payment_id for each in passengers])
        fresh = [each for each in passengers if each.due.payment_id not in known]
        await learn(self._desk.client, self._together.costs, fresh, self._lane.address)
        return [each for each in fresh if self._together.costs.knows(each.asset)]

    async def _affordable(self, signer: Signer, seen: Preview) -> tuple[Sequence[Item], Fees]:
        """As many of the first as the key has gas money for, and a block has room."""
        fees = await signer.fees(seen.block.base_fee)
        if fees is None:
            raise VerificationUnavailable("gas is above the cap")
        costs, budget = self._together.costs, gas_budget(seen.block.gas_limit)
        if fees.most:
            budget = min(budget, seen.fuel // (fees.most * (self._lane.ahead(seen.mined) + 1)))
        return seen.works[: max(0, costs.room(budget))], fees

    async def _send(self, signer: Signer, journal: Journal, items: Sequence[Item], fees: Fees) -> Packed:
        gas = self._together.costs.together(items)
        ids = tuple(item.due.payment_id for item in items)
        transfer = Transfer(ids, multicall.ADDRESS, multicall.aggregate3(items), gas, fees)
        sent = await self._lane.send(signer, journal, transfer)
        if sent is None:
            raise VerificationUnavailable("this is not the key's one sender")
        self._desk.fuel.note(gas // len(items))
        # It may be an earlier one, of some of them, that had seemed not to be recorded.
        shipment = self._desk.shipment(journal, [sent[0]])
        return dict.fromkeys(sent[0].payment_ids, shipment) if sent[0].shared else {}
