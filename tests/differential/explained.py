"""Why the two differ, where they do. Each row is in the table of docs/facilitator.md under the same name.

A row is as narrow as it can be: it says which verdicts it is about, and looks at the request for what is
to be the cause, with code of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from differential.cases import Case
from differential.official import Verdict
from eth_utils.address import to_checksum_address
from kit.anvil import Anvil

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}\Z")
_NUMBER = re.compile(r"(0|[1-9][0-9]{0,77})\Z", re.ASCII)
_NONCE = re.compile(r"0x[0-9a-fA-F]{64}\Z")
_BYTES = re.compile(r"0x([0-9a-fA-F]{2})+\Z")
_SIGNATURE = "invalid_exact_evm_payload_signature"
_MALFORMED = ("invalid_payload", "invalid_payment_requirements")
_LATE = (
    "invalid_exact_evm_transaction_simulation_failed",
    "invalid_exact_evm_insufficient_balance",
    "invalid_exact_evm_nonce_already_used",
)
"""What the official one says where its simulation fails and it finds no reason, or another one first."""

Row = Callable[[Case, str, str], bool]


def explanation(case: Case, official: Verdict, ours: Verdict) -> str | None:
    """The name of the row that explains a difference, or None."""
    return next((name for name, row in ROWS.items() if row(case, str(official), str(ours))), None)


# What is in a request


def _get(place: Any, *names: str) -> Any:
    for name in names:
        place = place.get(name) if isinstance(place, dict) else None
    return place


def _authorization(case: Case, name: str) -> Any:
    return _get(case.body, "paymentPayload", "payload", "authorization", name)


def _terms(case: Case, name: str) -> Any:
    return _get(case.body, "paymentRequirements", name)


def _signature(case: Case) -> Any:
    return _get(case.body, "paymentPayload", "payload", "signature")


def _fits(shape: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and shape.match(value) is not None


def _number(value: Any) -> bool:
    return _fits(_NUMBER, value) and int(value) < 2**256


def _odd(case: Case) -> Iterator[str]:
    """The fields that are not as the specification writes them."""
    for name in ("from", "to"):
        if not _fits(_ADDRESS, _authorization(case, name)):
            yield name
    if _authorization(case, "from") == "0x" + "00" * 20:
        yield "from"
    for name in ("value", "validAfter", "validBefore"):
        if not _number(_authorization(case, name)):
            yield name
    if not _fits(_NONCE, _authorization(case, "nonce")):
        yield "nonce"
    if not _fits(_BYTES, _signature(case)):
        yield "signature"
    yield from _odd_terms(case)
    yield from _odd_payment(case)


def _odd_terms(case: Case) -> Iterator[str]:
    for name in ("payTo", "asset"):
        if not _fits(_ADDRESS, _terms(case, name)):
            yield name
    if not _number(_terms(case, "amount" if case.version == 2 else "maxAmountRequired")):
        yield "amount"
    if type(_terms(case, "maxTimeoutSeconds")) is not int:
        yield "maxTimeoutSeconds"
    for name in ("network", "scheme"):
        if not isinstance(_terms(case, name), str):
            yield name


def _odd_payment(case: Case) -> Iterator[str]:
    payment = case.body.get("paymentPayload")
    place = payment if case.version == 1 else _get(payment, "accepted")
    names = ("scheme", "network") if case.version == 1 else ("scheme", "network", "amount", "asset", "payTo")
    for name in names:
        if not isinstance(_get(place, name), str):
            yield f"payment {name}"
    if _get(payment, "x402Version") != case.version or type(_get(payment, "x402Version")) is not int:
        yield "payment x402Version"
    for name in ("resource", "extensions"):
        if _get(payment, name) is not None:
            yield f"payment {name}"


def _plain_signature(case: Case) -> bool:
    """r, s and a v that exists."""
    text = _signature(case)
    return _fits(_BYTES, text) and len(text) == 132 and int(text[-2:], 16) in (0, 1, 27, 28)


def _low_s(case: Case) -> bool:
    half = 0x7FFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_5D576E73_57A4501D_DFE92F46_681B20A0
    return int(_signature(case)[66:130], 16) <= half


def _checksummed(case: Case) -> bool:
    """Whether web3.py takes the addresses as they are."""
    return all(
        to_checksum_address(address) == address
        for address in (_authorization(case, "from"), _authorization(case, "to"))
    )


def _wrong_domain(case: Case) -> bool:
    extra = _terms(case, "extra")
    return (_get(extra, "name"), _get(extra, "version")) != ("USDC", "2")


def _contract(case: Case) -> bool:
    return str(_authorization(case, "from")).lower() in [each.lower() for each in case.wallets.contracts]


# The rows


def _body(case: Case, official: str, ours: str) -> bool:
    version = case.body.get("x402Version")
    objects = ("paymentPayload", "paymentRequirements")
    asks = type(version) is int and all(isinstance(case.body.get(name), dict) for name in objects)
    return ours == "400 bad_request" and not asks


def _version(case: Case, official: str, ours: str) -> bool:
    return ours == "invalid_x402_version" and case.body.get("x402Version") not in (1, 2)


def _malformed(case: Case, official: str, ours: str) -> bool:
    said = ours in _MALFORMED or official.startswith("raises ")
    return said and "valid" not in (official, ours) and any(_odd(case))


def _loose(case: Case, official: str, ours: str) -> bool:
    return ours in _MALFORMED and official == "valid" and any(_odd(case))


def _unneeded(case: Case, official: str, ours: str) -> bool:
    return official == "not parsed" and ours not in _MALFORMED


def _unregistered(case: Case, official: str, ours: str) -> bool:
    named = ("unsupported_scheme", "network_mismatch", "invalid_network")
    return official == "raises SchemeNotFoundError" and ours in named


def _terms_scheme(case: Case, official: str, ours: str) -> bool:
    return case.version == 2 and ours == "unsupported_scheme" and _terms(case, "scheme") != "exact"


def _asset(case: Case, official: str, ours: str) -> bool:
    known = str(_terms(case, "asset")).lower() == Anvil.token.lower()
    return ours == "invalid_exact_evm_failed_to_get_asset_info" and not known


def _funds(case: Case, official: str, ours: str) -> bool:
    return (official, ours) == ("invalid_exact_evm_insufficient_balance", "insufficient_funds")


def _first_value(case: Case, official: str, ours: str) -> bool:
    reason = "invalid_exact_evm_payload_authorization_value"
    return case.version == 1 and (official, ours) == (f"{reason}_mismatch", reason)


def _wallet_signature(case: Case, official: str, ours: str) -> bool:
    said = (
        "invalid_exact_evm_payload_undeployed_smart_wallet",
        "eip6492_factory_not_allowed",
        "invalid_exact_evm_failed_to_verify_signature",
    )
    return official in said and ours == _SIGNATURE and not _plain_signature(case)


def _contract_payer(case: Case, official: str, ours: str) -> bool:
    return ours == _SIGNATURE and official in _LATE and _contract(case)


def _high_s(case: Case, official: str, ours: str) -> bool:
    return ours == _SIGNATURE and official in _LATE and _plain_signature(case) and not _low_s(case)


def _domain(case: Case, official: str, ours: str) -> bool:
    said = (
        "invalid_exact_evm_token_name_mismatch",
        "invalid_exact_evm_token_version_mismatch",
        "invalid_exact_evm_failed_to_verify_signature",
    )
    return ours == _SIGNATURE and official in (*said, *_LATE) and _wrong_domain(case)


def _lower_case(case: Case, official: str, ours: str) -> bool:
    return ours == "valid" and official in _LATE and not _checksummed(case)


def _permit2(case: Case, official: str, ours: str) -> bool:
    return "permit2Authorization" in (_get(case.body, "paymentPayload", "payload") or {})


ROWS: dict[str, Row] = {
    "body": _body,
    "version": _version,
    "malformed": _malformed,
    "loose": _loose,
    "unneeded": _unneeded,
    "permit2": _permit2,
    "unregistered": _unregistered,
    "terms-scheme": _terms_scheme,
    "asset": _asset,
    "funds": _funds,
    "v1-value": _first_value,
    "wallet-signature": _wallet_signature,
    "contract-payer": _contract_payer,
    "high-s": _high_s,
    "domain": _domain,
    "lower-case": _lower_case,
}
"""By name, tried in this order."""
