"""What a case plays on: connections to the server, targets behind it. Nothing waits longer than the case may take."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
from types import TracebackType
from typing import Self

from lab.benchmarks.conformance.outcome import NotTested, Wrong
from lab.benchmarks.peers import Login

CASE_SECONDS = 3.0
ANSWER_SECONDS = 1.5
"""How long an answer is waited for."""
NOTHING_SECONDS = 0.25
"""How long nothing has to come, for "nothing comes" to be believed."""
LOCALHOST, LOCALHOST6 = "127.0.0.1", "::1"
HANDSHAKE_SECONDS = 1.0
"""The deadline of handshakes where a case needs a short one, in servers that have a setting for it."""


class Clock:
    """The time that is left to a case."""

    def __init__(self, seconds: float = CASE_SECONDS) -> None:
        self._end = time.monotonic() + seconds

    def left(self, most: float = ANSWER_SECONDS) -> float:
        """Seconds to wait, `most` of them; never none at all, so that what is there already is seen."""
        return max(0.001, min(most, self._end - time.monotonic()))


class Connection:
    """A TCP connection, blocking, as one end of it sees it. What does not come in time raises Wrong."""

    def __init__(self, sock: socket.socket, clock: Clock) -> None:
        self.sock = sock
        self._clock = clock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def local(self) -> tuple[str, int]:
        host, port = self.sock.getsockname()[:2]
        return host, port

    @property
    def remote(self) -> tuple[str, int]:
        host, port = self.sock.getpeername()[:2]
        return host, port

    def send(self, data: bytes) -> None:
        """All of `data`, in as few segments as it takes."""
        self.sock.settimeout(self._clock.left())
        try:
            self.sock.sendall(data)
        except TimeoutError:
            raise Wrong(f"did not take {len(data)} bytes") from None

    def read(self, size: int, what: str) -> bytes:
        """Exactly so many bytes; `what` they are is for the reason."""
        data = b""
        while len(data) < size:
            self.sock.settimeout(self._clock.left())
            try:
                more = self.sock.recv(size - len(data))
            except TimeoutError:
                raise Wrong(f"{what}: nothing came{_after(data)}") from None
            except ConnectionResetError:
                raise Wrong(f"{what}: a reset came{_after(data)}") from None
            if not more:
                raise Wrong(f"{what}: the connection was closed{_after(data)}")
            data += more
        return data

    def expect(self, data: bytes, what: str) -> None:
        """These bytes come next."""
        got = self.read(len(data), what)
        if got != data:
            raise Wrong(f"{what}: {_shown(got)} came, not {_shown(data)}")

    def expect_nothing(self, what: str, seconds: float = NOTHING_SECONDS) -> None:
        """Neither bytes nor an end come."""
        self.sock.settimeout(self._clock.left(seconds))
        with contextlib.suppress(TimeoutError):
            data = self.sock.recv(100)
            raise Wrong(f"{what}: {_shown(data)} came" if data else f"{what}: the connection was closed")

    def end(self, seconds: float = ANSWER_SECONDS) -> tuple[bytes, str]:
        """What still comes, and how it ends: "closed", "reset", "open"."""
        data, until = b"", time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.sock.settimeout(self._clock.left(left))
            try:
                more = self.sock.recv(65536)
            except TimeoutError:
                break
            except ConnectionResetError:
                return data, "reset"
            if not more:
                return data, "closed"
            data += more
        return data, "open"

    def hang_up(self) -> str:
        """Wait for whatever comes next: "closed" or "reset" if it is an end, else nothing. Bytes stay to be read."""
        self.sock.settimeout(self._clock.left())
        try:
            return "" if self.sock.recv(1, socket.MSG_PEEK) else "closed"
        except TimeoutError:
            return ""
        except ConnectionResetError:
            return "reset"

    def await_lookup(self) -> None:
        """Wait for an answer for which the server looks a name up, as long as the case may last. Raises NotTested where
        nothing comes: the silence may be that of this host's resolver."""
        if not select.select([self.sock], [], [], self._clock.left(CASE_SECONDS))[0]:
            raise NotTested("no answer; the look-up of the name may be what takes so long on this host")

    def expect_end(self, what: str) -> None:
        """The connection ends, and nothing comes before that."""
        data, end = self.end()
        if data:
            raise Wrong(f"{what}: {_shown(data)} came behind it")
        if end == "open":
            raise Wrong(f"{what}: the connection was left open")

    def finish(self) -> None:
        """Send a FIN."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Send an RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class Target:
    """A listening TCP socket behind the server."""

    def __init__(self, sock: socket.socket, stage: Stage) -> None:
        self._sock, self._stage = sock, stage
        self.host, self.port = sock.getsockname()[:2]

    def accept(self) -> Connection:
        """The server's connection."""
        self._sock.settimeout(self._stage.clock.left())
        try:
            sock, _ = self._sock.accept()
        except TimeoutError:
            raise Wrong("no connection came to the target") from None
        return self._stage.adopt(sock)

    def expect_nobody(self, what: str, seconds: float = NOTHING_SECONDS) -> None:
        """No connection comes."""
        if select.select([self._sock], [], [], self._stage.clock.left(seconds))[0]:
            raise Wrong(f"{what}: the target was connected to")


