"""Our facilitator as others use it: a process with a configuration file, and a client to ask it."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from gateway.devchain.children import ChildFailed, stop, wait_until_said
from gateway.devchain.ports import free_ports
from kit.answers import Answer, request
from kit.command import Process, start
from kit.payments import SignedPayment

READY = "facilitator listening on http://"


class FacilitatorServer:
    """``python -m gateway facilitator`` on a port and in a folder of its own; as ``kit.gateway.Gateway``."""

    def __init__(self, folder: Path, *, rpc: str, key: str, **sections: Any) -> None:
        self.folder = folder
        self._listen = f"127.0.0.1:{free_ports(1)[0]}"
        self._process: Process | None = None
        facilitator = {"listen": self._listen, "networks": ["localdev"], "key": key}
        config = {
            "store": {"path": str(folder / "data")},
            "networks": {"localdev": {"chain_id": 84532, "v1_name": "base-sepolia", "rpc": rpc}},
            **sections,
            "facilitator": {**facilitator, **sections.get("facilitator", {})},
        }
        folder.mkdir(parents=True, exist_ok=True)
        self.config_file.write_text(yaml.safe_dump(config, sort_keys=False))

    @property
    def url(self) -> str:
        """Without a slash at the end."""
        return f"http://{self._listen}"

    @property
    def config_file(self) -> Path:
        """What it reads."""
        return self.folder / "facilitator.yaml"

    def start(self) -> Self:
        """Starts it and waits for the ready line; ChildFailed has what it printed instead."""
        with self._log_file.open("wb") as log:
            self._process = start("facilitator", "-c", str(self.config_file), output=log)
        try:
            wait_until_said(self._process, READY, self._log_file)
        except ChildFailed:
            self._process.kill()
            raise
        return self

    def stop(self) -> int:
        """SIGTERM, then SIGKILL; the exit code."""
        assert self._process is not None
        return stop(self._process, 30.0)

    def kill(self) -> None:
        """SIGKILL: the crash."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def logs(self) -> str:
        """All it printed since it was last started."""
        return self._log_file.read_text(errors="replace")

    def verify(self, payment: SignedPayment) -> dict[str, Any]:
        """The answer to ``/verify``."""
        return self._ask("/verify", payment)

    def settle(self, payment: SignedPayment) -> dict[str, Any]:
        """The answer to ``/settle``."""
        return self._ask("/settle", payment)

    def _ask(self, path: str, payment: SignedPayment) -> dict[str, Any]:
        answer = post(self.url + path, asking(payment))
        assert answer.status == 200, answer
        told: dict[str, Any] = answer.json()
        return told

    @property
    def _log_file(self) -> Path:
        return self.folder / "facilitator.log"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def asking(payment: SignedPayment) -> dict[str, Any]:
    """The body of a request about a payment."""
    return {
        "x402Version": payment.version,
        "paymentPayload": payment.document(),
        "paymentRequirements": payment.requirement,
    }


def post(url: str, document: Any, **headers: str) -> Answer:
    """A JSON object sent."""
    return request(
        url, "POST", {"Content-Type": "application/json", **headers}, json.dumps(document).encode()
    )


def requirement(pay_to: str, asset: str, version: int = 2, amount: int = 10_000) -> dict[str, Any]:
    """What some server asks for: test dollars on the local chain."""
    extra = {"name": "USDC", "version": "2"}
    common = {"scheme": "exact", "asset": asset, "payTo": pay_to, "maxTimeoutSeconds": 300, "extra": extra}
    if version == 2:
        return {**common, "network": "eip155:84532", "amount": str(amount)}
    resource = {"resource": "http://shop.example/x", "description": "", "mimeType": "text/plain"}
    return {**common, **resource, "network": "base-sepolia", "maxAmountRequired": str(amount)}
