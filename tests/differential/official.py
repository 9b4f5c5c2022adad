"""The official Python facilitator, x402 2.25, asked as its own servers ask it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from x402 import x402FacilitatorSync
from x402.mechanisms.evm import FacilitatorWeb3Signer
from x402.mechanisms.evm.constants import MULTICALL3_ADDRESS
from x402.mechanisms.evm.exact import register_exact_evm_facilitator
from x402.schemas import PaymentPayload, PaymentRequirements
from x402.schemas.v1 import PaymentPayloadV1, PaymentRequirementsV1


@dataclass(frozen=True)
class Verdict:
    """``valid`` is None where there is no verdict: ``reason`` then says how the asking failed."""

    valid: bool | None
    reason: str = ""

    def __str__(self) -> str:
        return "valid" if self.valid else self.reason


class _Signer(FacilitatorWeb3Signer):  # type: ignore[misc]
    """There is no Multicall3 on a local chain: its calls are made one by one."""

    def read_contract(self, address: str, abi: Any, function_name: str, *arguments: Any) -> Any:
        if address != MULTICALL3_ADDRESS:
            return super().read_contract(address, abi, function_name, *arguments)
        return [self._try(target, data) for target, data in arguments[1]]

    def _try(self, target: str, data: bytes) -> tuple[bool, bytes]:
        try:
            return True, bytes(self._w3.eth.call({"to": target, "data": data}))
        except Exception as error:  # noqa: BLE001 - whatever it is, the call failed
            said = getattr(error, "data", None)
            return False, bytes.fromhex(said[2:]) if isinstance(said, str) else b""


class Official:
    """One ``x402Facilitator`` for exact on EVM, both versions."""

    def __init__(self, rpc: str, key: str, network: str) -> None:
        self._facilitator = x402FacilitatorSync()
        register_exact_evm_facilitator(self._facilitator, _Signer(key, rpc), network)

    def verify(self, body: dict[str, Any]) -> Verdict:
        """As a server does that reads a request's body into the SDK's models."""
        first = body.get("x402Version") == 1
        models = (PaymentPayloadV1, PaymentRequirementsV1) if first else (PaymentPayload, PaymentRequirements)
        try:
            payload = models[0].model_validate(body.get("paymentPayload"))
            requirements = models[1].model_validate(body.get("paymentRequirements"))
        except ValueError:
            return Verdict(None, "not parsed")
        try:
            answer = self._facilitator.verify(payload, requirements)
        except Exception as error:  # noqa: BLE001 - what it raises is what is looked at
            return Verdict(None, f"raises {type(error).__name__}")
        return Verdict(answer.is_valid, answer.invalid_reason or "")
