"""A connection to the origin: TLS and WebSocket on top of a connected socket, and records on top of those."""

from __future__ import annotations

import asyncio
import asyncio.trsock
import contextlib
import socket
import ssl
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

from client.messages import LIMIT_BYTES, PATH, Record, RecordError, decode, encode
from client.routes import Attempt
from client.routes.failures import failure_of
from client.routes.resolver import Resolver
from client.routes.tcp import close_by_abort, endpoint
from client.routes.tcp_info import quiet_seconds
from client.settings import DialSettings, EndSettings, OriginAddress
from sidedoor.settings import SettingsError


def tls_context(settings: EndSettings, ca_file: str | None = None, *, http: bool = True) -> ssl.SSLContext:
    """A context that trusts `ca_file` alone (None: the settings'), TLS 1.2 or later; `http`: ALPN asks for HTTP/1.1.

    Raises SettingsError when a file cannot be used.
    """
    ca_file = settings.ca_file if ca_file is None else ca_file
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise SettingsError(f"ca_file {ca_file}: cannot be used: {error.strerror or error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if http:
        context.set_alpn_protocols(["http/1.1"])
    if settings.keylog_file is not None:
        try:
            context.keylog_filename = settings.keylog_file
        except OSError as error:
            raise SettingsError(f"keylog_file {settings.keylog_file}: cannot be written: {error.strerror}") from error
    return context


@dataclass(frozen=True, slots=True)
class DialContext:
    """What the dials of all routes have in common. `tls`: the context for the origin."""

    end: EndSettings
    tls: ssl.SSLContext
    resolver: Resolver

    @property
    def origin(self) -> OriginAddress:
        return self.end.origin

    @property
    def settings(self) -> DialSettings:
        return self.end.dial


class Handler(ResponseHandler):
    """aiohttp's protocol, which forgets how the connection was lost; this one remembers."""

    lost: BaseException | None = None

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost = exc
        super().connection_lost(exc)


class Connector(aiohttp.BaseConnector):
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
        handler: Handler,
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
        _end(self._transport, self._socket)

    async def close(self, *, timeout_seconds: float = 1.0) -> None:
        """End it in order, or with an RST when that takes longer than the timeout; release everything."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._websocket.close()
        except TimeoutError:
            self.abort()
        finally:
            _end(self._transport, self._socket)
            await self._session.close()


def _end(transport: asyncio.Transport, sock: asyncio.trsock.TransportSocket) -> None:
    try:
        transport.abort()
    except AttributeError:
        # Seen with Debian 12's Python 3.11.2: a TLS transport that was closed twice, or by its peer, has forgotten the
        # protocol that could abort it. The transport below it ends with its socket.
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


async def open_connection(link: socket.socket | asyncio.Transport, dial: DialContext, attempt: Attempt) -> Connection:
    """The stages `tls` and `upgrade` on a connected link, which is this function's from now on. Raises DialError.

    `link`: a socket, or a transport over one whose SO_LINGER is 0 (`client.routes.tcp`).
    """
    origin, settings = dial.origin, dial.settings
    try:
        async with attempt.stage("tls"), asyncio.timeout(settings.tls_seconds):
            transport, handler = await secure(link, dial.tls, origin.host)
    except BaseException:
        _drop(link)
        raise
    sock = transport.get_extra_info("socket")
    session = aiohttp.ClientSession(connector=Connector(handler), cookie_jar=aiohttp.DummyCookieJar())
    try:
        async with attempt.stage("upgrade"), asyncio.timeout(settings.upgrade_seconds):
            websocket = await session.ws_connect(
                f"https://{origin.host}:{origin.port}{PATH}", max_msg_size=LIMIT_BYTES, autoclose=True
            )
    except BaseException:
        _end(transport, sock)
        await session.close()
        raise
    close_by_abort(sock, on=False)
    return Connection(session, websocket, handler, transport, attempt)


async def secure(
    link: socket.socket | asyncio.Transport, context: ssl.SSLContext, server_name: str
) -> tuple[asyncio.Transport, Handler]:
    """TLS on a link, with aiohttp's protocol above it; the handshake is done. Raises OSError (ssl.SSLError is one)."""
    loop = asyncio.get_running_loop()
    handler = Handler(loop)
    if isinstance(link, socket.socket):
        transport, _ = await loop.create_connection(
            lambda: handler, sock=link, ssl=context, server_hostname=server_name
        )
        return transport, handler
    if link.is_closing():  # The other end has closed it already: TLS would wait for news that has come before.
        raise EOFError
    upgraded = await loop.start_tls(link, handler, context, server_hostname=server_name)
    assert upgraded is not None
    handler.connection_made(upgraded)
    return upgraded, handler


def _drop(link: socket.socket | asyncio.Transport) -> None:
    if isinstance(link, socket.socket):
        link.close()
    else:
        link.abort()
