"""More servers for the censor's tests: HTTP, QUIC, and DNS over TCP and over IPv6; beside those that Network has."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import QuicServer
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ProtocolNegotiated, QuicEvent, StreamDataReceived

from tests.lab.censor_network import SERVER, Network, Resolver

_ALPN = "echo"
_PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n"


def listener(network: Network, version: int, port: int) -> socket.socket:
    """Bound to the server's address."""
    opened = network.socket("server", version)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.bind((SERVER[version], port))
    return opened


@asynccontextmanager
async def web_server(network: Network) -> AsyncIterator[None]:
    """Port 80: every request is answered `ok`."""

    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(_PAGE)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):  # the censor's RST
            pass
        finally:
            writer.close()

    servers = [await asyncio.start_server(page, sock=listener(network, version, 80)) for version in (4, 6)]
    try:
        yield
    finally:
        for server in servers:
            server.close()


@asynccontextmanager
async def resolvers(network: Network) -> AsyncIterator[None]:
    """DNS over TCP, and over UDP at the server's IPv6 address."""
    resolver = Resolver(network.dns_queries)

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                length = int.from_bytes(await reader.readexactly(2), "big")
                answer = resolver.answer(await reader.readexactly(length))
                writer.write(len(answer).to_bytes(2, "big") + answer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    loop = asyncio.get_running_loop()
    servers = [await asyncio.start_server(ask, sock=listener(network, version, 53)) for version in (4, 6)]
    bound = network.socket("server", 6, socket.SOCK_DGRAM)
    bound.bind((SERVER[6], 53))
    transport, _ = await loop.create_datagram_endpoint(lambda: Resolver(network.dns_queries), sock=bound)
    try:
        yield
    finally:
        transport.close()
        for server in servers:
            server.close()


class _Server(QuicConnectionProtocol):
    """Echoes streams, or answers every HTTP/3 request with the page `h3`."""

    _http: H3Connection | None = None

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, ProtocolNegotiated) and event.alpn_protocol == "h3":
            self._http = H3Connection(self._quic)
        elif self._http is not None:
            for one in self._http.handle_event(event):
                if isinstance(one, HeadersReceived):
                    self._http.send_headers(one.stream_id, [(b":status", b"200"), (b"content-type", b"text/html")])
                    self._http.send_data(one.stream_id, b"h3", end_stream=True)
        elif isinstance(event, StreamDataReceived):
            self._quic.send_stream_data(event.stream_id, event.data, event.end_stream)
        self.transmit()


@asynccontextmanager
async def quic_server(network: Network) -> AsyncIterator[None]:
    """UDP 443: streams are echoed, HTTP/3 is answered."""
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["h3", _ALPN])
    configuration.load_cert_chain(network.folder / "certificate.pem", network.folder / "key.pem")
    transports = []
    for version in (4, 6):
        bound = network.socket("server", version, socket.SOCK_DGRAM)
        bound.bind((SERVER[version], 443))
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: QuicServer(configuration=configuration, create_protocol=_Server), sock=bound
        )
        transports.append(transport)
    try:
        yield
    finally:
        for transport in transports:
            transport.close()


@contextmanager
def _quic_socket(network: Network, version: int) -> Iterator[socket.socket]:
    with network.socket("client", version, socket.SOCK_DGRAM) as opened:
        # The protocol names the address with every datagram, so that this stays unconnected.
        opened.bind(("", 0))
        yield opened


async def quic_echo(network: Network, name: str, version: int = 4, *, seconds: float = 2.0) -> bytes:
    """One echo over a verified QUIC connection from the client. Raises TimeoutError."""
    configuration = QuicConfiguration(is_client=True, alpn_protocols=[_ALPN], server_name=name)
    configuration.load_verify_locations(str(network.folder / "certificate.pem"))
    with _quic_socket(network, version) as opened:
        transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: QuicConnectionProtocol(QuicConnection(configuration=configuration)), sock=opened
        )
        try:
            async with asyncio.timeout(seconds):
                # As the datagrams that come back have it, or it takes these for another path's.
                protocol.connect((SERVER[4], 443) if version == 4 else (SERVER[6], 443, 0, 0))
                await protocol.wait_connected()
                reader, writer = await protocol.create_stream()
                writer.write(b"hello\n")
                writer.write_eof()
                return await reader.read()
        finally:
            protocol.close()  # or its timer goes off behind the transport's end
            transport.close()
