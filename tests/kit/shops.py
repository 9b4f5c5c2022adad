"""Other people's servers: the official middlewares, unchanged, with a facilitator of our choosing.

Each sells ``GET /goods`` for a cent in test USDC on Base Sepolia.
"""

from __future__ import annotations

import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from gateway.devchain.children import spawn, stop, wait_until_said
from gateway.devchain.node import find_node
from gateway.devchain.ports import free_ports
from kit.node_clients import installed_project

PRICE = 10_000
GOODS = b"goods"
_NETWORK = "eip155:84532"

Shop = Callable[[str, str, str], AbstractContextManager[str]]
"""Opens a shop by facilitator URL, facilitator key and payee; gives the URL of its goods."""


@contextmanager
def fastapi_shop(facilitator: str, key: str, pay_to: str) -> Iterator[str]:
    """x402's FastAPI middleware on uvicorn."""
    import uvicorn
    from fastapi import FastAPI
    from fastapi.responses import PlainTextResponse
    from x402 import x402ResourceServer
    from x402.http import HTTPFacilitatorClient
    from x402.http.middleware.fastapi import PaymentMiddlewareASGI
    from x402.mechanisms.evm.exact import register_exact_evm_server

    server = x402ResourceServer(HTTPFacilitatorClient(_config(facilitator, key)))
    register_exact_evm_server(server, _NETWORK)
    app = FastAPI()
    app.add_middleware(PaymentMiddlewareASGI, routes=_routes(pay_to), server=server)

    @app.get("/goods")
    async def goods() -> PlainTextResponse:
        return PlainTextResponse(GOODS.decode())

    [port] = free_ports(1)
    running = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        thread.join(0.02)
        assert thread.is_alive(), "uvicorn did not start"
    try:
        yield f"http://127.0.0.1:{port}/goods"
    finally:
        running.should_exit = True
        thread.join(10)


@contextmanager
def flask_shop(facilitator: str, key: str, pay_to: str) -> Iterator[str]:
    """x402's Flask middleware on werkzeug."""
    from flask import Flask
    from werkzeug.serving import make_server
    from x402 import x402ResourceServerSync
    from x402.http import HTTPFacilitatorClientSync
    from x402.http.middleware.flask import payment_middleware
    from x402.mechanisms.evm.exact import register_exact_evm_server

    server = x402ResourceServerSync(HTTPFacilitatorClientSync(_config(facilitator, key)))
    register_exact_evm_server(server, _NETWORK)
    app = Flask(__name__)
    payment_middleware(app, _routes(pay_to), server)
    app.add_url_rule("/goods", "goods", lambda: GOODS.decode())
    running = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}/goods"
    finally:
        running.shutdown()
        thread.join(10)


@contextmanager
def express_shop(facilitator: str, key: str, pay_to: str) -> Iterator[str]:
    """npm @x402/express."""
    node = find_node()
    [port] = free_ports(1)
    script = installed_project("express", node) / "serve.mjs"
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "log"
        with output.open("wb") as log:
            argv = [node.node, str(script), str(port), facilitator, key, pay_to]
            process: subprocess.Popen[bytes] = spawn(argv, output=log, env=node.env)
        try:
            wait_until_said(process, "shop is open", output)
            yield f"http://127.0.0.1:{port}/goods"
        finally:
            stop(process, 10.0)


def _config(url: str, key: str) -> Any:
    from x402.http import FacilitatorConfig
    from x402.http.facilitator_client_base import CreateHeadersAuthProvider

    bearer = {"Authorization": f"Bearer {key}"}
    headers = dict.fromkeys(("verify", "settle", "supported"), bearer)
    return FacilitatorConfig(url=url, auth_provider=CreateHeadersAuthProvider(lambda: headers))


def _routes(pay_to: str) -> dict[str, Any]:
    from x402.http import PaymentOption
    from x402.http.types import RouteConfig

    option = PaymentOption(scheme="exact", pay_to=pay_to, price="$0.01", network=_NETWORK)
    return {"GET /goods": RouteConfig(accepts=[option], description="Goods", mime_type="text/plain")}
