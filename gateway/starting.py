"""``tollway init``: a first configuration, from a few answers or from what x402-connector reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.settings.networks import builtin_networks
from policies.money import BadMoney, parse_money
from policies.route import BadPattern, parse_pattern

PUBLIC_FACILITATOR = "https://x402.org/facilitator"
"""The one the x402 project runs, for test networks only."""
RPC = {
    "base": "https://mainnet.base.org",
    "base-sepolia": "https://sepolia.base.org",
    "avalanche": "https://api.avax.network/ext/bc/C/rpc",
    "avalanche-fuji": "https://api.avax-test.network/ext/bc/C/rpc",
    "polygon": "https://polygon-rpc.com",
    "polygon-amoy": "https://rpc-amoy.polygon.technology",
}
"""Public endpoints of the networks people begin with."""
_PLAIN = re.compile(r"[A-Za-z0-9_./:$*~-][A-Za-z0-9_./:$*~ -]*\Z")


class CannotStart(ValueError):
    """What was given makes no configuration; the message says what to give."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a first configuration takes."""

    upstream: str
    pay_to: str
    price: str
    network: str = "base-sepolia"
    facilitator: str | None = None
    rpc: str | None = None
    paths: tuple[str, ...] = ("/**",)

    def text(self) -> str:
        """The file; CannotStart where an answer cannot be written down."""
        rpc = self.rpc or RPC.get(self.network)
        if rpc is None:
            raise CannotStart(f"say which RPC to ask about {self.network}: --rpc URL")
        matches = [f"match: {_quoted(f'* {path}')}" for path in self.paths]
        routes = [f"  - {{{match}, price: {_quoted(self.price)}}}" for match in matches]
        facilitator = f"{{mode: remote, url: {_quoted(self._settled_by())}}}"
        x402 = f"pay_to: {_quoted(self.pay_to)}, networks: [{self.network}], facilitator: {facilitator}"
        lines = [
            f"upstreams: {{api: {{url: {_quoted(self.upstream)}}}}}",
            f"networks: {{{self.network}: {{rpc: {_quoted(rpc)}}}}}",
            f"rails: {{x402: {{{x402}}}}}",
            "routes:",
            *routes,
        ]
        return "\n".join(lines) + "\n"

    def _settled_by(self) -> str:
        if self.facilitator is not None:
            return self.facilitator
        known = builtin_networks().get(self.network)
        if known is None or not known.testnet:
            raise CannotStart(
                f"say who settles on {self.network}: --facilitator URL, or X402_FACILITATOR_URL"
            )
        return PUBLIC_FACILITATOR


def from_environment(environ: Mapping[str, str], upstream: str | None) -> Beginning:
    """What x402-connector is configured with (``X402_*``); CannotStart names what is missing."""
    address = upstream or environ.get("X402_UPSTREAM")
    pay_to, price = environ.get("X402_PAY_TO_ADDRESS"), environ.get("X402_PRICE", "$0.01")
    if not pay_to:
        raise CannotStart("X402_PAY_TO_ADDRESS is not set: who is to be paid?")
    if not address:
        raise CannotStart("say where the API is: --upstream URL, or X402_UPSTREAM")
    given = environ.get("X402_PROTECTED_PATHS", "*")
    return Beginning(
        upstream=address,
        pay_to=pay_to,
        price=_price(price),
        network=environ.get("X402_NETWORK", "base-sepolia"),
        facilitator=environ.get("X402_FACILITATOR_URL"),
        rpc=environ.get("X402_RPC_URL"),
        paths=tuple(_path(each.strip()) for each in given.split(",") if each.strip()),
    )


def _price(written: str) -> str:
    """There, digits alone are atomic units; here, nothing is left to guess."""
    if written.isdigit():
        return f'{{amount: "{written}", asset: USDC}}'
    try:
        parse_money(written)
    except BadMoney as error:
        raise CannotStart(f"X402_PRICE: {error}") from error
    return written


def _path(pattern: str) -> str:
    """``*`` is everything there, and ``/a/*`` what begins with ``/a``; here, segments count."""
    if pattern == "*":
        return "/**"
    path = pattern[: -len("/*")] + "/**" if pattern.endswith("/*") else pattern
    try:
        parse_pattern(path)
    except BadPattern as error:
        raise CannotStart(f"X402_PROTECTED_PATHS: {pattern}: {error}") from error
    return path


def _quoted(text: str) -> str:
    """As YAML; what is more than plain text in quotes."""
    if text.startswith("{amount: "):
        return text
    if not text.isprintable():
        raise CannotStart("control characters have no place in a configuration")
    return text if _PLAIN.match(text) and not text.startswith("*") else '"' + text.replace('"', '\\"') + '"'
