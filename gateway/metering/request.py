"""What a request says of itself, and asking a stream for its usage."""

from __future__ import annotations

import json
import re

from gateway.metering.base import Metered, Usage
from gateway.metering.held import parsed
from gateway.metering.tally import model_name
from gateway.metering.text import characters, tokens

STREAMED_ARRAY = ":streamGenerateContent"
"""Gemini's streams, which are a JSON array unless they are asked to be events."""

_CHAT = "/chat/completions"
_PROMPTS = (
    *("messages", "prompt", "suffix", "input", "instructions", "tools", "functions"),
    *("system", "contents", "content", "requests", "systemInstruction", "system_instruction"),
)
"""Keys of a request's body under which there is what the model reads."""
_MODEL_IN_PATH = re.compile(r"/(?:models|tunedModels)/([^/:]+)")


def estimate_input(request: Metered) -> Usage:
    """The request's model and an estimate of its input: what it costs before there is an answer."""
    body = parsed(request.body)
    fields = body if isinstance(body, dict) else {}
    prompts = [fields[key] for key in _PROMPTS if key in fields]
    text = characters(prompts) if prompts else len(request.body.decode(errors="replace"))
    named = request.model or model_name(fields.get("model")) or _model_in(request.path)
    return Usage(named, tokens(text), 0, estimated=True)


def prepare(request: Metered) -> bytes | None:
    """The body that asks for the usage too, or None where nothing is to be changed: not opted in, no
    stream of OpenAI's chat, or the client said itself whether it wants the usage."""
    if not (request.ask_usage and request.kind == "openai" and request.path.endswith(_CHAT)):
        return None
    body = parsed(request.body)
    if not isinstance(body, dict) or body.get("stream") is not True:
        return None
    options = body.get("stream_options")
    if options is None:
        options = {}
    if not isinstance(options, dict) or options.get("include_usage") is not None:
        return None
    return _with(request.body, {**options, "include_usage": True})


def usage_only(element: object) -> bool:
    """Whether an event is there for its usage alone: the one :func:`prepare` asked for."""
    if not isinstance(element, dict) or "choices" not in element:
        return False
    return not element["choices"] and isinstance(element.get("usage"), dict)


def _model_in(path: str) -> str:
    found = _MODEL_IN_PATH.search(path)
    return model_name(found[1]) if found else ""


def _with(body: bytes, options: dict[str, object]) -> bytes | None:
    """The same JSON object with other stream options. Python's own parser keeps integers of any size; it is
    only given what orjson took, because its stack has no bound of its own."""
    try:
        fields = {**json.loads(body), "stream_options": options}
        return json.dumps(fields, separators=(",", ":"), allow_nan=False).encode()
    except (ValueError, RecursionError):
        return None
