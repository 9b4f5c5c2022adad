"""The scalar kinds of the configuration: durations, sizes, addresses to listen on, URLs, tokens.

A validator's message never repeats the value: it may be a secret.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, PlainValidator, SecretStr, WithJsonSchema

from gateway.errors import StoreUnfit
from gateway.settings.expand import Expanded
from policies.target import BadTarget, canonical, split_authority

_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)(ms|s|m|h)\Z")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
_SIZE = re.compile(r"([0-9]{1,12})(B|KiB|MiB|GiB)\Z")
_BYTES = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,18})\Z")
_REDIS_SCHEMES = ("redis", "rediss", "redis+sentinel", "unix")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}\Z")


def parse_duration(value: object) -> float:
    """Seconds of ``250ms``, ``30s``, ``5m`` or ``24h``; ValueError otherwise."""
    match = _DURATION.match(value) if isinstance(value, str) else None
    if not match:
        raise ValueError("must be a duration such as `250ms`, `30s`, `5m` or `24h`")
    seconds = float(match[1]) * _SECONDS[match[2]]
    if not 0 < seconds <= 366 * 24 * 3600:
        raise ValueError("must be longer than zero and at most a year")
    return seconds


def parse_size(value: object) -> int:
    """Bytes of ``512B``, ``64KiB``, ``10MiB`` or ``1GiB``; ValueError otherwise."""
    match = _SIZE.match(value) if isinstance(value, str) else None
    if not match:
        raise ValueError("must be a size such as `64KiB` or `10MiB`")
    size = int(match[1]) * _BYTES[match[2]]
    if size == 0:
        raise ValueError("must be larger than zero")
    return size


class Address(NamedTuple):
    """Where to listen: a name or an address (IPv6 without brackets), and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_address(value: object) -> Address:
    """Read ``HOST:PORT``; port 0 lets the system choose. ValueError otherwise."""
    host, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    named = split_authority(host) if host else None
    if not colon or named is None or named[1] or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError("must be HOST:PORT, such as `127.0.0.1:8402`, `0.0.0.0:8402` or `[::1]:8402`")
    return Address(named[0].strip("[]"), int(port))


def parse_admin(value: object) -> Address | None:
    """As :func:`parse_address`, or None for ``off``."""
    if value == "off":
        return None
    try:
        return parse_address(value)
    except ValueError as error:
        raise ValueError(f"{error}, or `off`") from error


def parse_http_url(value: object) -> str:
    """An absolute http(s) URL with at most a base path, without its final slash; ValueError otherwise."""
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("must be an absolute URL such as `http://127.0.0.1:9000`")
    scheme, colon, rest = value.partition("://")
    if not colon or scheme.lower() not in ("http", "https"):
        raise ValueError("must start with `http://` or `https://`")
    if "?" in rest or "#" in rest:
        raise ValueError("must have no query and no fragment")
    authority, slash, path = rest.partition("/")
    if split_authority(authority) is None:
        raise ValueError("must name a host, and perhaps a port; user names do not belong here")
    return f"{scheme.lower()}://{authority}{_base_path(slash + path)}"


def _base_path(path: str) -> str:
    try:
        target = canonical(path or "/")
    except BadTarget as error:
        raise ValueError(f"has a base path that is not canonical: {error}") from error
    if target.path != (path or "/") or target.encoded:
        raise ValueError("has a base path that is not canonical")
    return target.path.rstrip("/")


def parse_rpc_url(value: object) -> str:
    """An http(s) URL of a JSON-RPC node; keys in its path or query are usual. ValueError otherwise."""
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("must be an http(s) URL")
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or parts.fragment or "@" in parts.netloc:
        raise ValueError("must be an http(s) URL without user name and fragment")
    if split_authority(parts.netloc) is None:
        raise ValueError("must name a host")
    return value


def parse_store_url(value: object) -> str:
    """``embedded``, or a Redis URL; ValueError otherwise."""
    if not isinstance(value, str):
        raise ValueError("must be `embedded` or a Redis URL")
    if value == "embedded":
        return value
    scheme, _, rest = value.partition("://")
    if scheme not in _REDIS_SCHEMES or not rest or rest.startswith("/") != (scheme == "unix"):
        raise ValueError(
            "must be `embedded`, `redis://`, `rediss://`, `redis+sentinel://` or `unix:///`, with a place"
        )
    # redis-py takes a while to import, and most gateways keep their payments themselves.
    from gateway.store.redis_url import parse

    try:
        parse(value)
    except StoreUnfit as error:
        raise ValueError(str(error).removeprefix("store.url ")) from error
    return value