class Datagrams:
    """A UDP socket: the client's, or a target's."""

    def __init__(self, sock: socket.socket, clock: Clock) -> None:
        self._sock, self._clock = sock, clock
        self.host, self.port = sock.getsockname()[:2]

    def send(self, data: bytes, to: tuple[str, int]) -> None:
        """One datagram; that nobody listens there is no error."""
        with contextlib.suppress(ConnectionRefusedError):
            self._sock.sendto(data, to)

    def receive(self, what: str) -> tuple[bytes, tuple[str, int]]:
        """The next datagram, and whose it is."""
        if (got := self.receive_any(self._clock.left())) is None:
            raise Wrong(f"{what}: no datagram came")
        return got

    def receive_any(self, seconds: float = NOTHING_SECONDS) -> tuple[bytes, tuple[str, int]] | None:
        """The same; None: none came in so many seconds."""
        self._sock.settimeout(self._clock.left(seconds))
        try:
            data, where = self._sock.recvfrom(65535)
        except TimeoutError:
            return None
        return data, where[:2]


class Stage:
    """The stage of one case with the server on `port` of 127.0.0.1, which lets in `login` (None: everybody).

    `deadline_set`: the server has a setting for the deadline of handshakes. All that a case opened is closed with it.
    """

    def __init__(self, port: int, login: Login | None = None, *, deadline_set: bool = True) -> None:
        self.port, self.login, self.deadline_set, self.clock = port, login, deadline_set, Clock()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def adopt(self, sock: socket.socket) -> Connection:
        """A connection that is closed with the stage."""
        self._stack.enter_context(sock)
        return Connection(sock, self.clock)

    def connect(self) -> Connection:
        """A new client's connection to the server."""
        return self.call((LOCALHOST, self.port))

    def call(self, where: tuple[str, int], source: str = "") -> Connection:
        """A connection to anywhere on this host, from the address `source`."""
        try:
            sock = socket.create_connection(where, self.clock.left(), source_address=(source, 0) if source else None)
        except TimeoutError:
            raise Wrong("did not accept a connection") from None
        return self.adopt(sock)

    def listen(self, host: str = LOCALHOST, backlog: int = 256) -> Target:
        """A target. Raises NotTested where this host has no such address."""
        sock = self._bound(socket.SOCK_STREAM, host)
        sock.listen(backlog)
        return Target(sock, self)

    def datagrams(self, host: str = LOCALHOST) -> Datagrams:
        """A UDP socket. Raises NotTested where this host has no such address."""
        return Datagrams(self._bound(socket.SOCK_DGRAM, host), self.clock)

    def unused_port(self) -> int:
        """A port of 127.0.0.1 that refuses connections; nobody else gets it while the case lasts."""
        port: int = self._bound(socket.SOCK_STREAM, LOCALHOST).getsockname()[1]
        return port

    def _bound(self, kind: socket.SocketKind, host: str) -> socket.socket:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = self._stack.enter_context(socket.socket(family, kind))
        try:
            sock.bind((host, 0))
        except OSError as error:
            raise NotTested(f"this host has no {host}: {error.strerror}") from error
        return sock


def _after(data: bytes) -> str:
    return f" after {_shown(data)}" if data else ""


def _shown(data: bytes) -> str:
    """Bytes for a reason: the first of them, in hexadecimal."""
    return f"{data[:12].hex(' ')}{f' ... ({len(data)} bytes)' if len(data) > 12 else ''}"
