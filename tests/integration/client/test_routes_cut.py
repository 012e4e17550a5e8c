"""Routes that cut up the ClientHello: what of it is on the wire, in front of this project's origin and of OpenSSL."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest

from client.routes import Route
from client.routes.client_hello import records
from client.routes.settings import DirectRoute, RouteSettings, TcpSegmentRoute, TlsFragmentRoute
from client.settings import OriginAddress, ResolverSettings
from tests.integration.client.dials import QUICK, failing, listener, of, resets, silent, stages
from tests.integration.client.world import NAME, World, free_port

_DATA_SEGMENTS_IN = 152  # struct tcp_info (include/uapi/linux/tcp.h): the offset of tcpi_data_segs_in
STAGES = ["dns", "tcp", "tls", "upgrade"]


class Tap:
    """A relay to `port` that notes, at each first word of the server behind a word of the client, what came so far.

    `flights`: bytes of the client; `segments`: how many TCP segments with data they came in.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.port = 0
        self.flights: list[bytes] = []
        self.segments: list[int] = []

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Tap]:
        async with await asyncio.start_server(self._accepted, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield self

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        sock: socket.socket = writer.get_extra_info("socket")
        arrived = bytearray()

        async def up() -> None:
            async for data in chunks(reader):
                arrived.extend(data)
                far_writer.write(data)
            far_writer.close()

        async def down() -> None:
            async for data in chunks(far_reader):
                if arrived:
                    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
                    self.segments.append(struct.unpack_from("I", info, _DATA_SEGMENTS_IN)[0])
                    self.flights.append(bytes(arrived))
                    arrived.clear()
                writer.write(data)
            writer.close()

        async with asyncio.TaskGroup() as group:
            group.create_task(up(), name="tap up")
            group.create_task(down(), name="tap down")


async def chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """What arrives, until the end or a reset."""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            yield data


@contextlib.asynccontextmanager
async def openssl(world: World, *options: str) -> AsyncIterator[int]:
    """`openssl s_server` with the origin's certificate, which says what TLS it is to whoever asks by HTTP."""
    port = free_port()
    files = ("-cert", str(world.files.certificate), "-key", str(world.files.key))
    process = await asyncio.create_subprocess_exec(
        "openssl", "s_server", "-accept", f"127.0.0.1:{port}", *files, "-www", *options,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(10):
            while b"ACCEPT" not in await process.stdout.readline():
                pass
        yield port
    finally:
        process.kill()
        await process.wait()


def to(world: World, port: int, route: RouteSettings, **more: Any) -> Route:
    """The route to that port of 127.0.0.1, under the origin's name."""
    hosts = ResolverSettings(hosts={NAME: ("127.0.0.1",)})
    return of(world, route, origin=OriginAddress(NAME, port), resolver=hosts, **more)


async def dialed(world: World, port: int, route: RouteSettings) -> Tap:
    """A dial that carries records to the origin at `port`, and what was on the wire."""
    async with Tap(port).serving() as tap:
        assert await stages(to(world, tap.port, route)) == STAGES
    return tap


async def test_a_whole_hello_is_one_record_in_one_segment(messenger: World) -> None:
    tap = await dialed(messenger, messenger.port, DirectRoute())
    (hello,) = records(tap.flights[0])
    assert NAME.encode() in hello
    assert tap.segments[0] == 1


@pytest.mark.parametrize("count", [2, 3, 9])
async def test_a_hello_in_several_records(messenger: World, count: int) -> None:
    tap = await dialed(messenger, messenger.port, TlsFragmentRoute(records=count))
    pieces = list(records(tap.flights[0]))
    assert len(pieces) == count
    assert all(piece[0] == 22 for piece in pieces)
    assert NAME.encode() not in tap.flights[0]
    assert NAME.encode() in b"".join(piece[5:] for piece in pieces)
    assert tap.segments[0] == 1
    assert [record[0] for record in records(tap.flights[1])][-1] == 23, "and then all is as ever"


async def test_a_hello_in_two_segments(messenger: World) -> None:
    tap = await dialed(messenger, messenger.port, TcpSegmentRoute())
    (hello,) = records(tap.flights[0])
    assert NAME.encode() in hello
    assert tap.segments[0] == 2


@pytest.mark.parametrize("options", [("-tls1_2",), ("-tls1_3",)], ids=["1.2", "1.3"])
@pytest.mark.parametrize("route", [TlsFragmentRoute(), TcpSegmentRoute()], ids=["records", "segments"])
async def test_openssl_takes_it(messenger: World, route: RouteSettings, options: tuple[str, ...]) -> None:
    async with openssl(messenger, *options) as port, Tap(port).serving() as tap:
        stage, failure = await failing(to(messenger, tap.port, route))
    assert (stage, "200" in failure) == ("upgrade", True), "TLS stood, and OpenSSL answered"
    cut = (len(list(records(tap.flights[0]))), tap.segments[0])
    assert cut == ((3, 1) if isinstance(route, TlsFragmentRoute) else (1, 2))


@pytest.mark.parametrize("route", [TlsFragmentRoute(), TcpSegmentRoute()], ids=["records", "segments"])
async def test_the_second_hello_after_a_retry_request_is_cut_too(messenger: World, route: RouteSettings) -> None:
    async with openssl(messenger, "-tls1_3", "-groups", "P-384") as port, Tap(port).serving() as tap:
        assert (await failing(to(messenger, tap.port, route)))[0] == "upgrade"
    first, second = (list(records(flight)) for flight in tap.flights[:2])
    handshake = [record for record in second if record[0] == 22]
    assert b"".join(record[5:] for record in handshake)[0] == 1, "a second ClientHello"
    if isinstance(route, TlsFragmentRoute):
        assert (len(first), len(handshake)) == (3, 3)
    else:
        assert tap.segments[:2] == [2, 4]
    if isinstance(route, TlsFragmentRoute):
        assert not any(NAME.encode() in flight for flight in tap.flights[:2])


@pytest.mark.parametrize("route", [TlsFragmentRoute(), TcpSegmentRoute()], ids=["records", "segments"])
async def test_how_it_fails(messenger: World, route: RouteSettings) -> None:
    async with listener(silent) as port:
        assert await failing(to(messenger, port, route, dial=QUICK)) == ("tls", "generic_timeout_error")
    async with listener(resets) as port:
        assert await failing(to(messenger, port, route)) == ("tls", "connection_reset")
    assert await failing(to(messenger, free_port(), route)) == ("tcp", "connection_refused")
