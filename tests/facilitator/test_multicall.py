"""Calldata and answers of aggregate3, against eth-abi."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import pytest
from eth_abi.abi import decode, encode
from hypothesis import given
from hypothesis import strategies as st
from web3 import Web3

from facilitator import multicall
from facilitator.rpc import RpcUnavailable

TOKEN = "0x036cbd53842c5426634e7929541ec2318f3dcf7e"


@dataclass
class Call:
    asset: str
    data: str


@given(st.lists(st.binary(max_size=100), max_size=5))
def test_calldata(datas: list[bytes]) -> None:
    calldata = bytes.fromhex(multicall.aggregate3([Call(TOKEN, "0x" + data.hex()) for data in datas])[2:])
    assert calldata[:4] == Web3.keccak(text="aggregate3((address,bool,bytes)[])")[:4]
    assert calldata[4:] == encode(["(address,bool,bytes)[]"], [[(TOKEN, True, data) for data in datas]])
    assert decode(["(address,bool,bytes)[]"], calldata[4:])[0] == tuple((TOKEN, True, each) for each in datas)


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=100)), max_size=5))
def test_answers(results: list[tuple[bool, bytes]]) -> None:
    answer = "0x" + encode(["(bool,bytes)[]"], [results]).hex()
    assert multicall.succeeded(answer, len(results)) == [success for success, _ in results]
    with pytest.raises(RpcUnavailable):
        multicall.succeeded(answer, len(results) + 1)


@pytest.mark.parametrize("answer", ["0x", None, 7, "0xzz", "0x" + "ff" * 64, f"0x{32:064x}{'ff' * 32}"])
def test_what_is_no_answer(answer: object) -> None:
    with pytest.raises(RpcUnavailable):
        multicall.succeeded(answer, 1)


@given(st.binary(max_size=300))
def test_any_bytes(answer: bytes) -> None:
    """Nothing but that it is none."""
    with contextlib.suppress(RpcUnavailable):
        multicall.succeeded("0x" + answer.hex(), 1)
