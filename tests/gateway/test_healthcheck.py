"""What a container runtime runs every few seconds."""

from __future__ import annotations

import http.server
import threading
from pathlib import Path

import pytest

from gateway.healthcheck import DEFAULT, admin_address, alive


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("server:\n  admin: 127.0.0.1:9999\n", "127.0.0.1:9999"),
        ('server:\n  admin: "0.0.0.0:1" # all\n', "0.0.0.0:1"),
        ("server:\n  admin: ${ADMIN:-127.0.0.1:7}\n", "127.0.0.1:7"),
        ("server:\n  admin: ${HERE}\n", "10.0.0.1:5"),
        ("server:\n  listen: 127.0.0.1:1\n", DEFAULT),
    ],
)
def test_the_admin_address_is_found_without_a_yaml_parser(tmp_path: Path, text: str, expected: str) -> None:
    config = tmp_path / "gateway.yaml"
    config.write_text(text)
    assert admin_address(config, {"HERE": "10.0.0.1:5"}) == expected


def test_a_running_gateway_is_alive_and_a_closed_port_is_not() -> None:
    class Livez(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/livez" else 404)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Quiet."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Livez)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"0.0.0.0:{server.server_port}"
    assert alive(address)
    server.shutdown()
    server.server_close()
    assert not alive(address, timeout=0.5)
