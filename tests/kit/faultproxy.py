"""A JSON-RPC endpoint that fails on purpose, in front of a real one.

Faults are switched on by method while it runs and answer in the order: those of the whole
exchange first (a hang, a reset, a status), then those of single calls (an error, a lie, a lag).
"""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from gateway.devchain.ports import free_ports

Call = dict[str, Any]


@dataclass(frozen=True)
class Hang:
    """The request is read and never answered, until the fault is cleared: then the connection is reset."""


@dataclass(frozen=True)
class Reset:
    """The request is read, the connection reset; nothing was forwarded."""


@dataclass(frozen=True)
class Lose:
    """Forwarded, then the connection is reset in place of the answer."""


@dataclass(frozen=True)
class Delay:
    """Forwarded after that many seconds."""

    seconds: float


@dataclass(frozen=True)
class Say:
    """Answered with this, not forwarded."""

    status: int
    body: bytes = b""
    mime: str = "text/html"


@dataclass(frozen=True)
class Error:
    """Not forwarded: the call's own error."""

    message: str
    code: int = -32000


@dataclass(frozen=True)
class Feign:
    """Not forwarded: ``result`` is given the parameters and returns what is said."""

    result: Callable[[list[Any]], Any]


@dataclass(frozen=True)
class Lie:
    """Forwarded; ``change`` is given the parameters and the true result, and returns what is said."""

    change: Callable[[list[Any], Any], Any]


Fault = Hang | Reset | Lose | Delay | Say | Error | Feign | Lie

TOO_MANY = Say(429, b'{"error": "too many requests"}', "application/json")
BAD_GATEWAY = Say(502, b"<html><body>502 Bad Gateway</body></html>")
HTML = Say(200, b"<html><body>Attention required</body></html>")


def nothing(params: list[Any], result: Any) -> None:
    """No such thing: for a receipt, not mined."""


def reverted(params: list[Any], result: Any) -> Any:
    """A receipt as if the transaction had failed."""
    return result and {**result, "status": "0x0", "logs": []}


class FaultProxy:
    """``url`` in front of ``target``; a context manager. ``asked`` are all methods that came, in order,
    ``exchanges`` the requests they came in."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.asked: list[str] = []
        self.exchanges = 0
        self._faults: list[tuple[Fault, frozenset[str]]] = []
        self._lag = 0
        self._cleared = threading.Event()
        [self._port] = free_ports(1)
        self._server: ThreadingHTTPServer | None = None
        self._connections: set[socket.socket] = set()

    @property
    def url(self) -> str:
        """Where it listens, also while it refuses."""
        return f"http://127.0.0.1:{self._port}"

    def on(self, fault: Fault, *methods: str) -> None:
        """Switch a fault on, for these methods or, without any, for all; a batch has it if one call has."""
        if self._cleared.is_set():
            self._cleared = threading.Event()
        self._faults.append((fault, frozenset(methods)))

    def lag(self, blocks: int) -> None:
        """Show the chain as it was that many blocks ago."""
        self._lag = blocks

    def clear(self) -> None:
        """No faults any more; what hangs is reset."""
        self._faults, self._lag = [], 0
        self._cleared.set()
        if self._server is None:
            self._listen()

    def refuse(self) -> None:
        """From now on connections are refused and open ones are gone."""
        self._stop()

    def fault(self, calls: Sequence[Call], *kinds: type) -> Any:
        """The first fault of these kinds that one of the calls has."""
        methods = {call["method"] for call in calls}
        for fault, affected in self._faults:
            if isinstance(fault, kinds) and (not affected or affected & methods):
                return fault
        return None

    def answer(self, calls: list[Call]) -> list[Call]:
        """What each call is answered."""
        forwarded = [_older(call, self._height()) if self._lag else call for call in calls]
        truth = {each["id"]: each for each in _forward(self.target, forwarded)}
        return [self._told(call, truth[call["id"]]) for call in calls]

    def accepts(self, call: Call) -> bool:
        """Whether a call is forwarded."""
        return self.fault([call], Error, Feign) is None

    def wait_until_cleared(self) -> None:
        """For what hangs."""
        self._cleared.wait()

    def _told(self, call: Call, answer: Call) -> Call:
        result = answer.get("result")
        if self._lag and "error" not in answer:
            answer = {**answer, "result": _unseen(call["method"], result, self._height())}
        lie = self.fault([call], Lie)
        if lie is None or "error" in answer:
            return answer
        return {**answer, "result": lie.change(call["params"], answer["result"])}

    def _height(self) -> int:
        [head] = _forward(
            self.target, [{"jsonrpc": "2.0", "id": 0, "method": "eth_blockNumber", "params": []}]
        )
        return max(0, int(head["result"], 16) - self._lag)

    def _listen(self) -> None:
        self._server = _Server(("127.0.0.1", self._port), _handler(self), self._connections)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def _stop(self) -> None:
        self._cleared.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        for connection in list(self._connections):
            _cut(connection)

    def __enter__(self) -> Self:
        self._listen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(
        self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], open_: set[socket.socket]
    ) -> None:
        self.open = open_
        super().__init__(address, handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that was reset, by either side, is what this is about."""

    def process_request(self, request: Any, client_address: Any) -> None:
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.open.discard(request)
        super().shutdown_request(request)


