"""Where a Redis is, from its URL.

``redis://[user:password@]host[:port][/db]`` · ``rediss://`` (TLS) · ``unix://[user:password@]/path[?db=0]``
· ``redis+sentinel://[user:password@]host[:port],host[:port].../service[/db]``

Options after ``?``: ``db``; for TLS ``ssl_ca_certs``, ``ssl_certfile``, ``ssl_keyfile`` and
``ssl_cert_reqs`` (``required`` or ``none``); for Sentinel ``sentinel_username``, ``sentinel_password``.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from redis.asyncio.connection import parse_url

from gateway.errors import StoreUnfit

Place = tuple[str, int] | str
"""Host and port, or the path of a unix socket."""

SCHEMES = ("redis", "rediss", "unix", "redis+sentinel")
OPTIONS = frozenset(
    {
        "db",
        "ssl_ca_certs",
        "ssl_certfile",
        "ssl_keyfile",
        "ssl_cert_reqs",
        "sentinel_username",
        "sentinel_password",
    }
)


@dataclass(frozen=True, slots=True)
class Login:
    """Never shown: its parts are secrets."""

    username: str | None = field(repr=False)
    password: str | None = field(repr=False)

    @property
    def command(self) -> tuple[str, ...] | None:
        if self.password is None:
            return None
        return ("AUTH", self.password) if self.username is None else ("AUTH", self.username, self.password)


@dataclass(frozen=True, slots=True)
class Address:
    """A Redis server, or the sentinels that know it (then ``service`` is its name there)."""

    places: tuple[Place, ...]
    login: Login
    database: int = 0
    service: str | None = None
    sentinel_login: Login = field(default_factory=lambda: Login(None, None))
    tls: ssl.SSLContext | None = None


def show(place: Place) -> str:
    """A place for people; holds no secret."""
    return place if isinstance(place, str) else f"{place[0]}:{place[1]}"


def parse(url: str) -> Address:
    """StoreUnfit names what cannot be understood, never the URL, which may hold a password."""
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        _check(parts, options)
        return (
            _sentinels(parts, options) if parts.scheme == "redis+sentinel" else _server(url, parts, options)
        )
    except ValueError as error:
        raise StoreUnfit("store.url cannot be read: wrong port, database number or brackets") from error


def _check(parts: SplitResult, options: dict[str, str]) -> None:
    if parts.scheme not in SCHEMES:
        names = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise StoreUnfit(f"store.url must be embedded or begin with one of {names}")
    if unknown := options.keys() - OPTIONS:
        raise StoreUnfit(f"store.url has an unknown option: {', '.join(sorted(unknown))}")


def _server(url: str, parts: SplitResult, options: dict[str, str]) -> Address:
    """As redis-py reads it, which takes a database it cannot read for the first one."""
    if parts.scheme != "unix" and not (parts.path.strip("/") or "0").isdecimal():
        raise ValueError("not a database number")
    found = parse_url(url)
    place: Place = (
        found["path"] if parts.scheme == "unix" else (found.get("host", "localhost"), found.get("port", 6379))
    )
    login = Login(found.get("username"), found.get("password"))
    tls = _tls(options) if parts.scheme == "rediss" else None
    return Address((place,), login, found.get("db", 0), tls=tls)


def _sentinels(parts: SplitResult, options: dict[str, str]) -> Address:
    """redis-py knows no URL for these."""
    userinfo, _, hosts = parts.netloc.rpartition("@")
    login = _login(userinfo)
    path = [unquote(part) for part in parts.path.split("/") if part]
    if not path:
        raise StoreUnfit("store.url names no service: redis+sentinel://host:26379/SERVICE/0")
    return Address(
        tuple(_place(host) for host in hosts.split(",")),
        login,
        _database(path[1] if len(path) > 1 else options.get("db")),
        service=path[0],
        sentinel_login=Login(options.get("sentinel_username"), options.get("sentinel_password")),
    )


def _login(userinfo: str) -> Login:
    username, _, password = userinfo.partition(":")
    return Login(unquote(username) or None, unquote(password) if password else None)


def _database(text: str | None) -> int:
    return int(text) if text else 0


def _place(host: str) -> Place:
    one = urlsplit(f"//{host}")
    return (one.hostname or "localhost", one.port or 26379)


def _tls(options: dict[str, str]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
        if options.get("ssl_cert_reqs") == "none":
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if certificate := options.get("ssl_certfile"):
            context.load_cert_chain(certificate, options.get("ssl_keyfile"))
    except OSError as error:
        raise StoreUnfit(f"store.url: a certificate cannot be read: {error.strerror}") from error
    return context
