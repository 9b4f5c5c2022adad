"""A client that can be watched at every byte: it speaks, and reads one piece of the answer at a time."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from kit.raw import connect

PATIENCE = 10.0


@dataclass(frozen=True)
class Head:
    """A status line and its header."""

    status: int
    version: str
    lines: tuple[tuple[str, str], ...]

    def all(self, name: str) -> list[str]:
        """Every value of that header, in order."""
        return [value for key, value in self.lines if key.lower() == name.lower()]

    def __getitem__(self, name: str) -> str:
        """The value of a header that came exactly once."""
        (value,) = self.all(name)
        return value

    def __contains__(self, name: str) -> bool:
        return bool(self.all(name))


@dataclass(frozen=True)
class Whole:
    """A complete answer."""

    head: Head
    body: bytes

    @property
    def status(self) -> int:
        """The status code."""
        return self.head.status


class Speaker:
    """One side of a connection. Reading waits ``PATIENCE`` seconds, then fails with TimeoutError."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.socket.settimeout(PATIENCE)
        self._read = b""

    def say(self, data: bytes) -> Self:
        """Sends these bytes."""
        self.socket.sendall(data)
        return self

    def until(self, end: bytes) -> bytes:
        """Everything up to and including ``end``."""
        while end not in self._read:
            self._more()
        cut = self._read.index(end) + len(end)
        return self._take(cut)

    def exactly(self, size: int) -> bytes:
        """That many bytes."""
        pieces = [self._read]
        missing = size - len(self._read)
        while missing > 0:
            pieces.append(self._receive())
            missing -= len(pieces[-1])
        self._read = b"".join(pieces)
        return self._take(size)

    def rest(self) -> bytes:
        """Everything until the other side closes in order; ConnectionResetError if it does not."""
        pieces = [self._read]
        while data := self.socket.recv(1 << 20):
            pieces.append(data)
        self._read = b""
        return b"".join(pieces)

    def closed(self, within: float = PATIENCE) -> bool:
        """Whether the other side ends the connection, and says nothing more, within that time."""
        self.socket.settimeout(within)
        try:
            return not self._read and self.socket.recv(1) == b""
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        finally:
            self.socket.settimeout(PATIENCE)

    def silent(self, seconds: float) -> bool:
        """Whether nothing comes for that long."""
        self.socket.settimeout(seconds)
        try:
            self._read += self.socket.recv(1 << 16)
            return False
        except TimeoutError:
            return not self._read
        finally:
            self.socket.settimeout(PATIENCE)

    def half_close(self) -> Self:
        """Says that nothing more will be sent."""
        self.socket.shutdown(socket.SHUT_WR)
        return self

    def hang_up(self) -> None:
        """Ends the connection at once with a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _take(self, size: int) -> bytes:
        taken, self._read = self._read[:size], self._read[size:]
        return taken

    def _more(self) -> None:
        self._read += self._receive()

    def _receive(self) -> bytes:
        data = self.socket.recv(1 << 20)
        if not data:
            raise EOFError(f"closed after {self._read[:200]!r}")
        return data

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()


class Dialogue(Speaker):
    """The client's side."""

    def __init__(self, url: str, receive_buffer: int | None = None) -> None:
        connection = connect(url)
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        super().__init__(connection)

    def ask(self, method: str, path: str, body: bytes = b"", version: str = "1.1", **headers: str) -> Self:
        """Sends one whole request; ``Content_Type`` stands for ``Content-Type``."""
        return self.say(request(method, path, headers, body, version))

    def head(self) -> Head:
        """The next head, interim ones included."""
        lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")[:-2]
        version, status = lines[0].split(" ")[:2]
        pairs = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
        return Head(int(status), version, tuple(pairs))

    def whole(self, method: str = "GET") -> Whole:
        """The next final answer and its body, by its framing."""
        head = self.head()
        while 100 <= head.status < 200:
            head = self.head()
        return Whole(head, self._body(head, method))

    def _body(self, head: Head, method: str) -> bytes:
        if method == "HEAD" or head.status in (204, 304):
            return b""
        if "Transfer-Encoding" in head:
            return b"".join(iter(self.chunk, b""))
        return self.exactly(int(head["Content-Length"])) if "Content-Length" in head else self.rest()

    def chunk(self) -> bytes:
        """The next chunk of a chunked body, ``b""`` for the last one."""
        size = int(self.until(b"\r\n"), 16)
        return self.exactly(size + 2)[:-2]


class BareUpstream:
    """A listening socket and nothing else: the test itself is the upstream."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE)

    @property
    def url(self) -> str:
        """Base URL, without a slash at the end."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def accept(self) -> Speaker:
        """The next connection."""
        return Speaker(self._listener.accept()[0])

    def quiet(self, seconds: float) -> bool:
        """Whether nobody connects for that long."""
        self._listener.settimeout(seconds)
        try:
            self._listener.accept()[0].close()
            return False
        except TimeoutError:
            return True
        finally:
            self._listener.settimeout(PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()


def request(
    method: str,
    target: str,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    version: str = "1.1",
) -> bytes:
    """A request's bytes: Host and, with a body, Content-Length are filled in; values go out as Latin-1."""
    named = {name.replace("_", "-"): value for name, value in (headers or {}).items()}
    filled = {"Host": "gw.test", **named}
    if body:
        filled.setdefault("Content-Length", str(len(body)))
    lines = "".join(f"{name}: {value}\r\n" for name, value in filled.items())
    return f"{method} {target} HTTP/{version}\r\n{lines}\r\n".encode("latin-1") + body
