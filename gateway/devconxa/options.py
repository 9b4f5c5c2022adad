"""What is not known of the real service, as switches."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.devconxa.replies import ErrorForm

Price = Annotated[int, Field(ge=0)]


class Options(BaseModel):
    """The defaults are the likeliest; a gateway has to cope with all of them."""

    model_config = ConfigDict(extra="forbid", strict=True, validate_assignment=True)

    prices: dict[str, Annotated[tuple[Price, Price], Field(strict=False)]] = {}
    """Wallet tokens for one input token and one output token, by model."""
    other_models: Annotated[tuple[Price, Price], Field(strict=False)] | None = (1, 1)
    """The price of any other model; None: the table is strict, another model is refused with 422."""
    cap_status: Literal[200, 403] = 200
    """Whether a charge beyond the connection's limit is a 200 that is not approved, or a 403."""
    errors: ErrorForm = "envelope"
    before_scan: Literal["missing", "not_found", "pending"] = "missing"
    """The status of a user who never scanned: a 404, or a 200 that says this."""
    session_seconds: Annotated[float, Field(gt=0, strict=False)] = 3600
    """How long a session lasts unless its scan says otherwise."""
