"""The settings as the code uses them: frozen, compiled, nothing left to check."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal
from urllib.parse import urlsplit

from pydantic import SecretStr

from facilitator.packing import Batches
from facilitator.wire import PaymentRequirements
from gateway.settings.model import Server, Store
from gateway.settings.scalars import Address
from policies.money import Asset, Atomic, BadMoney, Dollars, Money, amount_in
from policies.route import Terms
from policies.table import RouteTable

V1_NAMES = frozenset(
    {
        *(
            "abstract",
            "abstract-testnet",
            "base",
            "base-sepolia",
            "avalanche",
            "avalanche-fuji",
            "iotex",
            "sei",
        ),
        *("sei-testnet", "polygon", "polygon-amoy", "peaq", "story", "educhain", "skale-base-sepolia"),
    }
)
"""Networks offered to v1 clients: one unknown name makes them refuse all (INTERFACE section 3)."""


@dataclass(frozen=True, slots=True)
class Network:
    """A chain payments can come in on; times in seconds."""

    name: str
    chain_id: int
    """0 where it is no EVM chain."""
    v1_name: str | None = None
    """None where v1 clients do not know it."""
    rpc: tuple[str, ...] = field(default=(), repr=False)
    confirmations: int = 1
    finality: int = 64
    settle_within: float = 30.0
    max_fee_gwei: Decimal = Decimal(50)
    assets: Mapping[str, Asset] = field(default_factory=dict)
    """Tokens with EIP-3009, by symbol; the default one first."""
    testnet: bool = False
    permit2: frozenset[str] = frozenset()
    """Symbols of tokens that can only be paid by Permit2: not supported."""

    @property
    def evm(self) -> bool:
        """Whether it is a chain we can look at ourselves."""
        return self.chain_id > 0

    @property
    def caip2(self) -> str:
        """``eip155:N``, or the id another network is called by (CAIP-2)."""
        return f"eip155:{self.chain_id}" if self.evm else self.name

    def asset(self, money: Money) -> Asset:
        """The token an amount is paid in here; BadMoney where there is none."""
        if isinstance(money, Dollars):
            return self._dollars()
        if money.symbol in self.permit2:
            raise BadMoney(f"{money.symbol} on {self.name} takes only Permit2, which is not supported")
        if money.symbol not in self.assets:
            known = ", ".join(self.assets) or "none"
            raise BadMoney(f"there is no asset {money.symbol} on network {self.name} (known there: {known})")
        return self.assets[money.symbol]

    def _dollars(self) -> Asset:
        if "USDC" in self.assets:
            return self.assets["USDC"]
        first = next(iter(self.assets.values()), None)
        if first is None and self.permit2:
            symbols = ", ".join(sorted(self.permit2))
            raise BadMoney(f"network {self.name} only has {symbols}, paid by Permit2, which is not supported")
        if first is None:
            raise BadMoney(f"network {self.name} has no asset: name one in networks.{self.name}.assets")
        if not is_dollar(first.symbol):
            raise BadMoney(f"network {self.name} has no dollar asset: write the price as `1 {first.symbol}`")
        return first


def is_dollar(symbol: str) -> bool:
    """Whether a token stands for US dollars, by its symbol."""
    return "USD" in symbol.upper()


@dataclass(frozen=True, slots=True)
class Upstream:
    """An API behind the gateway; times in seconds."""

    name: str
    url: str
    """Without a final slash; may have a base path."""
    timeout: float
    connect_timeout: float
    host: Literal["upstream", "preserve"]
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Facilitator:
    """Who verifies and settles."""

    mode: Literal["local", "remote", "hybrid"]
    keys: tuple[SecretStr, ...] = ()
    """Settlement keys: 0x and 64 hex digits each."""
    urls: tuple[str, ...] = ()
    """Remote facilitators in the order they are asked, without final slashes."""
    headers: Mapping[str, SecretStr] = field(default_factory=dict, repr=False)
    timeout: float = 3.0
    """Seconds one of them is waited for with a verification; all together get twice that."""
    verify_on_chain_over: int | None = None
    """Millionths of a dollar from which a claimed settlement is looked up on the chain; None: never."""


@dataclass(frozen=True)
class X402:
    """Being paid by x402."""

    pay_to: dict[str, str]
    """Address by network name, checksummed where that means something."""
    networks: tuple[str, ...]
    """Network names, in the order they are offered."""
    max_timeout: float
    """Seconds; a whole number."""
    protocols: frozenset[str]
    exclusive: bool
    batch: Batches
    """How settlements that are due together share a transaction."""
    facilitators: Mapping[str, Facilitator]
    """By network name."""
    chains: tuple[Network, ...]
    """The networks themselves, in the same order."""
    _known: dict[tuple[Money, Terms | None], tuple[PaymentRequirements, ...]] = field(
        default_factory=dict, compare=False, repr=False
    )

    def offers(self, money: Money, terms: Terms | None = None) -> tuple[PaymentRequirements, ...]:
        """What is asked for an amount, in the order of the networks, or of a route's own ``accepts``.

        BadMoney where it cannot be paid exactly on one of them; never for a price of the table.
        """
        known = (money, terms)
        if known not in self._known:
            self._known[known] = tuple(self._offers(money, terms or Terms()))
        return self._known[known]

    def _offers(self, money: Money, terms: Terms) -> Iterator[PaymentRequirements]:
        receivers = self.pay_to | dict(terms.pay_to)
        own = terms.accepts or tuple((network.name, money) for network in self.chains)
        for name, amount in own:
            network = next(each for each in self.chains if each.name == name)
            yield self._offer(network, amount, receivers[name])

    def _offer(self, network: Network, money: Money, pay_to: str) -> PaymentRequirements:
        asset = network.asset(money)
        return PaymentRequirements(
            scheme="exact",
            network=network.caip2,
            chain_id=network.chain_id,
            v1_network=network.v1_name,
            asset=asset.address,
            amount=amount_in(money, asset),
            pay_to=pay_to,
            max_timeout=round(self.max_timeout),
            name=asset.name,
            version=asset.version,
        )

    def worth(self, terms: PaymentRequirements) -> int:
        """An amount in millionths of the asset's unit, rounded up."""
        network = next(chain for chain in self.chains if chain.caip2 == terms.network)
        asset = next(each for each in network.assets.values() if each.address == terms.asset)
        scale: int = 10**asset.decimals
        return -(-terms.amount * 1_000_000 // scale)

    @property
    def remote(self) -> bool:
        """Whether somebody else settles anywhere."""
        return any(each.mode != "local" for each in self.facilitators.values())

    def check(self, money: Money) -> None:
        """BadMoney where an amount cannot be asked for on every network, meaning the same everywhere."""
        assets = [network.asset(money) for network in self.chains]
        if isinstance(money, Atomic) and len({asset.decimals for asset in assets}) > 1:
            raise BadMoney(f"{money.symbol} has different decimals here: write `1.5 {money.symbol}`")
        for asset in assets:
            amount_in(money, asset)


@dataclass(frozen=True, slots=True)
class Conxa:
    """Being paid from CONXA wallets; times in seconds."""

    base_url: str
    """Without a final slash."""
    api_key: SecretStr
    provider_id: str
    provider_type: Literal["api", "web"]
    accept_sessions: bool
    timeout: float
    """For one call."""
    settle_within: float
    """For a charge, with all its tries."""
    rate_limit_timeout: float

    @property
    def local(self) -> bool:
        """Whether it is on this machine: a stand-in."""
        return Address(urlsplit(self.base_url).hostname or "", 0).loopback


@dataclass(frozen=True, slots=True)
class Rails:
    """The configured ways to be paid; None where one is not."""

    x402: X402 | None = None
    conxa: Conxa | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The configured rails, in the order they are offered by default."""
        return tuple(name for name in ("x402", "conxa") if getattr(self, name) is not None)


@dataclass(frozen=True, slots=True)
class FacilitatorServer:
    """Being a facilitator for other people's servers."""

    listen: Address
    chains: tuple[Network, ...]
    settlement_keys: tuple[SecretStr, ...]
    """0x and 64 hex digits each: they pay the gas."""
    keys: tuple[SecretStr, ...]
    """Bearer tokens, any of which opens it; empty only on loopback."""
    max_body: int
    """Bytes of one request."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One valid configuration."""

    server: Server
    store: Store
    networks: Mapping[str, Network]
    """Those the file defines, and those the rails use, by name."""
    upstreams: Mapping[str, Upstream]
    rails: Rails
    table: RouteTable
    warnings: tuple[str, ...]
    """Located lines."""
    facilitator: FacilitatorServer | None = None

    @property
    def sells(self) -> bool:
        """Whether there is anything for ``tollway serve`` to serve."""
        return bool(self.table.routes) or self.table.unmatched is not None
