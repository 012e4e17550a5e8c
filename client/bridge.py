"""The bridge: the far end of the obfuscated route. It carries streams of its key to one origin, and is silent else.

To whoever has not the key it is a port that takes connections and bytes, and says nothing: it waits for the other side
to close, for the same time whatever was wrong (Frolov et al., "Detecting Probe-resistant Proxies", NDSS 2020: when and
how a server closes is what tells them apart).
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence
from random import SystemRandom

from client.obfuscation import BridgeCodec, ObfuscationError, SaltMemory
from client.origin import bind_all
from client.routes.settings import parse_key
from client.routes.tcp import close_by_abort, endpoint
from client.settings import BridgeSettings, OriginAddress
from sidedoor.events import Emit, discard

SILENCE_SECONDS = (120.0, 600.0)
"""How long somebody may be silent or talk nonsense; each bridge chooses a time between these, one for all."""
CONNECT_SECONDS = 10.0
CHUNK_BYTES = 65536


async def serve_bridge(
    settings: BridgeSettings,
    emit: Emit = discard,
    *,
    ready: asyncio.Event | None = None,
    listeners: Sequence[socket.socket] | None = None,
) -> None:
    """Serve until cancelled. `ready` is set, and `bridge_listening` emitted, once all addresses are bound.

    `listeners`: what `bind_all` made of `settings.listen` before, this function's from now on. Raises SettingsError for
    a bad address, UsageError when an address cannot be bound.
    """
    if listeners is None:
        listeners = bind_all(settings.listen)
    try:
        async with asyncio.TaskGroup() as group:
            bridge = _Bridge(settings, emit)
            for sock in listeners:
                sock.setblocking(False)
                group.create_task(bridge.accept(sock, group), name=f"bridge {endpoint(sock.getsockname())}")
            emit("bridge_listening", addresses=[endpoint(sock.getsockname()) for sock in listeners])
            if ready is not None:
                ready.set()
    finally:
        for sock in listeners:
            sock.close()


class _Bridge:
    def __init__(self, settings: BridgeSettings, emit: Emit) -> None:
        self._key = parse_key(settings.key)
        self._target = settings.target
        self._limit = settings.limit_connections
        self._emit = emit
        self._random = SystemRandom()
        self._salts = SaltMemory(time.time())
        self._silence_seconds = self._random.uniform(*SILENCE_SECONDS)
        self._open = 0

    async def accept(self, listener: socket.socket, group: asyncio.TaskGroup) -> None:
        """Take connections until cancelled; those over the limit are closed at once."""
        loop = asyncio.get_running_loop()
        while True:
            sock, _ = await loop.sock_accept(listener)
            if self._open >= self._limit:
                sock.close()
                continue
            self._open += 1
            group.create_task(self._serve(sock), name="bridge connection")

    async def _serve(self, sock: socket.socket) -> None:
        """One connection. However it ends, it is over for this one alone."""
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            reader, writer = await asyncio.open_connection(sock=sock)
            try:
                await self._greet(reader, writer)
            finally:
                writer.close()
        except OSError:
            pass
        finally:
            self._open -= 1

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        codec = BridgeCodec(self._key, self._random, self._admit)
        first = b""
        try:
            async with asyncio.timeout(self._silence_seconds):
                try:
                    while not codec.admitted:
                        data = await reader.read(CHUNK_BYTES)
                        if not data:
                            return
                        first = codec.open(data)
                except ObfuscationError as error:
                    self._emit("bridge_refused", reason=str(error))
                    while await reader.read(CHUNK_BYTES):
                        pass
                    return
        except TimeoutError:
            return
        await _carry(codec, first, reader, writer, self._target)

    def _admit(self, salt: bytes, sent_at: float) -> bool:
        return self._salts.admit(salt, sent_at, time.time())


async def _carry(
    codec: BridgeCodec, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: OriginAddress
) -> None:
    """Both directions, until both have ended or one is lost: then the other is reset, too."""
    async with asyncio.timeout(CONNECT_SECONDS):
        far_reader, far_writer = await asyncio.open_connection(target.host, target.port)
    try:
        far_writer.write(first)
        async with asyncio.TaskGroup() as group:
            group.create_task(_up(codec, reader, far_writer), name="bridge up")
            group.create_task(_down(codec, far_reader, writer), name="bridge down")
    except* (OSError, ObfuscationError):
        for end in (writer, far_writer):
            close_by_abort(end.get_extra_info("socket"))
            end.transport.abort()
    finally:
        far_writer.close()


async def _up(codec: BridgeCodec, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK_BYTES):
        writer.write(codec.open(data))
        await writer.drain()
    writer.write_eof()


async def _down(codec: BridgeCodec, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK_BYTES):
        writer.write(codec.seal(data))
        await writer.drain()
    writer.write_eof()
