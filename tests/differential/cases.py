"""Requests that are nearly right: a signed payment and what is changed about it, by a seeded choice."""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from kit.anvil import Anvil
from kit.facilitator import requirement
from kit.mutate import wrap6492
from kit.payments import SignedPayment, sign_payment

from facilitator.exact_evm import SECP256K1_N
from gateway.devchain.accounts import DevAccount

PAYEE = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C"
STRANGER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
PRICE = 10_000
MISSING = object()

Change = Callable[["Case", random.Random], None]


@dataclass(frozen=True)
class Wallets:
    """Payers by what they have, and what the chain remembers of them."""

    rich: DevAccount
    exact: DevAccount
    short: DevAccount
    empty: DevAccount
    used: Sequence[str]
    """Nonces of the rich one that are used or cancelled."""
    contracts: Sequence[str]
    """Addresses with code that are no token of ours."""


@dataclass
class Case:
    """One request; changes before the signature are signed along."""

    payment: SignedPayment
    wallets: Wallets
    body: dict[str, Any] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    """What was done, for people and for the explanations."""

    @property
    def version(self) -> int:
        return self.payment.version

    def finish(self) -> None:
        """Sign, and write the body."""
        try:
            self.payment.resign()
        except (ValueError, TypeError, OverflowError):
            self.told.append("not signed anew")
        self.body = {
            "x402Version": self.version,
            "paymentPayload": copy.deepcopy(self.payment.document()),
            "paymentRequirements": copy.deepcopy(self.payment.requirement),
        }

    @property
    def signed(self) -> dict[str, Any]:
        """The payload's inner object."""
        inner: dict[str, Any] = self.body["paymentPayload"]["payload"]
        return inner


def cases(seed: int, wallets: Wallets) -> Iterator[Case]:
    """For ever; the same ones for the same seed, apart from keys, nonces and the time."""
    dice = random.Random(seed)
    while True:
        yield _case(dice, wallets)


def _case(dice: random.Random, wallets: Wallets) -> Case:
    version = dice.choice((1, 2))
    purse = dice.choices(("rich", "exact", "short", "empty"), (12, 2, 2, 2))[0]
    payer: DevAccount = getattr(wallets, purse)
    terms = requirement(PAYEE, Anvil.token, version, PRICE)
    nonce = "0x" + dice.randbytes(32).hex()
    case = Case(sign_payment(payer.key, terms, version, nonce=nonce), wallets, told=[f"v{version}", purse])
    before = dice.choices((0, 1, 2), (4, 5, 1))[0]
    for change in dice.choices(BEFORE, k=before):
        change(case, dice)
    case.finish()
    after = dice.choices((0, 1, 2), (5 if before else 1, 5, 1))[0]
    for change in dice.choices(AFTER, k=after):
        if isinstance(case.body.get("paymentPayload"), dict) and isinstance(
            case.body["paymentPayload"].get("payload"), dict
        ):
            change(case, dice)
    return case


# Signed along


def _sign_value(case: Case, dice: random.Random) -> None:
    value = dice.choice((0, 1, PRICE - 1, PRICE + 1, 10**18, 2**256 - 1))
    case.payment.authorization["value"] = str(value)
    case.told.append(f"signed value {value}")


def _sign_both_values(case: Case, dice: random.Random) -> None:
    value = dice.choice((0, 1, PRICE - 1, PRICE + 1, 10**15))
    case.payment.authorization["value"] = str(value)
    name = "amount" if case.version == 2 else "maxAmountRequired"
    case.payment.requirement = {**case.payment.requirement, name: str(value)}
    case.told.append(f"price {value}")


def _sign_receiver(case: Case, dice: random.Random) -> None:
    case.payment.authorization["to"] = dice.choice((STRANGER, Anvil.token, "0x" + "00" * 20))
    case.told.append("signed receiver")


def _sign_sender(case: Case, dice: random.Random) -> None:
    contract = dice.choice(("stranger", "contract"))
    sender = STRANGER if contract == "stranger" else dice.choice(case.wallets.contracts)
    case.payment.authorization["from"] = sender
    case.told.append(f"signed by another than {contract}")


def _sign_times(case: Case, dice: random.Random) -> None:
    now = int(time.time())
    before = dice.choice((-(10**6), -60, 0, 3, 10, 20, 3600, 10**12))
    after = dice.choice((-now, -600, -4, -4, 6, 600))
    case.payment.authorization["validBefore"] = str(now + before)
    case.payment.authorization["validAfter"] = str(now + after)
    case.told.append(f"signed times {after}..{before}")


def _sign_used_nonce(case: Case, dice: random.Random) -> None:
    case.payment.authorization["nonce"] = dice.choice(case.wallets.used)
    case.told.append("used nonce")


def _sign_other_domain(case: Case, dice: random.Random) -> None:
    name, value = dice.choice(
        (("name", "USD Coin"), ("version", "1"), ("chainId", 8453), ("verifyingContract", STRANGER))
    )
    case.payment.domain = {**case.payment.domain, name: value}
    case.told.append(f"signed under another {name}")


