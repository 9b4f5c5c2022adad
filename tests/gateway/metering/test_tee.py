"""Meters before bad answers, clients that leave, and the event that only the gateway wanted."""

from __future__ import annotations

import gzip
import json
from typing import Any

import brotli
import pytest
from kit import corpus

from gateway.metering import Meter, Metered, Usage, meter
from gateway.metering.events import LIMIT
from gateway.metering.readers import LARGEST
from gateway.metering.tally import MOST

SSE = "text/event-stream"
JSON = "application/json"
CHAT = Metered("openai", "/v1/chat/completions", b'{"model":"gpt-4o","messages":[{"content":"12345678"}]}')
CLAUDE = Metered("anthropic", "/v1/messages", b'{"model":"claude","messages":[{"content":"12345678"}]}')
GEMINI = Metered("gemini", "/v1beta/models/g:streamGenerateContent", b'{"contents":[{"text":"12345678"}]}')
EMBEDDINGS = Metered("openai", "/v1/embeddings", b'{"model":"e","input":"12345678"}')

ROWS = corpus.rows("metering")
ASKED = [row for row in ROWS if "openai-chat-stream" in row["id"]]


def usage(
    request: Metered, content_type: str, *chunks: bytes, encoding: str = "", ended: bool = True
) -> Usage:
    metering = meter(request, content_type, encoding, swallow=False)
    for chunk in chunks:
        assert metering.feed(chunk) is chunk
    if ended:
        assert metering.end() == b""
    return metering.usage()


def event(element: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(element).encode() + b"\n\n"


def says(text: str) -> bytes:
    return event({"model": "gpt-4o-mini", "choices": [{"delta": {"content": text}}]})


USED = event({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 7}})


# Clients that leave, streams that break off


def test_a_client_that_left_is_charged_for_what_it_heard() -> None:
    assert usage(CHAT, SSE, says("12345678"), says("9"), b'data: {"cho', ended=False) == Usage(
        "gpt-4o-mini", 2, 3, estimated=True
    )


def test_a_client_that_left_a_stream_that_says_its_usage_all_the_time_pays_exactly() -> None:
    chunk = event(
        {"choices": [{"delta": {"content": "Hi"}}], "usage": {"prompt_tokens": 5, "completion_tokens": 1}}
    )
    assert usage(CHAT, SSE, chunk, ended=False) == Usage("gpt-4o", 5, 1, estimated=False)


def test_text_after_the_last_count_is_estimated_on_top_of_it() -> None:
    start = event({"type": "message_start", "message": {"usage": {"input_tokens": 9, "output_tokens": 1}}})
    delta = event({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "12345678"}})
    end = event(
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}}
    )
    assert usage(CLAUDE, SSE, start, delta, delta) == Usage("claude", 9, 5, estimated=True)
    assert usage(CLAUDE, SSE, start, delta, delta, end) == Usage("claude", 9, 4, estimated=False)


