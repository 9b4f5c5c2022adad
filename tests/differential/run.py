"""Both facilitators on one chain, the same requests, and what they say apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from differential.cases import PAYEE, PRICE, Case, Wallets, cases
from differential.explained import explanation
from differential.official import Official, Verdict
from differential.ours import Ours, serving
from kit.accounts import new_account
from kit.anvil import Anvil
from kit.facilitator import requirement
from kit.payments import sign_payment

from gateway.devchain.accounts import DevAccount

KEY = Anvil.accounts[0].key
_CANCEL = "cancelAuthorization(address,bytes32,bytes)"


@dataclass
class Report:
    """How often they agreed, how often they differed and why, and what nobody has explained."""

    agreed: Counter[str] = field(default_factory=Counter)
    """By verdict."""
    differed: Counter[str] = field(default_factory=Counter)
    """By explanation."""
    turned: Counter[str] = field(default_factory=Counter)
    """Those of them where one accepts what the other does not."""
    unexplained: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.agreed.total() + self.differed.total() + len(self.unexplained)

    def add(self, case: Case, official: Verdict, ours: Verdict) -> None:
        if official == ours:
            self.agreed[str(ours)] += 1
            return
        why = explanation(case, official, ours)
        if why is None:
            self.unexplained.append(f"{official} / {ours}: {'; '.join(case.told)}")
            return
        self.differed[why] += 1
        if (official.valid is True) != (ours.valid is True):
            self.turned[f"{why}: {'only ours' if ours.valid else 'only the official one'} accepts"] += 1


async def compare(anvil: Anvil, number: int, seed: int) -> Report:
    """``number`` requests of that seed."""
    report = Report()
    official = Official(anvil.url, KEY, "eip155:84532")
    async with serving(anvil.url, KEY) as ours:
        for case in islice(cases(seed, wallets(anvil)), number):
            report.add(case, *await _both(case, official, ours))
    return report


async def _both(case: Case, official: Official, ours: Ours) -> tuple[Verdict, Verdict]:
    return official.verify(case.body), await ours.verify(case.body)


def wallets(anvil: Anvil) -> Wallets:
    """Payers in every state."""
    made = [new_account() for _ in range(4)]
    for account, amount in zip(made, (10**12, PRICE, PRICE - 1, 0), strict=True):
        if amount:
            anvil.mint(account.address, amount)
    nothing, token = (new_account().address for _ in range(2))
    anvil.rpc("anvil_setCode", nothing, "0x00")
    anvil.place_token(token)
    return Wallets(*made, used=_use(anvil, made[0]), contracts=[nothing, token])


def _use(anvil: Anvil, payer: DevAccount) -> Sequence[str]:
    """Two nonces the chain knows: one used, one cancelled."""
    from eth_account import Account
    from web3 import Web3

    from gateway.devchain.token import artefact

    token = Web3().eth.contract(address=Web3.to_checksum_address(Anvil.token), abi=artefact()["abi"])
    payment = sign_payment(payer.key, requirement(PAYEE, Anvil.token, 2, PRICE))
    one = payment.authorization
    used = token.encode_abi(
        "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes)",
        [
            *(one["from"], one["to"], int(one["value"]), int(one["validAfter"]), int(one["validBefore"])),
            *(one["nonce"], bytes.fromhex(payment.signature[2:])),
        ],
    )
    nonce = "0x" + "ca" * 32
    types = {
        "CancelAuthorization": [
            {"name": "authorizer", "type": "address"},
            {"name": "nonce", "type": "bytes32"},
        ]
    }
    message = {"authorizer": payer.address, "nonce": bytes.fromhex(nonce[2:])}
    signed = Account.sign_typed_data(payer.key, payment.domain, types, message)
    cancelled = token.encode_abi(_CANCEL, [payer.address, nonce, bytes(signed.signature)])
    for data in (used, cancelled):
        _send(anvil, data)
    return [one["nonce"], nonce]


def _send(anvil: Anvil, data: str) -> None:
    sender = Anvil.accounts[5].address
    sent = anvil.rpc(
        "eth_sendTransaction", {"from": sender, "to": Anvil.token, "data": data, "gas": hex(200_000)}
    )
    while (receipt := anvil.rpc("eth_getTransactionReceipt", sent)) is None:
        pass
    assert receipt["status"] == "0x1"
