"""A connection to the origin: TLS and WebSocket on top of a connected socket, and records on top of those."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

from client.messages import LIMIT_BYTES, PATH, Record, RecordError, decode, encode
from client.routes import Attempt
from client.routes.failures import failure_of
from client.routes.tcp import close_by_abort, endpoint
from client.routes.tcp_info import quiet_seconds
from client.settings import DialSettings, EndSettings, OriginAddress
from sidedoor.settings import SettingsError


def tls_context(settings: EndSettings) -> ssl.SSLContext:
    """A context that trusts `ca_file` alone, TLS 1.2 or later. Raises SettingsError when a file cannot be used."""
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except OSError as error:
        raise SettingsError(f"ca_file {settings.ca_file}: cannot be used: {error.strerror or error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if settings.keylog_file is not None:
        try:
            context.keylog_filename = settings.keylog_file
        except OSError as error:
            raise SettingsError(f"keylog_file {settings.keylog_file}: cannot be written: {error.strerror}") from error
    return context


class _Handler(ResponseHandler):
    """aiohttp's protocol, which forgets how the connection was lost; this one remembers."""

    lost: BaseException | None = None

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost = exc
        super().connection_lost(exc)


class _Connector(aiohttp.BaseConnector):
    """Hands out the one connection that stands already."""

    def __init__(self, handler: ResponseHandler) -> None:
        super().__init__(force_close=True)
        self._handler = handler

    async def _create_connection(self, *_: Any) -> ResponseHandler:
        return self._handler


class Connection:
    """An open WebSocket to the origin. One task receives, one sends; `abort` may come from anywhere."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        websocket: aiohttp.ClientWebSocketResponse,
        handler: _Handler,
        transport: asyncio.Transport,
        attempt: Attempt,
    ) -> None:
        self._session = session
        self._websocket = websocket
        self._handler = handler
        self._transport = transport
        self._socket = transport.get_extra_info("socket")
        self.attempt = attempt
        self.local = endpoint(transport.get_extra_info("sockname"))

    async def send(self, record: Record) -> None:
        """Write the record to the transport at once; waits only when the transport is full. Raises ConnectionError."""
        await self._websocket.send_bytes(encode(record))

    async def receive(self) -> Record | None:
        """The next record; None at the end, whatever its kind (then `failure` tells)."""
        frame = await self._websocket.receive()
        if frame.type is not aiohttp.WSMsgType.BINARY:
            return None
        try:
            return decode(frame.data)
        except RecordError:
            self.abort()
            return None

    @property
    def failure(self) -> str:
        """How the connection ended, in OONI's words: `eof_error` for an orderly end."""
        return "eof_error" if self._handler.lost is None else failure_of(self._handler.lost)

    @property
    def quiet_seconds(self) -> float | None:
        """How long ago TCP's last acknowledgement came in; None where the system does not tell."""
        return quiet_seconds(self._socket)

    def abort(self) -> None:
        """End it now with an RST. `close` still has to be awaited."""
        close_by_abort(self._socket)
        self._end_transport()

    async def close(self, *, timeout_seconds: float = 1.0) -> None:
        """End it in order, or with an RST when that takes longer than the timeout; release everything."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._websocket.close()
        except TimeoutError:
            self.abort()
        finally:
            self._end_transport()
            await self._session.close()

    def _end_transport(self) -> None:
        try:
            self._transport.abort()
        except AttributeError:
            # Seen with Debian 12's Python 3.11.2: a TLS transport that was closed twice has forgotten the protocol that
            # could abort it. The transport below it ends with its socket.
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


async def open_connection(
    sock: socket.socket, origin: OriginAddress, context: ssl.SSLContext, settings: DialSettings, attempt: Attempt
) -> Connection:
    """The stages `tls` and `upgrade` on a connected socket, which is this function's from now on. Raises DialError."""
    loop = asyncio.get_running_loop()
    try:
        async with attempt.stage("tls"), asyncio.timeout(settings.tls_seconds):
            transport, handler = await loop.create_connection(
                lambda: _Handler(loop), sock=sock, ssl=context, server_hostname=origin.host
            )
    except BaseException:
        sock.close()
        raise
    session = aiohttp.ClientSession(connector=_Connector(handler), cookie_jar=aiohttp.DummyCookieJar())
    try:
        async with attempt.stage("upgrade"), asyncio.timeout(settings.upgrade_seconds):
            websocket = await session.ws_connect(
                f"https://{origin.host}:{origin.port}{PATH}", max_msg_size=LIMIT_BYTES, autoclose=True
            )
    except BaseException:
        transport.abort()
        await session.close()
        raise
    close_by_abort(sock, on=False)
    return Connection(session, websocket, handler, transport, attempt)
