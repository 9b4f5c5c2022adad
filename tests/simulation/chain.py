"""A chain with one EIP-3009 token, as JSON-RPC shows it; blocks come with the virtual clock."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from facilitator import multicall, token_abi
from facilitator.rpc import RpcError
from facilitator.wire import Authorization
from simulation.wallets import NETWORK, PAY_TO, TOKEN

BLOCK = 1.0
"""Seconds between blocks."""
BASE_FEE = 10**9
_TRANSFER = token_abi.transfer_with_authorization(
    Authorization("0x" + "0" * 40, "0x" + "0" * 40, 0, 0, 0, b"\0" * 32), b"\0" * 65
)[:10]
_AGGREGATE3 = multicall.aggregate3([])[:10]
_STATE = token_abi.authorization_state("0x0", b"\0" * 32)[:10]
_BALANCE = token_abi.balance_of("0x0")[:10]


@dataclass(slots=True)
class Transaction:
    """A transaction as a node knows it."""

    hash: str
    sender: str
    nonce: int
    data: str
    fee: int = 10**12
    """Most it pays for a unit of gas, wei."""
    receipt: dict[str, Any] | None = None


@dataclass(slots=True)
class Transfer:
    """Money that moved by an authorization."""

    payer: str
    nonce: str
    amount: int
    to: str
    transaction: str
    time: float


@dataclass
class Chain:
    """Balances, used nonces, and the blocks up to now. Reading it makes the blocks that are due."""

    clock: Callable[[], float]
    signatures: set[str] = field(default_factory=set)
    """Calldata of transfers that payers really signed."""
    balances: dict[str, int] = field(default_factory=dict)
    used: dict[tuple[str, str], str] = field(default_factory=dict)
    """(payer, nonce) -> the transaction that used or cancelled it."""
    transfers: list[Transfer] = field(default_factory=list)
    logs: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    pool: dict[str, dict[int, Transaction]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    known: dict[str, Transaction] = field(default_factory=dict)
    sent: set[str] = field(default_factory=set)
    """Calldata that was ever handed to a node: public from then on."""
    used_in: dict[tuple[str, str], int] = field(default_factory=dict)
    """The blocks of ``used``."""
    count_since: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """(block, count) after each of a sender's transactions."""
    base_fee: int = BASE_FEE
    starved: float | None = None
    """What part of its calls the next batch has gas for; it is reverted as a whole at 0."""
    begun: float = 0.0
    number: int = 1000

    def __post_init__(self) -> None:
        self.begun = self.clock()

    def sign(self, authorization: Authorization, signature: bytes) -> None:
        """A payer has signed this: only such transfers work."""
        self.signatures.add(token_abi.transfer_with_authorization(authorization, signature))

    # Blocks

    def now(self) -> int:
        """Make the blocks that are due; the latest one's time."""
        due = 1000 + int((self.clock() - self.begun) / BLOCK)
        while self.number < due:
            if not any(self.pool.values()):
                self.number = due
                break
            self.number += 1
            self._mine()
        return self._time()

    def _time(self) -> int:
        return int(self.begun + (self.number - 1000) * BLOCK)

    def _mine(self) -> None:
        for sender, waiting in self.pool.items():
            while (transaction := waiting.get(self.counts.get(sender, 0))) is not None:
                if transaction.fee < self.base_fee:
                    break
                self._execute(waiting.pop(transaction.nonce))

    def _execute(self, transaction: Transaction) -> None:
        sender = transaction.sender
        self.counts[sender] = transaction.nonce + 1
        self.count_since.setdefault(sender, []).append((self.number, transaction.nonce + 1))
        if transaction.data.startswith(_AGGREGATE3):
            problem, logs = self._move_together(transaction)
        else:
            problem = self._problem(transaction.data, self._time())
            logs = [] if problem else self._move(transaction, transaction.data)
        transaction.receipt = self._receipt(transaction, problem, logs)

    def _move_together(self, transaction: Transaction) -> tuple[str | None, list[Any]]:
        """Each call by itself; those for which the gas does not last fail."""
        calls = _calls(transaction.data)
        fed = len(calls) if self.starved is None else int(len(calls) * self.starved)
        self.starved = None
        if calls and not fed:
            return "out of gas", []
        logs = []
        for data in calls[:fed]:
            if self._problem(data, self._time()) is None:
                logs += self._move(transaction, data)
        return None, logs

    def _preview(self, data: str) -> str:
        """What a batch would answer, without doing it."""
        spent: Counter[str] = Counter()
        used: set[tuple[str, str]] = set()
        results = []
        for each in _calls(data):
            sender, _, value, _, _, nonce = _words(each)
            well = self._problem(each, self._time()) is None and (sender, nonce) not in used
            well = well and self.balances.get(sender, 0) >= spent[sender] + value
            if well:
                spent[sender] += value
                used.add((sender, nonce))
            results.append(well)
        return _results(results)

    def _receipt(self, transaction: Transaction, problem: str | None, logs: list[Any]) -> dict[str, Any]:
        return {
            "transactionHash": transaction.hash,
            "status": "0x0" if problem else "0x1",
            "blockNumber": hex(self.number),
            "blockHash": hex(self.number),
            "from": transaction.sender,
            "logs": logs,
        }

    # The token

    def _problem(self, data: str, time: int) -> str | None:
        """Why a transfer would be reverted."""
        sender, _, value, _, before, nonce = _words(data)
        if data not in self.signatures:
            return "FiatTokenV2: invalid signature"
        if time >= before:
            return "FiatTokenV2: authorization is expired"
        if (sender, nonce) in self.used:
            return "FiatTokenV2: authorization is used or canceled"
        if self.balances.get(sender, 0) < value:
            return "ERC20: transfer amount exceeds balance"
        return None

    def _move(self, transaction: Transaction, data: str) -> list[Any]:
        sender, to, value, _, _, nonce = _words(data)
        self.balances[sender] -= value
        self.balances[to] = self.balances.get(to, 0) + value
        self.transfers.append(Transfer(sender, nonce, value, to, transaction.hash, self._time()))
        moved = {
            "address": TOKEN,
            "topics": [token_abi.TRANSFER, _topic(sender), _topic(to)],
            "data": "0x" + value.to_bytes(32, "big").hex(),
        }
        return [self._use(token_abi.AUTHORIZATION_USED, sender, nonce, transaction.hash), moved]

    def _use(self, event: str, sender: str, nonce: str, transaction: str) -> dict[str, Any]:
        self.used[(sender, nonce)] = transaction
        self.used_in[(sender, nonce)] = self.number
        log = {
            "address": TOKEN,
            "topics": [event, _topic(sender), "0x" + nonce],
            "data": "0x",
            "transactionHash": transaction,
            "blockNumber": hex(self.number),
        }
        self.logs[(sender, nonce)] = log
        return log

    # What others do

    def front_run(self, data: str, by: str) -> None:
        """A third party sends a transfer it saw."""
        self.now()
        count = self.counts.get(by, 0) + len(self.pool.get(by, ()))
        self.submit(Transaction(f"0x{by[2:6]}{len(self.known):060x}", by, count, data))

    def cancel(self, payer: str, nonce: str) -> None:
        """The payer takes an authorization back."""
        self.now()
        if (payer, nonce) not in self.used:
            canceled = Transaction(f"0xcace{len(self.known):060x}", payer, 0, "")
            self.known[canceled.hash] = canceled
            log = self._use(token_abi.AUTHORIZATION_CANCELED, payer, nonce, canceled.hash)
            canceled.receipt = self._receipt(canceled, None, [log])

    def drain(self, payer: str) -> None:
        """The payer moves its money away."""
        self.now()
        self.balances[payer] = 0

    def forget_pool(self) -> None:
        """Nodes lose what was not mined yet."""
        self.now()
        for waiting in self.pool.values():
            for transaction in waiting.values():
                self.known.pop(transaction.hash, None)
            waiting.clear()

    # JSON-RPC

    def submit(self, transaction: Transaction) -> str | RpcError:
        """Take a transaction into the pool."""
        together = transaction.data.startswith(_AGGREGATE3)
        self.sent.update(_calls(transaction.data) if together else [transaction.data])
        known = self.known.get(transaction.hash)
        if known is not None and known.receipt is None:
            return RpcError(-32000, "already known", None)
        if transaction.nonce < self.counts.get(transaction.sender, 0):
            return RpcError(-32000, "nonce too low", None)
        waiting = self.pool.setdefault(transaction.sender, {})
        before = waiting.get(transaction.nonce)
        if before is not None and transaction.fee < before.fee * 11 // 10:
            return RpcError(-32000, "replacement transaction underpriced", None)
        if before is not None:
            del self.known[before.hash]
        waiting[transaction.nonce] = transaction
        self.known[transaction.hash] = transaction
        return transaction.hash

    def ask(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        """A batch, answered at one block."""
        self.now()
        return [getattr(self, method)(*params) for method, params in calls]

    def eth_chainId(self) -> str:
        return hex(int(NETWORK.rpartition(":")[2]))

    def eth_blockNumber(self) -> str:
        return hex(self.number)

    def eth_getBlockByNumber(self, tag: str, whole: bool) -> dict[str, str] | None:
        number = self._at(tag)
        return self._block(number) if number <= self.number else None

    def _at(self, tag: str) -> int:
        return self.number if tag in ("latest", "pending") else int(tag, 16)

    def eth_getBlockByHash(self, block: str, whole: bool) -> dict[str, str]:
        return self._block(int(block, 16))

    def _block(self, number: int) -> dict[str, str]:
        time = int(self.begun + (number - 1000) * BLOCK)
        return {
            "number": hex(number),
            "hash": hex(number),
            "timestamp": hex(time),
            "baseFeePerGas": hex(self.base_fee),
        }

    def eth_call(self, call: dict[str, str], tag: str) -> str | RpcError:
        data = call["data"]
        if data.startswith(_AGGREGATE3):
            return self._preview(data)
        if data.startswith(_BALANCE):
            return _word(self.balances.get("0x" + data[-40:], 0))
        if data.startswith(_STATE):
            used = self.used_in.get(("0x" + data[34:74], data[74:138]))
            return _word(used is not None and used <= self._at(tag))
        problem = self._problem(data, self._time())
        return RpcError(3, f"execution reverted: {problem}", None) if problem else "0x"

    def eth_getCode(self, address: str, tag: str) -> str:
        return "0x00" if address == multicall.ADDRESS else "0x"

    def eth_estimateGas(self, call: dict[str, str], tag: str = "latest") -> str | RpcError:
        problem = self.eth_call(call, tag)
        return problem if isinstance(problem, RpcError) else hex(90_000)

    def eth_getTransactionReceipt(self, transaction: str) -> dict[str, Any] | None:
        known = self.known.get(transaction)
        return None if known is None else known.receipt

    def eth_getTransactionByHash(self, transaction: str) -> dict[str, str] | None:
        return {"hash": transaction} if transaction in self.known else None

    def eth_getTransactionCount(self, address: str, tag: str) -> str:
        if tag not in ("latest", "pending"):
            since = self.count_since.get(address.lower(), [])
            return hex(max((count for block, count in since if block <= int(tag, 16)), default=0))
        count = self.counts.get(address.lower(), 0)
        waiting = self.pool.get(address.lower(), {})
        while tag == "pending" and count in waiting:
            count += 1
        return hex(count)

    def eth_getLogs(self, wanted: dict[str, Any]) -> list[Any]:
        _, sender, nonce = wanted["topics"]
        log = self.logs.get(("0x" + sender[-40:], nonce[2:]))
        if log is None:
            return []
        inside = int(wanted["fromBlock"], 16) <= int(log["blockNumber"], 16) <= int(wanted["toBlock"], 16)
        return [log] if inside else []

    def eth_maxPriorityFeePerGas(self) -> str:
        return hex(10**6)

    def eth_getBalance(self, address: str, tag: str) -> str:
        return hex(10**20)

    def eth_sendRawTransaction(self, raw: str) -> str | RpcError:
        return self.submit(decoded(bytes.fromhex(raw.removeprefix("0x"))))


def encoded(sender: str, nonce: int, data: str, fee: int) -> tuple[str, bytes]:
    """A signed transaction's hash and bytes, as this chain reads them."""
    raw = json.dumps([sender, nonce, data, fee]).encode()
    return "0x" + sha256(raw).hexdigest(), raw


def decoded(raw: bytes) -> Transaction:
    """What ``encoded`` was given."""
    sender, nonce, data, fee = json.loads(raw)
    return Transaction("0x" + sha256(raw).hexdigest(), sender, nonce, data, fee)


def _words(data: str) -> tuple[str, str, int, int, int, str]:
    """from, to, value, validAfter, validBefore, nonce."""
    assert data.startswith(_TRANSFER), data[:10]
    words = [data[10 + 64 * at : 74 + 64 * at] for at in range(6)]
    return (
        "0x" + words[0][24:],
        "0x" + words[1][24:],
        int(words[2], 16),
        int(words[3], 16),
        int(words[4], 16),
        words[5],
    )


def _calls(data: str) -> list[str]:
    """The calldata of each call of a batch."""
    words = data[10:]

    def number(at: int) -> int:
        return int(words[at * 2 : at * 2 + 64], 16)

    starts = [64 + number(64 + 32 * index) for index in range(number(32))]
    contents = [start + number(start + 64) for start in starts]
    return ["0x" + words[(at + 32) * 2 : (at + 32 + number(at)) * 2] for at in contents]


def _results(well: Sequence[bool]) -> str:
    """(success, no data) of each call, as ``aggregate3`` answers."""
    offsets = [32 * len(well) + 96 * index for index in range(len(well))]
    structs = [[int(each), 64, 0] for each in well]
    words = [32, len(well), *offsets, *(word for struct in structs for word in struct)]
    return "0x" + "".join(f"{word:064x}" for word in words)


def _topic(address: str) -> str:
    return "0x" + token_abi.address_word(address)


def _word(number: int) -> str:
    return "0x" + number.to_bytes(32, "big").hex()


US = PAY_TO.lower()
