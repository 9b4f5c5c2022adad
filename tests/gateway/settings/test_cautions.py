"""What is allowed but probably not meant, and what must not be: a key in the clear."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.settings import Settings, load

TEXT = """\
upstreams: {llm: {url: "http://127.0.0.1:9000"}}
rails: {conxa: {api_key: KEY, base_url: "URL"}}
routes:
  - {match: POST /chat, price: $5, conxa: {meter: openai}}
"""
REAL = "https://api.conxa.in"


def loaded(folder: Path, key: str, url: str) -> Settings:
    file = folder / "gateway.yaml"
    file.write_text(TEXT.replace("KEY", key).replace("URL", url))
    return load(file, {})


@pytest.mark.parametrize("url", [REAL, "http://127.0.0.1:9100", "http://localhost:9100", "http://[::1]:9100"])
def test_nothing_is_said_of_what_is_meant(tmp_path: Path, url: str) -> None:
    """A high price concerns x402 clients only."""
    assert loaded(tmp_path, "pk_live_acme_x", url).warnings == ()


def test_a_test_key_at_the_real_service_is_said(tmp_path: Path) -> None:
    """As test networks are; a stand-in on this machine takes nothing else."""
    [warning] = loaded(tmp_path, "pk_test_acme_x", REAL).warnings
    assert "rails.conxa.api_key: is a test key" in warning and "pk_test" not in warning
    assert loaded(tmp_path, "pk_test_acme_x", "http://127.0.0.1:9100").warnings == ()


@pytest.mark.parametrize("host", ["conxa.example", "10.0.0.7:9100", "127.0.0.1.example"])
def test_a_key_is_not_sent_in_the_clear(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigError) as error:
        loaded(tmp_path, "pk_live_acme_x", f"http://{host}")
    [problem] = error.value.problems
    assert "rails.conxa.base_url: must be https://" in problem
