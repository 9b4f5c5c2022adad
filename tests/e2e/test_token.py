"""The test token against what x402 expects of USDC 2.2; its artefact against its source."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import decode
from eth_account import Account
from kit.anvil import Anvil
from kit.payments import SignedPayment, sign_payment
from kit.solidity import compile_contracts
from web3 import Web3

from gateway.devchain import token as devtoken
from gateway.devchain.accounts import DEV_ACCOUNTS, DevAccount
from gateway.devchain.rpc import RpcError

V_R_S = "(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)"
BYTES = "(address,address,uint256,uint256,uint256,bytes32,bytes)"
PAYEE = DEV_ACCOUNTS[4].address
STRANGER = DEV_ACCOUNTS[5].address
PRICE = 10_000
FUNDS = 1_000_000
HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
# Contracts that answer every call: with the EIP-1271 magic value, and with zero.
SAYS_YES = "0x631626ba7e60e01b60005260206000f3"
SAYS_NO = "0x60206000f3"


@dataclass
class Token:
    """The token at an address of its own, hence with no history."""

    chain: Anvil
    address: str
    payer: DevAccount

    def __post_init__(self) -> None:
        self._contract = Web3().eth.contract(abi=devtoken.artefact()["abi"])

    def read(self, name: str, *arguments: Any) -> str:
        """The raw answer of a view."""
        call = {"to": self.address, "data": self._contract.encode_abi(name, list(arguments))}
        answer: str = self.chain.rpc("eth_call", call, "latest")
        return answer

    def send(self, name: str, *arguments: Any, by: str = STRANGER) -> dict[str, Any]:
        """The receipt of a call; RpcError with the revert text where it fails."""
        call = {"from": by, "to": self.address, "data": self._contract.encode_abi(name, list(arguments))}
        # anvil mines what reverts without a word; a call tells.
        self.chain.rpc("eth_call", call, "latest")
        sent = self.chain.rpc("eth_sendTransaction", call)
        for _ in range(500):
            found: dict[str, Any] | None = self.chain.rpc("eth_getTransactionReceipt", sent)
            if found is not None:
                return found
            time.sleep(0.005)
        raise AssertionError(f"{name} is not mined")

    def balance(self, account: str) -> int:
        return self.chain.balance(account, self.address)

    def authorize(self, **changes: Any) -> SignedPayment:
        """The payer's authorization of PRICE to PAYEE."""
        requirement = {
            "scheme": "exact",
            "network": "eip155:84532",
            "amount": str(PRICE),
            "asset": self.address,
            "payTo": PAYEE,
            "maxTimeoutSeconds": 300,
            "extra": {"name": "USDC", "version": "2"},
        }
        return sign_payment(self.payer.key, requirement, **changes)

    def transfer(self, payment: SignedPayment, overload: str = V_R_S, by: str = STRANGER) -> dict[str, Any]:
        return self.send(f"transferWithAuthorization{overload}", *arguments(payment, overload), by=by)

    def sign(self, primary: str, fields: dict[str, str], message: dict[str, Any]) -> bytes:
        """The payer's signature of any struct of the token's."""
        domain = {"name": "USDC", "version": "2", "chainId": 84532, "verifyingContract": self.address}
        types = {primary: [{"name": name, "type": kind} for name, kind in fields.items()]}
        return bytes(Account.sign_typed_data(self.payer.key, domain, types, message).signature)


def arguments(payment: SignedPayment, overload: str) -> list[Any]:
    """An authorization and its signature as a call wants them."""
    one, signature = payment.authorization, bytes.fromhex(payment.signature[2:])
    numbers = [int(one[name]) for name in ("value", "validAfter", "validBefore")]
    return [one["from"], one["to"], *numbers, one["nonce"], *parts(signature, overload)]


def parts(signature: bytes, overload: str) -> list[Any]:
    if overload.endswith(",bytes)"):
        return [signature]
    return [signature[64], signature[:32], signature[32:64]]


@pytest.fixture
def token(anvil: Anvil, new_account: Callable[[], DevAccount]) -> Token:
    address, payer = new_account().address, new_account()
    anvil.place_token(address)
    anvil.mint(payer.address, FUNDS, address)
    return Token(anvil, address, payer)


def test_artefacts_are_what_the_sources_compile_to(tmp_path: Path) -> None:
    """Byte for byte, so that what ships is what is read here."""
    compile_contracts(tmp_path)
    for name in ("test_token.json", "test_batcher.json"):
        shipped = Path(devtoken.__file__).with_name(name)
        assert (tmp_path / name).read_bytes() == shipped.read_bytes()


