"""x402's Flask middleware for gunicorn, as ``bench.apps.x402_flask:app``.

FACILITATOR and PAY_TO are in the environment.
"""

from __future__ import annotations

import os

from bench.apps.goods import GOODS, NETWORK, PATH, priced
from flask import Flask
from x402 import x402ResourceServerSync
from x402.http import FacilitatorConfig, HTTPFacilitatorClientSync
from x402.http.middleware.flask import payment_middleware
from x402.mechanisms.evm.exact import register_exact_evm_server

_server = x402ResourceServerSync(HTTPFacilitatorClientSync(FacilitatorConfig(url=os.environ["FACILITATOR"])))
register_exact_evm_server(_server, NETWORK)
app = Flask(__name__)
payment_middleware(app, priced(os.environ["PAY_TO"]), _server)
app.add_url_rule(PATH, "goods", lambda: GOODS.decode())
