"""The process that warm gateways are forked from; ``kit.warm`` starts it and says what is asked of it.

It imports once what every gateway imports, then answers one question at a time on its standard input, a
socket: start a command, or say how one ended. It has one thread, so that a fork copies all there is, and ends
when the other end of the socket is closed, however that came about.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import threading
from typing import Any

MODULES = (
    *("gateway.cli", "gateway.serving", "gateway.app", "gateway.facilitator_process"),
    *("gateway.check", "gateway.online", "gateway.ledger", "gateway.paying", "gateway.healthcheck"),
    *("gateway.store.sqlite", "gateway.store.redis", "prometheus_client.multiprocess"),
    # With it web3 and eth-account, which a gateway imports before it first settles.
    "facilitator.signer",
)
LARGEST = 1 << 20
_PR_SET_PDEATHSIG = 1

_codes: list[int] = []
"""The exit code, once a command has ended by saying one."""


def main() -> None:
    """Whoever comes out of the loop with a command is a child, and leaves as if it had been executed."""
    # The first one registered is the last one run.
    atexit.register(_leave)
    sys.path.insert(0, os.getcwd())
    for name in MODULES:
        importlib.import_module(name)
    if threading.active_count() > 1:
        raise RuntimeError(f"what was imported has started threads: {threading.enumerate()}")
    gc.collect()
    gc.freeze()
    command = _answer(socket.socket(fileno=0), ctypes.CDLL(None))
    if command is not None:
        sys.argv = ["gateway", *command["arguments"]]
        _run()


def _run() -> None:
    """``python -m gateway``, but without taking apart at its end, module by module, what was imported.

    Costs three times what all the rest does. By then threads are joined and every other handler has run.
    """
    try:
        runpy.run_module("gateway", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        if isinstance(ended.code, int):
            _codes.append(ended.code)
        raise


def _leave() -> None:
    if _codes:
        # What is left is told here: an exception that nobody has retrieved, say.
        gc.collect()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_codes[0])


def _answer(asked: socket.socket, libc: ctypes.CDLL) -> Any:
    """In the template: None at the end. In each child: what it is to run."""
    while True:
        said, descriptors, _, _ = socket.recv_fds(asked, LARGEST, 2)
        if not said:
            return None
        question = json.loads(said)
        if "ended" in question:
            _, status = os.waitpid(question["ended"], 0)
            asked.send(json.dumps(os.waitstatus_to_exitcode(status)).encode())
            continue
        template = os.getpid()
        if not os.fork():
            _become(question, asked, descriptors, libc, template)
            return question
        for each in descriptors:
            os.close(each)


def _become(
    command: Any, asked: socket.socket, descriptors: list[int], libc: ctypes.CDLL, template: int
) -> None:
    """All that fork leaves different from ``gateway.devchain.children.spawn``, undone."""
    os.setsid()
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != template:
        os._exit(1)
    for number, each in enumerate(descriptors, start=1):
        os.dup2(each, number)
        os.close(each)
    asked.send(json.dumps(os.getpid()).encode())
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, asked.detach())
    os.close(nothing)
    os.environ.clear()
    os.environ.update(command["environment"])
    os.chdir(command["folder"])
    sys.path[0] = command["folder"]
    _decide_again()


def _decide_again() -> None:
    """What modules read from the environment when they are imported."""
    from prometheus_client import values

    from facilitator import crashpoints

    importlib.reload(crashpoints)  # TOLLWAY_CRASH

    def first(*arguments: Any, **named: Any) -> Any:
        # Whether metrics are kept in files. ``serve`` says it later than now, and before the first metric.
        values.ValueClass = values.get_value_class()
        return values.ValueClass(*arguments, **named)

    values.ValueClass = first


if __name__ == "__main__":
    main()
