"""Where a URL leads: scheme, host and port (RFC 9110 section 4.3.1)."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """Connections are kept for each."""

    host: str
    """A name in ASCII, or an address without brackets."""
    port: int
    tls: bool

    @classmethod
    def of(cls, url: str) -> Self:
        """ValueError unless the URL begins with http(s):// and names a host."""
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError("neither an http nor an https URL")
        host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode()
        return cls(host, _PORTS[parts.scheme] if parts.port is None else parts.port, parts.scheme == "https")

    @property
    def authority(self) -> str:
        """What belongs into ``Host``: without the scheme's own port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS["https" if self.tls else "http"] else f"{host}:{self.port}"

    @property
    def literal(self) -> bool:
        """Whether the host is an address already."""
        try:
            ipaddress.ip_address(self.host.partition("%")[0])
        except ValueError:
            return False
        return True
