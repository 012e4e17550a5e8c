"""The route through a bridge, in a stream of random-looking bytes (`client.obfuscation`, `client.bridge`)."""

from __future__ import annotations

import asyncio
import time
from random import SystemRandom

from client.obfuscation import ClientCodec, ObfuscationError
from client.routes import Attempt, tcp
from client.routes.connection import Connection, DialContext, open_connection
from client.routes.layer import Layer
from client.routes.settings import ObfuscatedRoute, parse_key
from client.routes.stream import open_stream


class Obfuscated:
    """Implements `client.routes.Route`. There is no stage of its own: a bridge that is none shows in silence at TLS."""

    def __init__(self, route: ObfuscatedRoute, dial: DialContext) -> None:
        self.name = route.name
        self._route = route
        self._key = parse_key(route.key)
        self._dial = dial

    async def dial(self, attempt: Attempt) -> Connection:
        async with attempt.stage("dns"):
            addresses = await self._dial.resolver.resolve(self._route.host)
        async with attempt.stage("tcp"):
            sock = await tcp.connect(addresses, self._route.port, self._dial.settings, attempt)
            stream = await open_stream(sock)
        codec = ClientCodec(self._key, SystemRandom(), time.time())
        return await open_connection(_Obfuscator(stream.transport, codec), self._dial, attempt)


class _Obfuscator(Layer):
    def __init__(self, below: asyncio.Transport, codec: ClientCodec) -> None:
        super().__init__(below)
        self._codec = codec

    def write(self, data: bytes | bytearray | memoryview) -> None:
        super().write(self._codec.seal(bytes(data)))

    def data_received(self, data: bytes) -> None:
        try:
            opened = self._codec.open(data)
        except ObfuscationError as error:
            self._fail(error)
        else:
            self._deliver(opened)