def test_elements_of_an_array_count_as_they_come() -> None:
    first = {
        "candidates": [{"content": {"parts": [{"text": "Hi ]}"}]}}],
        "usageMetadata": {"promptTokenCount": 3},
    }
    second = {"candidates": [], "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2}}
    text = b"[" + json.dumps(first).encode()
    assert usage(GEMINI, JSON, text, ended=False) == Usage("g", 3, 2, estimated=True)
    text += b"\n,\r\n" + json.dumps(second).encode()
    assert usage(GEMINI, JSON, text, ended=False) == Usage("g", 3, 2, estimated=False)
    assert usage(GEMINI, JSON, text + b"]") == Usage("g", 3, 2, estimated=False)


def test_a_stream_that_was_asked_for_and_is_one_object_is_read_too() -> None:
    element = {"usageMetadata": {"promptTokenCount": 3, "thoughtsTokenCount": 2}, "modelVersion": "g-2"}
    assert usage(GEMINI, JSON, json.dumps(element).encode()) == Usage("g-2", 3, 2, estimated=False)


def test_half_a_json_answer_counts_by_its_bytes() -> None:
    half = b'{"model":"gpt-4o","choices":[{"message":{'
    assert usage(CHAT, JSON, half) == Usage("gpt-4o", 2, 11, estimated=True)
    assert usage(EMBEDDINGS, JSON, b'{"data":[{"embedding":[0.1,') == Usage("e", 2, 0, estimated=True)


# Answers that cannot be read


@pytest.mark.parametrize("count", [True, -1, 1.5, "7", None, [7], 2**60, 10**40])
def test_what_is_no_count_is_absent(count: object) -> None:
    answer = {"choices": [], "usage": {"prompt_tokens": count, "completion_tokens": 7}}
    assert usage(CHAT, JSON, json.dumps(answer).encode()) == Usage("gpt-4o", 2, 7, estimated=True)


@pytest.mark.parametrize(
    "answer",
    [
        *(b"null", b"7", b'"usage"', b"[[[]]]", b"[null, 7]", b"{}", b'{"usage":[],"choices":7,"model":{}}'),
        *(b'{"choices":[null,[7],{"delta":"x","message":[]}],"usage":"lots","response":1,"message":2}', b""),
    ],
)
@pytest.mark.parametrize("request_", [CHAT, CLAUDE, GEMINI], ids=lambda each: each.kind)
def test_json_of_another_shape_is_estimated(request_: Metered, answer: bytes) -> None:
    for content_type, body in ((JSON, answer), (SSE, b"data: " + answer + b"\n\n")):
        used = usage(request_, content_type, body)
        assert used.estimated and used.input_tokens == 2 and used.output_tokens < 10


def test_a_broken_event_is_estimated_until_the_usage_comes() -> None:
    broken = b"data: {broken!\n\n"
    assert usage(CHAT, SSE, broken) == Usage("gpt-4o", 2, 2, estimated=True)
    assert usage(CHAT, SSE, broken, USED) == Usage("gpt-4o", 5, 7, estimated=False)


def test_a_huge_event_is_estimated_until_the_usage_comes() -> None:
    huge = [b'data: {"choices":[{"delta":{"content":"', *[b"x" * 65536] * 17, b'"}}]}\n\n']
    assert sum(map(len, huge)) > LIMIT
    used = usage(CHAT, SSE, says("Hi"), *huge)
    assert used == Usage("gpt-4o-mini", 2, MOST, estimated=True)
    assert usage(CHAT, SSE, says("Hi"), *huge, USED) == Usage("gpt-4o-mini", 5, 7, estimated=False)


def test_of_a_huge_last_event_the_end_is_read() -> None:
    """As when an image is in the answer: vendors write the usage behind it."""
    element = {
        "response": {"model": "m", "output": ["x" * LIMIT], "usage": {"input_tokens": 5, "output_tokens": 7}}
    }
    data = event(element)
    for size in (len(data), 50_000):
        chunks = [data[at : at + size] for at in range(0, len(data), size)]
        assert usage(CHAT, SSE, *chunks) == Usage("gpt-4o", 5, 7, estimated=False)


def test_of_a_huge_answer_the_end_is_read() -> None:
    vectors = b'{"object":"list","data":[{"embedding":[' + b"0.0123456," * (LARGEST // 10) + b"0]}],"
    told = vectors + b'"usage": {"prompt_tokens": 9, "total_tokens": 9}}'
    assert usage(EMBEDDINGS, JSON, told) == Usage("e", 9, 0, estimated=False)
    assert usage(EMBEDDINGS, JSON, vectors + b'"usage": {"prompt_tok') == Usage("e", 2, 0, estimated=True)
    quoted = b'"text": "\\"usage\\": {\\"prompt_tokens\\": 9}"}'
    assert usage(CHAT, JSON, vectors + quoted) == Usage("gpt-4o", 2, MOST, estimated=True)


def test_an_unknown_coding_is_estimated() -> None:
    assert usage(CHAT, JSON, b"\x28\xb5\x2f\xfd", b"12345678", encoding="zstd") == Usage(
        "gpt-4o", 2, 3, estimated=True
    )
    assert usage(EMBEDDINGS, JSON, b"\x28\xb5\x2f\xfd", encoding="zstd") == Usage("e", 2, 0, estimated=True)


@pytest.mark.parametrize("encoding", ["gzip", "br"])
def test_a_truncated_stream_is_charged_for_what_could_be_read(encoding: str) -> None:
    stream = b"".join(says(word) for word in ["12345678"] * 50) + USED
    packed = gzip.compress(stream) if encoding == "gzip" else brotli.compress(stream)
    used = usage(CHAT, SSE, packed[: len(packed) // 2], encoding=encoding)
    assert used.estimated and used.input_tokens == 2 and used.output_tokens <= 100
    assert usage(CHAT, SSE, packed, encoding=encoding) == Usage("gpt-4o-mini", 5, 7, estimated=False)


def test_a_stream_whose_coding_breaks_is_estimated_from_there() -> None:
    packed = gzip.compress(says("12345678"))
    assert usage(CHAT, SSE, packed, b"rubbish!", b"more", encoding="gzip") == Usage(
        "gpt-4o-mini", 2, 5, estimated=True
    )


def test_padding_behind_a_whole_answer_does_no_harm() -> None:
    answer = b'{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7}}'
    padded = gzip.compress(answer) + bytes(512)
    assert usage(CHAT, JSON, padded, encoding="gzip") == Usage("gpt-4o", 5, 7, estimated=False)


def test_a_bomb_is_estimated_with_measure() -> None:
    bomb = gzip.compress(bytes(65 << 20), 1)
    for content_type in (JSON, SSE):
        assert usage(CHAT, content_type, bomb, encoding="gzip") == Usage("gpt-4o", 2, MOST, estimated=True)


# The event that only the gateway wanted


def swallowing(encoding: str = "", content_type: str = SSE) -> Meter:
    return meter(CHAT, content_type, encoding, swallow=True)


def without_usage(answer: bytes) -> bytes:
    """The stream as it would have been had nobody asked."""
    events = answer.split(b"\n\n")
    return b"\n\n".join(
        each for each in events if not (b'"usage":{' in each and b'"delta"' not in _choices(each))
    )


def _choices(event: bytes) -> bytes:
    data = event.partition(b"data: ")[2]
    return json.dumps(json.loads(data)["choices"]).encode() if data.startswith(b"{") else b""


@pytest.mark.parametrize("row", ASKED, ids=lambda row: row["id"])
def test_the_client_gets_every_byte_but_those_it_did_not_ask_for(row: dict[str, Any]) -> None:
    answer = row["answer"].encode()
    wanted = without_usage(answer)
    assert ("without-usage" in row["id"] or "deepseek" in row["id"]) == (wanted == answer)
    for border in range(len(answer)):
        metering = swallowing()
        passed = metering.feed(answer[:border]) + metering.feed(answer[border:])
        assert passed + metering.end() == wanted, f"cut at byte {border}"
        assert metering.usage().output_tokens == row["output"]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_events_are_withheld_only_until_they_are_complete(line_end: bytes) -> None:
    first, used, done = (each.replace(b"\n", line_end) for each in (says("Hi"), USED, b"data: [DONE]\n\n"))
    stream = first + used + done
    metering, passed = swallowing(), b""
    for at in range(len(stream)):
        passed += metering.feed(stream[at : at + 1])
        assert at - len(passed) <= len(first) + len(used)
    assert passed + metering.end() == first + done
    assert metering.usage() == Usage("gpt-4o-mini", 5, 7, estimated=False)


def test_what_was_withheld_of_a_stream_that_broke_off_comes_at_the_end() -> None:
    metering = swallowing()
    assert metering.feed(says("Hi") + b'data: {"choices":[],"us') == says("Hi")
    assert metering.end() == b'data: {"choices":[],"us'


def test_a_huge_event_is_passed_on_while_it_comes() -> None:
    huge = says("x" * LIMIT)
    metering, passed = swallowing(), b""
    for at in range(0, len(huge), 100_000):
        passed += metering.feed(huge[at : at + 100_000])
        assert at + 100_000 - len(passed) <= LIMIT + 100_000
    assert passed + metering.feed(USED) + metering.end() == huge


@pytest.mark.parametrize(("encoding", "content_type"), [("gzip", SSE), ("zstd", SSE), ("", JSON)])
def test_an_answer_of_another_form_is_passed_on_untouched(encoding: str, content_type: str) -> None:
    metering = swallowing(encoding, content_type)
    stream = gzip.compress(says("Hi") + USED) if encoding == "gzip" else says("Hi") + USED
    assert metering.feed(stream) == stream and metering.end() == b""
