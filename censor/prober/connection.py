"""One probe over one TCP connection of its own."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

from censor.prober.delays import Server
from censor.prober.probes import Probe
from censor.prober.results import End, ProbeResult
from sidedoor.settings import UsageError

_READ_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Source:
    """Where probes come from. bind: family -> address to connect from; mark: SO_MARK of every packet, 0: none."""

    bind: Mapping[int, str] = field(default_factory=dict)
    mark: int = 0

    def check(self) -> None:
        """Raises UsageError where this process may not connect so."""
        for family in self.bind or (socket.AF_INET,):
            try:
                self.open(family).close()
            except OSError as error:
                where = f" from {self.bind[family]}" if family in self.bind else ""
                marked = f" with the mark {self.mark:#x} (needs NET_ADMIN)" if self.mark else ""
                raise UsageError(f"probes cannot be sent{where}{marked}: {error.strerror}") from error

    def open(self, family: int) -> socket.socket:
        """A socket to connect with. Raises OSError."""
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.mark:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, self.mark)
            if family in self.bind:
                sock.bind((self.bind[family], 0))
        except OSError:
            sock.close()
            raise
        return sock


async def run_probe(
    probe: Probe,
    server: Server,
    timeout_seconds: float,
    source: Source,
    clock: Callable[[], float] = time.monotonic,
) -> ProbeResult:
    """Have the conversation; `timeout_seconds` for connecting, and as much for the rest. No OSError gets out."""
    return await _Conversation(probe, clock).run(server, timeout_seconds, source)


class _Conversation:
    def __init__(self, probe: Probe, clock: Callable[[], float]) -> None:
        self._probe = probe
        self._clock = clock
        self._answer_seconds: float | None = None
        self._start = clock()

    async def run(self, server: Server, timeout_seconds: float, source: Source) -> ProbeResult:
        end = await self._connect_and_talk(server, timeout_seconds, source)
        return self._probe.result(end, self._answer_seconds, self._clock() - self._start)

    async def _connect_and_talk(self, server: Server, timeout_seconds: float, source: Source) -> End:
        address, port = server
        family = socket.AF_INET6 if len(address) == 16 else socket.AF_INET
        try:
            sock = source.open(family)
        except OSError:  # no such family here, or the address to come from is gone
            return End.UNREACHABLE
        with sock:
            try:
                async with asyncio.timeout(timeout_seconds):
                    await asyncio.get_running_loop().sock_connect(sock, (str(ip_address(address)), port))
            except TimeoutError:
                return End.TIMEOUT
            except ConnectionRefusedError:
                return End.REFUSED
            except OSError:
                return End.UNREACHABLE
            try:
                async with asyncio.timeout(timeout_seconds):
                    return await self._talk(sock)
            except ConnectionError:
                return End.RST
            except OSError:  # TimeoutError, and what TCP says when it gives up
                return End.SILENCE

    async def _talk(self, sock: socket.socket) -> End:
        loop = asyncio.get_running_loop()
        data = self._probe.begin()
        while not self._probe.done:
            if data:
                await loop.sock_sendall(sock, data)
            received = await loop.sock_recv(sock, _READ_BYTES)
            if not received:
                return End.FIN
            if self._answer_seconds is None:
                self._answer_seconds = self._clock() - self._start
            data = self._probe.receive(received)
        return End.PROBER
