"""One request that carries a payment whose signature is good."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from gateway.accept import Incoming
from gateway.budget import Hold
from gateway.connection import Connection
from gateway.payment import Caps, Claim, Moment
from gateway.rails.base import Credential, Quote, Rail, Wanted
from gateway.render import Entry
from policies.route import Route


@dataclass(frozen=True, slots=True)
class Purchase:
    """What was asked for, by whom, and what it costs."""

    incoming: Incoming
    route: Route
    rail: Rail
    wanted: Wanted
    credential: Credential
    digest: str
    key: str | None
    """The client's ``Idempotency-Key``, or the one its credential has without."""
    hold: Hold
    entry: Entry

    @property
    def quote(self) -> Quote:
        """What it costs."""
        return self.wanted.quote

    @property
    def body(self) -> bytes:
        """The client's request body."""
        return self.wanted.body

    @property
    def connection(self) -> Connection:
        """The client's."""
        return cast(Connection, self.incoming.raw.protocol)

    @property
    def client_gone(self) -> bool:
        """Whether the client's connection is lost: nothing can be answered any more."""
        return self.incoming.raw.transport is None

    @property
    def client_left(self) -> bool:
        """Whether the client hung up, as far as can be seen: it may also only have ended its side."""
        return self.client_gone or self.connection.client_ended

    @property
    def caps(self) -> Caps | None:
        """What ``deferred`` may put at risk here."""
        exposure = self.route.exposure
        return None if exposure is None else Caps(exposure.per_payer, exposure.total)

    def claim(self) -> Claim:
        """What the store is asked to reserve."""
        credential = self.credential
        return Claim(
            replay_key=credential.replay_key,
            digest=self.digest,
            rail=credential.rail,
            route=self.route.name,
            payer=credential.payer,
            amount=credential.amount,
            asset=credential.asset,
            network=credential.network,
            purse=credential.purse,
            queue=credential.queue,
            terms=credential.terms,
            expires_at=credential.expires_at,
            idempotency_key=self.key,
            moment=Moment(self.route.settle),
            exposure=credential.worth,
        )
