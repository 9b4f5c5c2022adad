"""What the service answers: a status, a JSON object, and the two forms an error can have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from gateway.errors import TollwayError

ErrorForm = Literal["envelope", "detail", "detail_list"]
"""CONXA's own envelope, or one of the two bodies FastAPI makes: a text, or a list of findings."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer; ``body`` is in the envelope form when it is an error."""

    status: int
    body: dict[str, Any]


class Declined(TollwayError):
    """A call that ends with this error and changes nothing."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"{reply.status} {reply.body['message']}")
        self.reply = reply


def error(status: int, message: str, code: str | None = None, **more: Any) -> Reply:
    """An error in the envelope form."""
    told = {"code": code} if code is not None else {}
    return Reply(status, {"status": "error", "message": message, **told, **more})


def rendered(reply: Reply, form: ErrorForm) -> dict[str, Any]:
    """The body to send; FastAPI's forms say nothing besides the message and the findings."""
    if reply.status < 400 or form == "envelope":
        return reply.body
    message = reply.body["message"]
    if form == "detail":
        return {"detail": message}
    return {"detail": reply.body.get("errors") or [{"loc": ["body"], "msg": message, "type": "error"}]}