def parse_eth_address(value: object) -> str:
    """Twenty bytes of hex; their checksum is judged where the address is used. ValueError otherwise."""
    if not isinstance(value, str) or not _ADDRESS.match(value):
        raise ValueError("must be an address: 0x and 40 hexadecimal digits")
    return str(value)


def parse_network_range(value: object) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """A CIDR range; ValueError otherwise."""
    if not isinstance(value, str):
        raise ValueError("must be a range of addresses such as `10.0.0.0/8`")
    try:
        return ipaddress.ip_network(value)
    except ValueError as error:
        raise ValueError("must be a range of addresses such as `10.0.0.0/8`, host bits zero") from error


def parse_micros(value: object) -> int:
    """``$1`` or ``$0.25`` in millionths of a dollar."""
    found = re.fullmatch(r"\$([0-9]{1,12})(?:\.([0-9]{1,6}))?", str(value))
    if not found:
        raise ValueError("must be dollars such as `$1` or `$0.25`, at most six decimals")
    return int(found[1]) * 1_000_000 + int((found[2] or "").ljust(6, "0"))


def parse_gwei(value: object) -> Decimal:
    """A positive number of gwei, exactly; ValueError otherwise."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not re.fullmatch(r"[0-9]{1,9}(?:\.[0-9]{1,9})?", text) or not Decimal(text):
        raise ValueError("must be a positive number of gwei, such as 50 or 0.5")
    return Decimal(text)


def _integer(value: object) -> object:
    return int(value) if isinstance(value, Expanded) and _INTEGER.match(value) else value


def _boolean(value: object) -> object:
    return value == "true" if isinstance(value, Expanded) and value in ("true", "false") else value


def _blank(value: object) -> object:
    """Empty text, as of an unset ``${TOKEN:-}``, is no value."""
    return None if value == "" else value


def _one_or_many(value: object) -> object:
    if isinstance(value, list):
        return tuple(value)
    return value if value is None or isinstance(value, dict) else (value,)


def _many(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _text(parse: Callable[[object], object], **schema: Any) -> tuple[PlainValidator, WithJsonSchema]:
    return PlainValidator(parse), WithJsonSchema({"type": "string"} | schema)


def whole_seconds(seconds: float) -> bool:
    """Whether a duration can be said in whole seconds, as x402 does."""
    return math.isclose(seconds, round(seconds)) and seconds >= 1


Micros = Annotated[int, *_text(parse_micros, pattern=r"^\$[0-9]+(\.[0-9]{1,6})?$|\$\{")]
Duration = Annotated[float, *_text(parse_duration, pattern=r"^[0-9]+(\.[0-9]+)?(ms|s|m|h)$|\$\{")]
Size = Annotated[int, *_text(parse_size, pattern=r"^[0-9]+(B|KiB|MiB|GiB)$|\$\{")]
Listen = Annotated[Address, *_text(parse_address)]
Admin = Annotated[Address | None, *_text(parse_admin)]
HttpUrl = Annotated[str, *_text(parse_http_url)]
RpcUrl = Annotated[str, *_text(parse_rpc_url)]
StoreUrl = Annotated[str, *_text(parse_store_url)]
EthAddress = Annotated[str, *_text(parse_eth_address)]
Range = Annotated[ipaddress.IPv4Network | ipaddress.IPv6Network, *_text(parse_network_range)]
Gwei = Annotated[Decimal, PlainValidator(parse_gwei), WithJsonSchema({"type": ["integer", "string"]})]
Whole = BeforeValidator(_integer)
Boolean = Annotated[bool, BeforeValidator(_boolean)]
Secret = SecretStr
Blank = BeforeValidator(_blank)
Many = BeforeValidator(_many)
OneOrMany = BeforeValidator(_one_or_many)
Positive = Annotated[int, Field(ge=1), Whole]