def _handler(proxy: FaultProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        """An answer is two writes, and the second would wait 40 ms on a busy connection."""

        def do_POST(self) -> None:
            raw = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            calls = raw if isinstance(raw, list) else [raw]
            proxy.asked += [call["method"] for call in calls]
            proxy.exchanges += 1
            if proxy.fault(calls, Hang):
                proxy.wait_until_cleared()
                return self._reset()
            if proxy.fault(calls, Reset):
                return self._reset()
            said = proxy.fault(calls, Say)
            if said is not None:
                return self._send(said)
            answers = self._answers(calls)
            if proxy.fault(calls, Lose):
                return self._reset()
            body = json.dumps(answers if isinstance(raw, list) else answers[0]).encode()
            return self._send(Say(200, body, "application/json"))

        def _answers(self, calls: list[Call]) -> list[Call]:
            delay = proxy.fault(calls, Delay)
            if delay is not None:
                threading.Event().wait(delay.seconds)
            refused = [call for call in calls if not proxy.accepts(call)]
            accepted = [call for call in calls if proxy.accepts(call)]
            feigned = [_feigned(call, proxy.fault([call], Error, Feign)) for call in refused]
            return feigned + (proxy.answer(accepted) if accepted else [])

        def _send(self, said: Say) -> None:
            self.send_response(said.status)
            self.send_header("Content-Type", said.mime)
            self.send_header("Content-Length", str(len(said.body)))
            self.end_headers()
            self.wfile.write(said.body)

        def _reset(self) -> None:
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    return Handler


def _feigned(call: Call, fault: Error | Feign) -> Call:
    said = {"jsonrpc": "2.0", "id": call["id"]}
    if isinstance(fault, Error):
        return {**said, "error": {"code": fault.code, "message": fault.message}}
    return {**said, "result": fault.result(call["params"])}


def _cut(connection: socket.socket) -> None:
    """The end also for a thread that reads from it."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


def _forward(target: str, calls: Sequence[Call]) -> list[Call]:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(target, json.dumps(list(calls)).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as response:
        answers: list[Call] = json.load(response)
    return answers


def _older(call: Call, height: int) -> Call:
    """The call with ``latest`` and ``pending`` meaning ``height``, and logs only up to there."""
    params = [hex(height) if each in ("latest", "pending") else each for each in call["params"]]
    if call["method"] == "eth_getLogs":
        params = [{**params[0], "toBlock": hex(min(height, int(params[0]["toBlock"], 16)))}]
        params[0]["fromBlock"] = hex(min(height, int(params[0]["fromBlock"], 16)))
    return {**call, "params": params}


def _unseen(method: str, result: Any, height: int) -> Any:
    """The result as one who has seen only ``height`` blocks gives it."""
    if method == "eth_blockNumber":
        return hex(height)
    if isinstance(result, dict) and result.get("blockNumber") and int(result["blockNumber"], 16) > height:
        return None
    if isinstance(result, dict) and method.startswith("eth_getBlock") and int(result["number"], 16) > height:
        return None
    return result
