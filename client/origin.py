"""The origin server: TLS and WebSocket around the switchboard. The same address serves `GET /` to innocent visitors."""

from __future__ import annotations

import asyncio
import itertools
import socket
import ssl
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack

from aiohttp import WSCloseCode, WSMsgType, web

from client.list_shelf import ListShelf
from client.messages import LIMIT_BYTES, PATH, ProxyList, ProxyListWanted, Record, RecordError, decode, encode
from client.routes.tcp import endpoint
from client.settings import OriginSettings
from client.switchboard import Misbehaviour, Outgoing, Switchboard
from sidedoor.events import Emit, discard
from sidedoor.settings import SettingsError, UsageError

QUEUE_RECORDS = 8192
"""Records that wait for one connection; a connection that lets more pile up is closed (its peer comes back)."""
HEARTBEAT_SECONDS = 30.0
"""WebSocket pings to each end, which find connections whose other end has gone without a word."""
USER_TIMEOUT_MILLISECONDS = 10_000
"""TCP_USER_TIMEOUT (RFC 5482): how long unacknowledged data may hang before the connection is given up.
Short, since nothing is lost by it: a client that went on by another path does not answer on the old one any more."""
LISTEN_BACKLOG = 128
"""Connections that wait to be accepted."""
GREETING = "This is the messenger's origin. It is up.\n"


def bind_all(listen: Sequence[str]) -> list[socket.socket]:
    """A listening socket for each "HOST:PORT". Raises SettingsError for a bad address, UsageError for a taken one."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(_listening(text)) for text in listen]
        stack.pop_all()
        return sockets


async def serve_origin(
    settings: OriginSettings,
    emit: Emit = discard,
    *,
    ready: asyncio.Event | None = None,
    listeners: Sequence[socket.socket] | None = None,
) -> None:
    """Serve until cancelled. `ready` is set, and `origin_listening` emitted, once all addresses are bound.

    `listeners`: what `bind_all` made of `settings.listen` before, this function's from now on. Raises SettingsError for
    a bad address, certificate or key, UsageError when an address cannot be bound.
    """
    if listeners is None:
        listeners = bind_all(settings.listen)
    try:
        await _serve(settings, listeners, emit, ready)
    finally:
        for sock in listeners:
            sock.close()


async def _serve(
    settings: OriginSettings, listeners: Sequence[socket.socket], emit: Emit, ready: asyncio.Event | None
) -> None:
    context = _context(settings)
    shelf = None if settings.proxy_list is None else ListShelf(settings.proxy_list, emit)
    origin = _Origin(emit, shelf)
    app = web.Application()
    app.add_routes([web.get("/", _greet), web.get(PATH, origin.handle), web.get("/proxies", origin.give_list)])
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    async with AsyncExitStack() as stack:
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        stack.push_async_callback(origin.close)
        for sock in listeners:
            await web.SockSite(runner, sock, ssl_context=context).start()
        addresses = [endpoint(address) for address in runner.addresses]
        emit("origin_listening", addresses=addresses)
        if ready is not None:
            ready.set()
        await asyncio.Event().wait()


async def _greet(_: web.Request) -> web.Response:
    return web.Response(text=GREETING)


class _Origin:
    """The open WebSockets, by number, each with the queue of what is to go out by it."""

    def __init__(self, emit: Emit, shelf: ListShelf | None) -> None:
        self._switchboard = Switchboard(emit)
        self._shelf = shelf
        self._numbers = itertools.count(1)
        self._queues: dict[int, asyncio.Queue[Record | None]] = {}

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """One WebSocket, until it ends."""
        websocket = web.WebSocketResponse(
            heartbeat=HEARTBEAT_SECONDS, compress=False, max_msg_size=LIMIT_BYTES, timeout=1.0
        )
        await websocket.prepare(request)
        _limit_retransmission(request)
        number = next(self._numbers)
        queue = self._queues[number] = asyncio.Queue(QUEUE_RECORDS)
        try:
            async with asyncio.TaskGroup() as group:
                writer = group.create_task(_write(websocket, queue), name=f"origin writer {number}")
                await self._read(number, websocket, request.remote or "")
                writer.cancel()
        finally:
            del self._queues[number]
            self._switchboard.left(number)
        return websocket

    async def close(self) -> None:
        """Ask every connection to end; the application's clean-up waits for them."""
        for queue in self._queues.values():
            _end(queue)

    async def give_list(self, request: web.Request) -> web.Response:
        """The signed list of proxies, for any program."""
        document = self._document(0, request.remote or "")
        if not document:
            raise web.HTTPNotFound(text="This origin has no list of proxies.\n")
        return web.Response(body=document + b"\n", content_type="text/plain", charset="utf-8")

    def _document(self, known_version: int, address: str) -> bytes:
        return b"" if self._shelf is None else self._shelf.document(known_version, address)

    async def _read(self, number: int, websocket: web.WebSocketResponse, address: str) -> None:
        async for frame in websocket:
            try:
                if frame.type is not WSMsgType.BINARY:
                    raise RecordError("a record is a binary message")
                record = decode(frame.data)
                if isinstance(record, ProxyListWanted):
                    outgoing: Outgoing = [(number, ProxyList(self._document(record.version, address)))]
                else:
                    outgoing = self._switchboard.receive(number, record)
            except (RecordError, Misbehaviour) as error:
                await websocket.close(code=WSCloseCode.POLICY_VIOLATION, message=str(error).encode()[:100])
                return
            self._send(outgoing)

    def _send(self, outgoing: Outgoing) -> None:
        for number, record in outgoing:
            queue = self._queues.get(number)
            if queue is None:
                continue
            try:
                queue.put_nowait(record)
            except asyncio.QueueFull:
                _end(queue)


async def _write(websocket: web.WebSocketResponse, queue: asyncio.Queue[Record | None]) -> None:
    try:
        while (record := await queue.get()) is not None:
            await websocket.send_bytes(encode(record))
        await websocket.close(code=WSCloseCode.GOING_AWAY)
    except ConnectionError:
        pass  # The reader notices the end.


def _end(queue: asyncio.Queue[Record | None]) -> None:
    """Let the writer close its connection; what still waits is dropped, the ends ask for it again."""
    while not queue.empty():
        queue.get_nowait()
    queue.put_nowait(None)


def _limit_retransmission(request: web.Request) -> None:
    sock = request.transport.get_extra_info("socket") if request.transport is not None else None
    if sock is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MILLISECONDS)


def _context(settings: OriginSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.certificate, settings.key)
    except OSError as error:
        detail = error.strerror or str(error)
        raise SettingsError(
            f"certificate {settings.certificate} with key {settings.key}: cannot be used: {detail}"
        ) from error
    return context


def _listening(listen: str) -> socket.socket:
    host, port = parse_address(listen, "listen")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        sock.listen(LISTEN_BACKLOG)  # At once: two sockets can be bound to one port, but only one of them listens.
    except OSError as error:
        sock.close()
        raise UsageError(f"cannot listen on {listen}: {error.strerror}; choose another --listen") from error
    return sock


def parse_address(text: str, key: str) -> tuple[str, int]:
    """ "HOST:PORT" or "[HOST]:PORT", given as `key`, as host and port. Raises SettingsError."""
    host, separator, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not separator or not host or not port.isdecimal():
        raise SettingsError(f"{key} {text!r}: expected HOST:PORT, an IPv6 host in brackets")
    if int(port) > 65535:
        raise SettingsError(f"{key} {text!r}: there is no port {port}; expected at most 65535")
    return host, int(port)
