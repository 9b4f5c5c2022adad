"""The request's side: asking for usage without changing anything else, and estimating what it costs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.metering import Metered, Usage, estimate_input, prepare
from gateway.metering.request import usage_only

CHAT = "/v1/chat/completions"


def asked(
    body: bytes | dict[str, Any], kind: str = "openai", path: str = CHAT, opted_in: bool = True
) -> bytes | None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return prepare(Metered(kind, path, raw, ask_usage=opted_in))


def test_a_stream_is_asked_for_its_usage() -> None:
    body = asked({"model": "gpt-4o", "stream": True, "messages": []})
    assert body is not None and json.loads(body) == {
        "model": "gpt-4o",
        "stream": True,
        "messages": [],
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize("options", [{}, None, {"include_obfuscation": False}, {"include_usage": None}])
def test_what_else_the_client_wants_of_its_stream_stays(options: dict[str, Any] | None) -> None:
    body = asked({"stream": True, "stream_options": options})
    assert body is not None and json.loads(body)["stream_options"] == {
        **(options or {}),
        "include_usage": True,
    }


@pytest.mark.parametrize(
    "body",
    [
        {"stream": True, "stream_options": {"include_usage": True}},
        {"stream": True, "stream_options": {"include_usage": False}},
        {"stream": True, "stream_options": "please"},
        {"stream": True, "stream_options": []},
        {"stream": False},
        {"stream": "true"},
        {"stream": 1},
        {},
        b"[]",
        b"",
        b"model=gpt-4o&stream=true",
        b'{"stream": true, "temperature": NaN}',
        b'{"stream": true, "temperature": 1e999}',
        b'{"stream": true, "x": ' + b"[" * 100_000,
        b'{"stream": true, "x": "\xff"}',
        b'{"stream": true, "x": "\\ud83d"}',
    ],
)
def test_any_other_request_stays_as_it_is(body: bytes | dict[str, Any]) -> None:
    assert asked(body) is None


def test_only_chat_of_openai_and_only_where_the_operator_opted_in() -> None:
    body = {"stream": True}
    assert asked(body, opted_in=False) is None
    assert asked(body, kind="anthropic") is None
    assert asked(body, path="/v1/responses") is None
    assert asked(body, path="/v1/completions") is None
    assert asked(body, path="/openai/deployments/mine/chat/completions") is not None


def test_numbers_of_any_size_survive() -> None:
    body = asked(b'{"stream":true,"seed":123456789012345678901234567890,"p":0.1,"stop":"\\u00fc"}')
    assert body is not None
    assert b'"seed":123456789012345678901234567890,"p":0.1,"stop":"\\u00fc"' in body


VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(), VALUES | st.lists(VALUES, max_size=3), max_size=4))
def test_nothing_but_the_question_is_added(fields: dict[str, Any]) -> None:
    fields = {**fields, "stream": True}
    fields.pop("stream_options", None)
    body = asked(fields)
    assert body is not None and json.loads(body) == {**fields, "stream_options": {"include_usage": True}}


@pytest.mark.parametrize(
    ("element", "only"),
    [
        ({"choices": [], "usage": {"prompt_tokens": 1}}, True),
        ({"choices": None, "usage": {"prompt_tokens": 1}}, True),
        ({"choices": [{"index": 0}], "usage": {"prompt_tokens": 1}}, False),
        ({"choices": [], "usage": None}, False),
        ({"choices": [], "prompt_filter_results": []}, False),
        ({"usage": {"prompt_tokens": 1}}, False),
        ([], False),
        (None, False),
    ],
)
def test_an_event_is_there_for_its_usage_alone(element: object, only: bool) -> None:
    assert usage_only(element) is only


def estimated(kind: str, path: str, body: bytes | dict[str, Any], model: str | None = None) -> Usage:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return estimate_input(Metered(kind, path, raw, model))


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"messages": [{"content": "12345678"}]}, 2),
        ({"messages": [{"content": "123456789"}]}, 3),
        ({"messages": [{"role": "user", "content": "12345678"}]}, 3),
        ({"prompt": ["1234", "5678"], "user": "x" * 99}, 2),
        ({"input": [1, 15, 7]}, 3),
        ({"instructions": "1234", "input": "5678", "tools": [{"description": "90"}]}, 3),
        ({"messages": [{"content": "größer ✓"}]}, 2),
        ({"messages": [{"image_url": {"url": "data:image/png;base64," + "A" * 999}}]}, 0),
        ({"messages": [{"source": {"type": "base64", "data": "A" * 999}}]}, 2),
        (
            {"contents": [{"parts": [{"text": "1234"}]}], "systemInstruction": {"parts": [{"text": "5678"}]}},
            2,
        ),
        ({"system": [{"text": "1234"}], "messages": []}, 1),
        ({"query": "1"}, 4),
        (b"plain words", 3),
        (b"", 0),
    ],
)
def test_input_is_estimated_from_the_text_of_the_request(body: bytes | dict[str, Any], tokens: int) -> None:
    assert estimated("openai", CHAT, body) == Usage("", tokens, 0, estimated=True)


def test_deep_nesting_is_no_way_to_break_an_estimate() -> None:
    deep = b'{"messages":' + b"[" * 900 + b'"1234"' + b"]" * 900 + b"}"
    assert estimated("openai", CHAT, deep).input_tokens == 1
    assert estimated("openai", CHAT, b"[" * 40_000).input_tokens == 10_000


@pytest.mark.parametrize(
    ("path", "body", "configured", "model"),
    [
        (CHAT, {"model": "gpt-4o"}, None, "gpt-4o"),
        (CHAT, {"model": "gpt-4o"}, "house-blend", "house-blend"),
        (CHAT, {"model": 7}, None, ""),
        (CHAT, {"model": "x" * 300}, None, ""),
        ("/v1beta/models/gemini-2.5-pro:generateContent", {}, None, "gemini-2.5-pro"),
        ("/v1beta/tunedModels/mine-7:streamGenerateContent", {}, None, "mine-7"),
        (
            "/v1/publishers/google/models/gemini-2.0-flash-001:generateContent",
            {},
            None,
            "gemini-2.0-flash-001",
        ),
    ],
)
def test_the_model_is_configured_or_in_the_body_or_in_the_path(
    path: str, body: dict[str, Any], configured: str | None, model: str
) -> None:
    assert estimated("gemini", path, body, configured).model == model
