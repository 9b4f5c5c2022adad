"""What an operator sees of a running gateway: its log, its metrics, its ledger."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from prometheus_client.parser import text_string_to_metric_families

from kit.answers import Answer, request
from kit.command import run
from kit.deployment import Deployment
from kit.gateway import Gateway, plain_config

T = TypeVar("T")
PROBLEM_MEMBERS = {"type", "title", "status", "code", "detail", "request_id"}


def eventually(look: Callable[[], T], patience: float = 20.0) -> T:
    """What ``look`` says as soon as it is truthy; AssertionError with the last it said otherwise."""
    until = time.monotonic() + patience
    while not (seen := look()):
        assert time.monotonic() < until, f"not within {patience:g} s; last seen: {seen!r}"
        time.sleep(0.02)
    return seen


def records(gateway: Gateway, event: str | None = None) -> list[dict[str, Any]]:
    """The JSON lines of the log, of all kinds or of one."""
    lines = [json.loads(line) for line in gateway.logs().splitlines() if line.startswith("{")]
    return [line for line in lines if event is None or line["event"] == event]


def metric(gateway: Gateway, name: str, **labels: str) -> float:
    """The sum of a metric's samples that carry these labels."""
    page = request(gateway.admin + "/metrics").body.decode()
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    return sum(each.value for each in samples if each.name == name and labels.items() <= each.labels.items())


def ledger(gateway: Gateway, query: str = "") -> list[dict[str, Any]]:
    """The payments, newest first."""
    payments: list[dict[str, Any]] = request(f"{gateway.admin}/payments{query}").json()["payments"]
    return payments


def ready(gateway: Gateway) -> bool:
    """Whether every dependency is up."""
    return request(gateway.admin + "/readyz?strict=1").status == 200


def workers(gateway: Gateway) -> list[int]:
    """The ids of the worker processes."""
    listed = Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text()
    return sorted(int(each) for each in listed.split())


def priced(shop: Deployment, price: str, **more: Any) -> dict[str, Any]:
    """The same configuration with another price for everything."""
    routes = [{"match": "* /v1/**", "price": price}, {"match": "* /free/**", "price": "free"}]
    return plain_config(
        upstream=shop.upstream.url,
        rpc=shop.anvil.url,
        pay_to=shop.pay_to,
        key=shop.sender.key,
        routes=routes,
        **more,
    )


def quoted(shop: Deployment, path: str = "/v1/x") -> str:
    """What a request without a payment is asked for, in atomic units."""
    amount: str = request(shop.url + path).challenge["accepts"][0]["amount"]
    return amount


def reloads(shop: Deployment) -> list[dict[str, Any]]:
    """What came of each SIGHUP."""
    return records(shop.gateway, "reload")


def assert_problem(answer: Answer, status: int, code: str) -> None:
    """One of our own errors, whole."""
    assert (answer.status, answer.json()["code"]) == (status, code), answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(answer.json()) == PROBLEM_MEMBERS and answer.json()["status"] == status
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def tollway(*arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The command, run to its end in a pipe."""
    done = run(*arguments, env=env)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def tracebacks(text: str) -> int:
    """How often something was not foreseen."""
    return len(re.findall(r"Traceback|never retrieved", text))