def test_says_what_official_usdc_says(token: Token) -> None:
    """Name, version and decimals are what x402's tables hold for Base Sepolia."""
    assert decode(["string"], bytes.fromhex(token.read("name")[2:])) == ("USDC",)
    assert decode(["string"], bytes.fromhex(token.read("version")[2:])) == ("2",)
    assert int(token.read("decimals"), 16) == 6
    assert int(token.read("totalSupply"), 16) == FUNDS


def test_domain_follows_chain_and_address() -> None:
    """The same code elsewhere has another domain."""
    domains = set()
    for chain_id in (84532, 1):
        with Anvil(chain_id) as chain:
            for address in (Anvil.token, STRANGER):
                chain.place_token(address)
                call = {"to": address, "data": Web3.keccak(text="DOMAIN_SEPARATOR()")[:4].to_0x_hex()}
                domains.add(chain.rpc("eth_call", call, "latest"))
    assert len(domains) == 4


@pytest.mark.parametrize("overload", [V_R_S, BYTES])
def test_authorization_moves_the_money_once(token: Token, overload: str) -> None:
    """Whoever sends it; its events and its nonce tell."""
    payment = token.authorize()
    receipt = token.transfer(payment, overload)
    topics = [log["topics"][0] for log in receipt["logs"]]
    events = ("AuthorizationUsed(address,bytes32)", "Transfer(address,address,uint256)")
    assert topics == [Web3.keccak(text=event).to_0x_hex() for event in events]
    assert (token.balance(token.payer.address), token.balance(PAYEE)) == (FUNDS - PRICE, PRICE)
    nonce = payment.authorization["nonce"]
    assert int(token.read("authorizationState", token.payer.address, nonce), 16) == 1
    with pytest.raises(RpcError, match="FiatTokenV2: authorization is used or canceled"):
        token.transfer(payment, overload)


def flipped(payment: SignedPayment) -> None:
    """The other signature of the same message: its s is high."""
    signature = bytes.fromhex(payment.signature[2:])
    s = ORDER - int.from_bytes(signature[32:64], "big")
    assert s > HALF_ORDER
    payment.signature = "0x" + (signature[:32] + s.to_bytes(32, "big") + bytes([55 - signature[64]])).hex()


def with_v(v: int) -> Callable[[SignedPayment], None]:
    def change(payment: SignedPayment) -> None:
        payment.signature = f"{payment.signature[:-2]}{v:02x}"

    return change


def other_payee(payment: SignedPayment) -> None:
    payment.authorization["to"] = STRANGER


def nothing(payment: SignedPayment) -> None:
    return


@pytest.mark.parametrize("overload", [V_R_S, BYTES])
@pytest.mark.parametrize(
    ("changes", "then", "revert"),
    [
        ({"validAfter": 2**40}, nothing, "FiatTokenV2: authorization is not yet valid"),
        ({"validBefore": 1}, nothing, "FiatTokenV2: authorization is expired"),
        ({"value": FUNDS + 1}, nothing, "ERC20: transfer amount exceeds balance"),
        ({}, other_payee, "FiatTokenV2: invalid signature"),
        ({}, flipped, "ECRecover: invalid signature 's' value"),
        ({}, with_v(0), "ECRecover: invalid signature 'v' value"),
        ({}, with_v(29), "ECRecover: invalid signature 'v' value"),
    ],
)
def test_refusals_in_the_words_of_usdc(
    token: Token,
    overload: str,
    changes: dict[str, Any],
    then: Callable[[SignedPayment], None],
    revert: str,
) -> None:
    """SDKs classify by these strings."""
    payment = token.authorize(**changes)
    then(payment)
    with pytest.raises(RpcError, match=revert):
        token.transfer(payment, overload)
    assert token.balance(token.payer.address) == FUNDS


def test_short_signature(token: Token) -> None:
    """EIP-2098's 64 bytes are not taken."""
    payment = token.authorize()
    payment.signature = payment.signature[:-2]
    with pytest.raises(RpcError, match="ECRecover: invalid signature length"):
        token.transfer(payment, BYTES)