def _sign_named_domain(case: Case, dice: random.Random) -> None:
    """Signed as the terms say, and those are wrong."""
    name, value = dice.choice((("name", "USD Coin"), ("version", "1")))
    case.payment.domain = {**case.payment.domain, name: value}
    extra = {**case.payment.requirement["extra"], name: value}
    case.payment.requirement = {**case.payment.requirement, "extra": extra}
    case.told.append(f"terms and signature under another {name}")


def _sign_other_asset(case: Case, dice: random.Random) -> None:
    kind = dice.choice(("no contract", "contract"))
    asset = STRANGER if kind == "no contract" else dice.choice(case.wallets.contracts)
    case.payment.domain = {**case.payment.domain, "verifyingContract": asset}
    case.payment.requirement = {**case.payment.requirement, "asset": asset}
    case.told.append(f"asset: {kind}")


BEFORE: Sequence[Change] = (
    _sign_value,
    _sign_both_values,
    _sign_receiver,
    _sign_sender,
    _sign_times,
    _sign_times,
    _sign_used_nonce,
    _sign_other_domain,
    _sign_named_domain,
    _sign_other_asset,
)


# Changed afterwards

_JUNK: Sequence[Any] = (MISSING, None, "", "x", " ", True, 7, -1, 1.5, [], {}, ["0x"], {"a": 1})
_NUMBERS: Sequence[Any] = (
    *("0", "1", "-1", "01", "+1", " 1", "1_0", "1e3", "0x10", "10000.0", "\u0661", str(2**256), "9" * 90),
    *(PRICE, 0, 2**53),
)
_ADDRESSES: Sequence[Any] = (
    *("0x", "0x1234", PAYEE[:-1], PAYEE + "00", PAYEE[2:], PAYEE.lower(), PAYEE.upper(), STRANGER),
    "0x" + "g" * 40,
)
_HEX: Sequence[Any] = ("0x", "0xzz", "0x" + "11" * 31, "0x" + "11" * 33, "11" * 32, "0x" + "11" * 32, "0x1")


def _put(place: dict[str, Any], name: str, value: Any) -> None:
    if value is MISSING:
        place.pop(name, None)
    else:
        place[name] = value


def _change_authorization(case: Case, dice: random.Random) -> None:
    name = dice.choice(("from", "to", "value", "validAfter", "validBefore", "nonce"))
    fit = {"from": _ADDRESSES, "to": _ADDRESSES, "nonce": _HEX}.get(name, _NUMBERS)
    value = dice.choice((*fit, *_JUNK))
    authorization = case.signed.get("authorization")
    if isinstance(authorization, dict):
        _put(authorization, name, value)
        case.told.append(f"{name} = {_shown(value)}")


def _change_signature(case: Case, dice: random.Random) -> None:
    text = case.signed.get("signature")
    if not isinstance(text, str) or len(text) != 132:
        return
    name, change = dice.choice(_SIGNATURES)
    case.signed["signature"] = "0x" + change(bytes.fromhex(text[2:]), dice).hex()
    case.told.append(f"signature: {name}")


def _other_s(old: bytes, dice: random.Random) -> bytes:
    """The other valid signature of the same message."""
    s = SECP256K1_N - int.from_bytes(old[32:64], "big")
    return old[:32] + s.to_bytes(32, "big") + bytes([(55 - old[64]) % 256])


def _flip(old: bytes, dice: random.Random) -> bytes:
    place = dice.randrange(64)
    return old[:place] + bytes([old[place] ^ 1 << dice.randrange(8)]) + old[place + 1 :]


_SIGNATURES: Sequence[tuple[str, Callable[[bytes, random.Random], bytes]]] = (
    ("a bit flipped", _flip),
    ("a bit flipped", _flip),
    ("v of 0 or 1", lambda old, dice: old[:64] + bytes([(old[64] - 27) % 256])),
    ("the other v", lambda old, dice: old[:64] + bytes([(55 - old[64]) % 256])),
    ("no such v", lambda old, dice: old[:64] + bytes([dice.choice((2, 26, 29, 35, 255))])),
    ("high s", _other_s),
    ("zeros", lambda old, dice: bytes(64) + old[64:]),
    ("64 bytes", lambda old, dice: old[:64]),
    ("66 bytes", lambda old, dice: old + b"\x00"),
    ("130 bytes", lambda old, dice: old + old),
    ("wrapped (ERC-6492)", lambda old, dice: wrap6492(old)),
)


def _change_signature_text(case: Case, dice: random.Random) -> None:
    text = case.signed.get("signature")
    odd = [] if not isinstance(text, str) else [text[2:], text.upper(), text[:-1], text + "zz", f" {text}"]
    value = dice.choice((*odd, *_JUNK))
    _put(case.signed, "signature", value)
    case.told.append(f"signature text {_shown(value)}")


