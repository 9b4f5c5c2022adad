"""``tollway init``: what it writes, ``check`` accepts."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli import main
from gateway.settings import load
from gateway.starting import Beginning, CannotStart, from_environment

PAYEE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
ANSWERS = ["--upstream", "http://127.0.0.1:9000", "--pay-to", PAYEE]


def test_five_lines_that_check_accepts(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    done = CliRunner().invoke(main, ["init", *ANSWERS, "--price", "$0.02", "-o", str(file)])
    assert done.exit_code == 0 and len(file.read_text().splitlines()) == 5
    checked = CliRunner().invoke(main, ["check", "-c", str(file)])
    assert checked.exit_code == 0 and "* /**\tx402\t$0.02\tapi" in checked.stdout


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text("mine")
    done = CliRunner().invoke(main, ["init", *ANSWERS, "-o", str(file)])
    assert done.exit_code == 1 and "File exists" in done.stderr and file.read_text() == "mine"


def test_what_cannot_be_checked_is_told(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["init", *ANSWERS[:3], "0x70", "-o", str(tmp_path / "g.yaml")])
    assert done.exit_code == 3 and "rails.x402.pay_to: must be an address" in done.stderr


def test_from_the_environment_of_x402_connector(tmp_path: Path) -> None:
    environ = {
        "X402_PAY_TO_ADDRESS": PAYEE,
        "X402_PRICE": "10000",
        "X402_NETWORK": "base",
        "X402_PROTECTED_PATHS": "/api/*, /exact",
        "X402_FACILITATOR_URL": "https://f.example",
    }
    file = tmp_path / "gateway.yaml"
    file.write_text(from_environment(environ, "http://127.0.0.1:9000").text())
    settings = load(file, {})
    assert [str(route.price) for route in settings.table.routes] == ["10000 atomic USDC"] * 2
    assert [route.name for route in settings.table.routes] == ["* /api/**", "* /exact"]
    x402 = settings.rails.x402
    assert x402 is not None and x402.facilitators["base"].urls == ("https://f.example",)


def test_everything_is_protected_by_default() -> None:
    beginning = from_environment({"X402_PAY_TO_ADDRESS": PAYEE}, "http://127.0.0.1:1")
    assert beginning.paths == ("/**",) and beginning.price == "$0.01"


@pytest.mark.parametrize(
    ("environ", "upstream", "says"),
    [
        ({}, "http://a", "X402_PAY_TO_ADDRESS is not set"),
        ({"X402_PAY_TO_ADDRESS": PAYEE}, None, "where the API is"),
        ({"X402_PAY_TO_ADDRESS": PAYEE, "X402_PRICE": "-1"}, "http://a", "X402_PRICE: "),
        (
            {"X402_PAY_TO_ADDRESS": PAYEE, "X402_PROTECTED_PATHS": "/a/*/b"},
            "http://a",
            "X402_PROTECTED_PATHS",
        ),
    ],
)
def test_what_is_missing(environ: dict[str, str], upstream: str | None, says: str) -> None:
    with pytest.raises(CannotStart, match=says):
        from_environment(environ, upstream)


def test_a_real_network_needs_somebody_who_settles_there() -> None:
    with pytest.raises(CannotStart, match="say who settles on base"):
        Beginning("http://a", PAYEE, "$1", "base").text()
    with pytest.raises(CannotStart, match="--rpc URL"):
        Beginning("http://a", PAYEE, "$1", "nowhere").text()


def test_text_that_would_be_something_else_is_quoted(tmp_path: Path) -> None:
    text = Beginning('http://a/"x', PAYEE, "1 USDC, or more}").text()
    assert '"1 USDC, or more}"' in text and '\\"x' in text