@pytest.mark.parametrize("overload", [V_R_S, BYTES])
def test_account_with_code_answers_for_itself(token: Token, overload: str) -> None:
    """EIP-1271 on both overloads, and no ECDSA for such an account even when it would fit."""
    payment = token.authorize()
    token.chain.rpc("anvil_setCode", token.payer.address, SAYS_NO)
    with pytest.raises(RpcError, match="FiatTokenV2: invalid signature"):
        token.transfer(payment, overload)
    token.chain.rpc("anvil_setCode", token.payer.address, SAYS_YES)
    payment.signature = "0x" + "11" * 65
    token.transfer(payment, overload)
    assert token.balance(PAYEE) == PRICE


@pytest.mark.parametrize("overload", [V_R_S, BYTES])
def test_only_the_payee_receives(token: Token, overload: str) -> None:
    """receiveWithAuthorization has a struct of its own and is called by the payee alone."""
    payment = token.authorize()
    one = payment.authorization
    fields = {"from": "address", "to": "address", "value": "uint256", "validAfter": "uint256"}
    fields |= {"validBefore": "uint256", "nonce": "bytes32"}
    message = {name: int(one[name]) if kind == "uint256" else one[name] for name, kind in fields.items()}
    payment.signature = "0x" + token.sign("ReceiveWithAuthorization", fields, message).hex()
    name = f"receiveWithAuthorization{overload}"
    with pytest.raises(RpcError, match="FiatTokenV2: caller must be the payee"):
        token.send(name, *arguments(payment, overload))
    token.send(name, *arguments(payment, overload), by=PAYEE)
    assert token.balance(PAYEE) == PRICE


@pytest.mark.parametrize("overload", ["(address,bytes32,uint8,bytes32,bytes32)", "(address,bytes32,bytes)"])
def test_cancelled_authorization(token: Token, overload: str) -> None:
    """A cancelled nonce is used up."""
    payment = token.authorize()
    message = {"authorizer": token.payer.address, "nonce": payment.authorization["nonce"]}
    fields = {"authorizer": "address", "nonce": "bytes32"}
    signature = token.sign("CancelAuthorization", fields, message)
    token.send(f"cancelAuthorization{overload}", *message.values(), *parts(signature, overload))
    with pytest.raises(RpcError, match="FiatTokenV2: authorization is used or canceled"):
        token.transfer(payment)


def test_paused(token: Token) -> None:
    """Nothing moves until unpaused."""
    token.send("pause")
    with pytest.raises(RpcError, match="Pausable: paused"):
        token.transfer(token.authorize())
    token.send("unpause")
    token.transfer(token.authorize())


@pytest.mark.parametrize("whose", ["payer", "payee"])
def test_blacklisted(token: Token, whose: str) -> None:
    """Either side stops a transfer; a stranger who sends it does not."""
    account = token.payer.address if whose == "payer" else PAYEE
    token.send("blacklist", account)
    assert int(token.read("isBlacklisted", account), 16) == 1
    with pytest.raises(RpcError, match="Blacklistable: account is blacklisted"):
        token.transfer(token.authorize())
    token.send("unBlacklist", account)
    token.send("blacklist", STRANGER)
    token.transfer(token.authorize())


@pytest.mark.parametrize("overload", ["uint8,bytes32,bytes32)", "bytes)"])
def test_permit_and_allowance(token: Token, overload: str) -> None:
    """EIP-2612, then transferFrom within what was permitted."""
    fields = {"owner": "address", "spender": "address", "value": "uint256", "nonce": "uint256"}
    message = {"owner": token.payer.address, "spender": STRANGER, "value": PRICE, "nonce": 0}
    deadline = int(time.time()) + 300
    signed = token.sign("Permit", fields | {"deadline": "uint256"}, message | {"deadline": deadline})
    name = f"permit(address,address,uint256,uint256,{overload}"
    call = [token.payer.address, STRANGER, PRICE, deadline, *parts(signed, f",{overload}")]
    token.send(name, *call)
    with pytest.raises(RpcError, match="EIP2612: invalid signature"):
        token.send(name, *call)
    with pytest.raises(RpcError, match="ERC20: transfer amount exceeds allowance"):
        token.send("transferFrom", token.payer.address, PAYEE, PRICE + 1)
    token.send("transferFrom", token.payer.address, PAYEE, PRICE)
    assert token.balance(PAYEE) == PRICE


def test_plain_transfer(token: Token) -> None:
    """ERC-20's own, with the same words for an empty purse."""
    token.chain.mint(STRANGER, 5, token.address)
    token.send("transfer", PAYEE, 5)
    with pytest.raises(RpcError, match="ERC20: transfer amount exceeds balance"):
        token.send("transfer", PAYEE, 5)
    assert token.read("authorizationState", PAYEE, os.urandom(32)) == "0x" + "00" * 32
