"""Answers of our own, and what is counted and logged of them."""

from __future__ import annotations

import orjson
import pytest

from gateway.errors import ClientError, Problem, StoreUnavailable
from gateway.observe import Metrics
from gateway.render import Entry, Renderer

MEMBERS = {"type", "title", "status", "code", "detail", "request_id"}


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("1")


@pytest.fixture
def renderer(metrics: Metrics) -> Renderer:
    return Renderer("*", metrics)


def entry(method: str = "GET") -> Entry:
    return Entry(method)


@pytest.mark.parametrize(
    "problem",
    [
        ClientError("bad_target", "no"),
        ClientError("method_not_allowed", "no", status=405, headers=[("Allow", "GET")]),
        StoreUnavailable(),
        Problem("internal_error", "the gateway failed", close=True),
    ],
)
def test_a_problem(problem: Problem, renderer: Renderer) -> None:
    about = entry()
    answer = renderer.problem(problem, about)
    fields, body = dict(answer.fields), orjson.loads(answer.body)
    assert set(body) == MEMBERS and body["request_id"] == about.request_id
    assert fields[b"Content-Type"] == b"application/problem+json" and fields[b"Cache-Control"] == b"no-store"
    assert fields[b"X-Request-Id"].decode() == about.request_id
    assert (b"Retry-After" in fields) == (problem.status == 503)
    assert answer.keep_alive is not problem.close and about.reason == problem.code
    for name, value in problem.headers:
        assert fields[name.encode()] == value.encode()


async def test_requests_are_counted_under_methods_that_exist(metrics: Metrics, renderer: Renderer) -> None:
    for method in ("GET", "BREW", "x" * 1000):
        renderer.finished(entry(method), 404)
    page = metrics.exposition().decode()
    assert 'tollway_requests_total{method="GET",route="",status="404"} 1.0' in page
    assert 'tollway_requests_total{method="other",route="",status="404"} 2.0' in page


def test_a_line_of_a_request_that_was_none() -> None:
    told = {name: value for name, value in entry().line(400, 0.0015).items() if value is not None}
    assert set(told) == {"request_id", "method", "status", "duration_ms"} and told["duration_ms"] == 1.5


def test_request_ids_differ() -> None:
    assert len({entry().request_id for _ in range(100)}) == 100
