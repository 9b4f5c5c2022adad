"""The body of a charge."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.devconxa.replies import Declined, Reply, error

Count = Annotated[int, Field(ge=0)]


class Order(BaseModel):
    """What was used; the service alone knows what that costs. Two orders are equal when these three are."""

    model_config = ConfigDict(strict=True, frozen=True, protected_namespaces=())

    model_name: Annotated[str, Field(pattern=r"\S")]
    input_tokens: Count
    output_tokens: Count


def order_of(body: bytes) -> Order:
    """Reads a body; Declined with 422 and every finding if it is not an order."""
    try:
        return Order.model_validate_json(body)
    except ValidationError as invalid:
        raise Declined(unprocessable(invalid)) from None


def unprocessable(invalid: ValidationError) -> Reply:
    """422 with pydantic's findings, shaped as FastAPI shows them."""
    found = invalid.errors(include_url=False, include_context=False, include_input=False)
    errors = [{"loc": ["body", *each["loc"]], "msg": each["msg"], "type": each["type"]} for each in found]
    return error(422, "Validation error", "VALIDATION_ERROR", errors=errors)