def _change_terms(case: Case, dice: random.Random) -> None:
    terms = case.body["paymentRequirements"]
    amount = "amount" if case.version == 2 else "maxAmountRequired"
    name = dice.choice((amount, "payTo", "asset", "network", "scheme", "maxTimeoutSeconds", "resource"))
    fit: Sequence[Any] = {
        amount: (str(PRICE - 1), str(PRICE + 1), *_NUMBERS),
        "payTo": _ADDRESSES,
        "asset": (Anvil.token.lower(), *_ADDRESSES),
        "network": ("eip155:8453", "eip155:0", "eip155:", "base", "base-sepolia", "eip155:84532", "solana"),
        "scheme": ("upto", "EXACT", "exact "),
        "maxTimeoutSeconds": ("300", 0, 1),
    }.get(name, ())
    value = dice.choice((*fit, *fit, *_JUNK))
    _put(terms, name, value)
    case.told.append(f"terms {name} = {_shown(value)}")


def _change_extra(case: Case, dice: random.Random) -> None:
    terms = case.body["paymentRequirements"]
    name = dice.choice(("name", "version", "more", "whole"))
    value = dice.choice(("USD Coin", "1", "USDC", "2", *_JUNK))
    if name == "whole" or not isinstance(terms.get("extra"), dict):
        _put(terms, "extra", value)
    else:
        terms["extra"] = dict(terms["extra"])
        _put(terms["extra"], name, value)
    case.told.append(f"extra {name} = {_shown(value)}")


def _change_payment(case: Case, dice: random.Random) -> None:
    """What the client says it pays for: its echo (v2), or scheme and network (v1)."""
    payment = case.body["paymentPayload"]
    place = payment if case.version == 1 else payment.get("accepted")
    if not isinstance(place, dict):
        return
    names = ("scheme", "network", "amount", "payTo", "asset", "extra", "maxTimeoutSeconds")
    name = dice.choice(names[:2] if case.version == 1 else (*names, "scheme", "network"))
    value = dice.choice(("upto", "eip155:8453", "base", "solana", str(PRICE + 1), STRANGER, *_JUNK))
    _put(place, name, value)
    case.told.append(f"payment {name} = {_shown(value)}")


def _change_shape(case: Case, dice: random.Random) -> None:
    name, where = dice.choice(
        (
            ("payload", case.body["paymentPayload"]),
            ("accepted", case.body["paymentPayload"]),
            ("x402Version", case.body["paymentPayload"]),
            ("resource", case.body["paymentPayload"]),
            ("extensions", case.body["paymentPayload"]),
            ("authorization", case.signed),
            ("permit2Authorization", case.signed),
            ("paymentPayload", case.body),
            ("paymentRequirements", case.body),
            ("x402Version", case.body),
        )
    )
    value = dice.choice((*_JUNK, 3))
    if isinstance(where, dict):
        _put(where, name, value)
        case.told.append(f"shape {name} = {_shown(value)}")


def _add_junk(case: Case, dice: random.Random) -> None:
    """Fields nobody knows change nothing."""
    place = dice.choice((case.body, case.body["paymentPayload"], case.signed))
    place["x-unknown"] = dice.choice((1, "a", {"b": []}))
    case.told.append("unknown field")


def _nudge(case: Case, dice: random.Random) -> None:
    """Another value that would do as well, had it been signed."""
    now = int(time.time())
    name, values = dice.choice(
        (
            ("from", (case.wallets.rich.address, case.wallets.empty.address, STRANGER)),
            ("to", (STRANGER, PAYEE, PAYEE.lower())),
            ("value", (str(PRICE), str(PRICE - 1), str(PRICE + 1), "0")),
            ("validAfter", ("0", "1", str(now - 60), str(now + 60))),
            ("validBefore", (str(now + 299), str(now + 3600), str(now - 1), str(2**256 - 1))),
            ("nonce", ("0x" + dice.randbytes(32).hex(), *case.wallets.used)),
        )
    )
    value = dice.choice(values)
    authorization = case.signed.get("authorization")
    if isinstance(authorization, dict):
        authorization[name] = value
        case.told.append(f"{name} = {_shown(value)}, unsigned")


def _nudge_terms(case: Case, dice: random.Random) -> None:
    """Terms that are in order, and another server's."""
    name, value = dice.choice(
        (
            ("amount" if case.version == 2 else "maxAmountRequired", str(PRICE + dice.choice((-1, 1)))),
            ("payTo", STRANGER),
            ("payTo", PAYEE.lower()),
            ("asset", Anvil.token.lower()),
            ("network", "eip155:8453" if case.version == 2 else "base"),
            ("maxTimeoutSeconds", dice.choice((1, 60, 3600))),
            ("extra", {"name": "USDC", "version": "1"}),
            ("extra", {"name": "USDC", "version": "2", "more": [1]}),
            ("extra", {"name": "USDC"}),
        )
    )
    case.body["paymentRequirements"][name] = value
    case.told.append(f"terms {name} = {_shown(value)}")


AFTER: Sequence[Change] = (
    *(_nudge,) * 10,
    *(_nudge_terms,) * 8,
    *(_add_junk,) * 4,
    *(_change_signature,) * 4,
    *(_change_authorization,) * 3,
    *(_change_payment,) * 2,
    *(_change_terms,) * 2,
    _change_extra,
    _change_signature_text,
    _change_shape,
)


def _shown(value: Any) -> str:
    if value is MISSING:
        return "missing"
    text = repr(value)
    return text if len(text) < 50 else text[:47] + "..."
