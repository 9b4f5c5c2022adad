"""nginx, one worker: what a proxy in C takes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from bench import tools
from bench.servers import Server, running
from bench.session import local_url

from gateway.devchain.tools import ToolMissing

_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def proxy_to(upstream: str) -> str:
    """Keep-alive towards the upstream; large answers stay in memory."""
    return f"""
    upstream api {{ server {urlsplit(upstream).netloc}; keepalive 256; }}
    proxy_buffers 32 32k; proxy_buffer_size 32k; proxy_busy_buffers_size 64k; proxy_max_temp_file_size 0;
    proxy_http_version 1.1; proxy_set_header Connection "";
    server {{ listen 127.0.0.1:PORT; location / {{ proxy_pass http://api; }} }}"""


def refuse(body: int, header: int) -> str:
    """``return 402`` with a body and one header field of so many bytes."""
    field = f'add_header PAYMENT-REQUIRED "{"x" * header}" always; default_type application/json;'
    return f"""server {{ listen 127.0.0.1:PORT; location / {{ {field} return 402 "{"x" * body}"; }} }}"""


@contextmanager
def nginx(http: str) -> Iterator[Server]:
    """One with this ``http`` section."""
    program = tools.find("nginx")
    if program is None:
        raise ToolMissing("nginx is neither on this machine nor among its Debian packages")
    url = local_url()
    with TemporaryDirectory(prefix="tollway-bench-") as folder:
        file = Path(folder, "nginx.conf")
        file.write_text(_whole(http.replace("PORT", str(urlsplit(url).port)), folder))
        env = {**os.environ, "LD_LIBRARY_PATH": tools.library_path()}
        argv = [program, "-p", folder, "-c", str(file), "-e", "stderr"]
        with running(argv, url, env=env) as server:
            yield server


def _whole(http: str, folder: str) -> str:
    places = "".join(f"{name}_temp_path {folder}/{name};\n" for name in _TEMPORARY)
    user = "user root;" if os.getuid() == 0 else ""
    return f"""
daemon off; worker_processes 1; pid {folder}/pid; {user}
events {{ worker_connections 8192; }}
http {{
access_log off; keepalive_requests 100000000; keepalive_timeout 300s; tcp_nodelay on;
{places}
{http}
}}
"""
