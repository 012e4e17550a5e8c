"""Listeners that speak TLS, with a client of OpenSSL on memory whose every byte can be held back."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import os
import socket
import ssl
import termios
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from client.certificates import CertificateFiles, write_self_signed
from proxy import server, tls
from proxy.metrics import Failure, Metrics
from proxy.relay import PortableRelay
from proxy.relay.flow import prepare
from proxy.server import serve
from proxy.settings import Listener, ProxySettings
from proxy.wire import Address, Command, ReplyCode, Request, read_reply, write_request
from proxy.wire.udp import Datagram, read_datagram, write_datagram
from sidedoor.settings import SettingsError
from tests.integration.proxy.test_associate import address_of, next_from, udp
from tests.integration.proxy.test_bind import come
from tests.integration.proxy.test_server import NO_AUTH, REFUSAL, relays, request
from tests.integration.proxy.world import (
    SECONDS,
    Proxy,
    echo,
    receive,
    receive_all,
    running_proxy,
    send,
    target,
    until,
)

ADDRESS = "127.0.0.1:0"
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
versions = pytest.mark.parametrize("version", VERSIONS, ids=["TLS 1.2", "TLS 1.3"])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> CertificateFiles:
    return write_self_signed(tmp_path_factory.mktemp("tls"), ["proxy.example"])


def listener(files: CertificateFiles, **more: tuple[str, ...]) -> Listener:
    return Listener(address=ADDRESS, certificate=str(files.certificate), key=str(files.key), **more)


@contextlib.asynccontextmanager
async def tls_proxy(files: CertificateFiles, **settings: object) -> AsyncIterator[Proxy]:
    async with running_proxy(listen=(listener(files),), **settings) as proxy:
        yield proxy


class TlsClient:
    """TLS over `sock`, by hand. `step` is how many bytes of what it says go out in one segment; 0: all. `header` comes
    in front of everything."""

    def __init__(
        self,
        sock: socket.socket,
        files: CertificateFiles,
        version: ssl.TLSVersion = VERSIONS[1],
        *,
        step: int = 0,
        header: bytes = b"",
    ) -> None:
        context = ssl.create_default_context(cafile=str(files.ca))
        context.minimum_version = context.maximum_version = version
        self.sock = sock
        self._step = step
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._outgoing.write(header)
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="proxy.example")

    async def flush(self) -> None:
        data = self._outgoing.read()
        for start in range(0, len(data), self._step or len(data) or 1):
            await send(self.sock, data[start : start + (self._step or len(data))])
            if self._step:
                await asyncio.sleep(0)  # a turn of the proxy's loop, which is this one: it reads before more comes

    async def _more(self) -> None:
        data = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.sock, 1 << 16), SECONDS)
        self._incoming.write(data) if data else self._incoming.write_eof()

    def hello(self) -> bytes:
        """The first flight, which is not sent yet."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self._outgoing.read()

    async def shake(self, *, split: int = 0) -> None:
        """The handshake; its first flight is split there."""
        hello = self.hello()
        await send(self.sock, hello[:split])
        await asyncio.sleep(0)
        self._outgoing.write(hello[split:])
        await self.flush()
        await self._more()
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                await self.flush()
                await self._more()
            else:
                await self.flush()
                return

    async def send(self, data: bytes) -> None:
        view = memoryview(data)
        for start in range(0, len(view), 1 << 16):
            self.tls.write(view[start : start + (1 << 16)])
            await self.flush()

    async def read(self) -> bytes:
        """Some bytes; b"" at the close_notify."""
        while True:
            try:
                return self.tls.read(1 << 16)
            except ssl.SSLWantReadError:
                await self._more()
            except ssl.SSLZeroReturnError:
                return b""

    async def receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (chunk := await self.read()):
            data += chunk
        assert len(data) <= size
        return data

    async def receive_all(self) -> bytes:
        chunks = []
        while chunk := await self.read():
            chunks.append(chunk)
        return b"".join(chunks)

    async def finish(self) -> None:
        """A close_notify; the other direction goes on (RFC 8446 section 6.1)."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        await self.flush()


@contextlib.asynccontextmanager
async def shaken(
    proxy: Proxy, files: CertificateFiles, version: ssl.TLSVersion = VERSIONS[1], *, step: int = 0
) -> AsyncIterator[TlsClient]:
    with await proxy.connect() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = TlsClient(sock, files, version, step=step)
        await client.shake()
        yield client


@contextlib.asynccontextmanager
async def flowing(
    proxy: Proxy, files: CertificateFiles, port: int, version: ssl.TLSVersion = VERSIONS[1], *, step: int = 0
) -> AsyncIterator[TlsClient]:
    """A client with a flow to `port`."""
    async with shaken(proxy, files, version, step=step) as client:
        await client.send(NO_AUTH + request("127.0.0.1", port))
        assert (await client.receive(12))[:4] == b"\x05\x00\x05\x00"
        yield client


async def ended(proxy: Proxy) -> str:
    return str((await proxy.event("flow_closed"))["reason"])


# The handshake.


@versions
async def test_a_handshake_byte_by_byte(files: CertificateFiles, version: ssl.TLSVersion) -> None:
    async with target(echo) as port, tls_proxy(files) as proxy:
        async with flowing(proxy, files, port, version, step=1) as client:
            await client.send(b"hello")
            assert await client.receive(5) == b"hello"
            assert client.tls.version() == version.name.replace("_", ".")
            await client.finish()
            assert await client.receive_all() == b""
        assert await ended(proxy) == "eof"


async def test_every_split_of_the_first_flight_and_of_the_request(files: CertificateFiles) -> None:
    async with target(echo) as port, tls_proxy(files) as proxy:
        stream = NO_AUTH + request("127.0.0.1", port) + b"early data"
        for index in range(600):  # a ClientHello has some 520 bytes
            with await proxy.connect() as sock:
                client = TlsClient(sock, files)
                await client.shake(split=index)
                for part in (stream[:index], stream[index:]):
                    if part:
                        await client.send(part)
                        await asyncio.sleep(0)
                await client.finish()
                assert (await client.receive_all())[12:] == b"early data", f"split at {index}"


@pytest.mark.parametrize("said", [0, 1, 5, 100], ids=lambda said: f"{said} bytes of it")
async def test_a_handshake_that_stops_meets_the_deadline(files: CertificateFiles, said: int) -> None:
    async with tls_proxy(files, handshake_seconds=0.2) as proxy:
        with await proxy.connect() as sock:
            await send(sock, TlsClient(sock, files).hello()[:said])
            assert await receive_all(sock) == b""
        assert proxy.counted(Metrics.FAILED, Failure.DEADLINE) == 1
        await until(lambda: not proxy.server._fronts)


async def test_a_client_that_says_nothing_over_tls_meets_the_deadline(files: CertificateFiles) -> None:
    async with tls_proxy(files, handshake_seconds=0.2) as proxy, shaken(proxy, files) as client:
        assert await client.receive_all() == b""  # a close_notify, not a cut
        assert proxy.counted(Metrics.FAILED, Failure.DEADLINE) == 1


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
async def test_a_client_that_goes_in_the_middle_of_the_handshake(files: CertificateFiles, reset: bool) -> None:
    async with tls_proxy(files) as proxy:
        with await proxy.connect() as sock:
            await send(sock, TlsClient(sock, files).hello()[:50])
            await until(lambda: proxy.server._fronts)
            if reset:
                prepare(sock)
        await until(lambda: not proxy.server._fronts and not proxy.server._sessions)


async def test_what_is_no_tls_is_refused_and_counted(files: CertificateFiles) -> None:
    with structlog.testing.capture_logs() as logs:
        async with tls_proxy(files) as proxy:
            for said in (NO_AUTH, b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00", b"CONNECT a:1 HTTP/1.1\r\n\r\n"):
                with await proxy.connect() as sock:
                    await send(sock, said + bytes(20))
                    with contextlib.suppress(ConnectionResetError):
                        assert (await receive_all(sock))[:1] in (b"", b"\x15")  # nothing, or an alert
            await until(lambda: proxy.counted(Metrics.FAILED, Failure.TLS) == 3)
    reasons = [line["reason"] for line in logs if line["event"] == "client_refused"]
    assert reasons == ["WRONG_VERSION_NUMBER", "WRONG_VERSION_NUMBER", "HTTPS_PROXY_REQUEST"]


async def test_tls_on_a_plain_port_is_refused_with_a_line_that_says_so(files: CertificateFiles) -> None:
    with structlog.testing.capture_logs() as logs:
        async with running_proxy() as proxy:
            with await proxy.connect() as sock, pytest.raises(ssl.SSLError):
                await TlsClient(sock, files).shake()
            assert proxy.counted(Metrics.FAILED, Failure.BAD_VERSION) == 1
    reasons = [line["reason"] for line in logs if line["event"] == "client_refused"]
    assert reasons == ["version 22, expected 5 or 4 or HTTP (looks like TLS, which this port does not speak)"]


async def test_an_old_tls_is_refused(files: CertificateFiles) -> None:
    async with tls_proxy(files) as proxy:
        with await proxy.connect() as sock:
            # A ClientHello of TLS 1.1 without extensions, one cipher suite.
            body = b"\x03\x02" + bytes(32) + b"\x00\x00\x02\x00\x2f\x01\x00"
            hello = b"\x01" + len(body).to_bytes(3, "big") + body
            await send(sock, b"\x16\x03\x01" + len(hello).to_bytes(2, "big") + hello)
            assert await receive_all(sock) == b"\x15\x03\x02\x00\x02\x02\x46"  # fatal: protocol version
        await until(lambda: proxy.counted(Metrics.FAILED, Failure.TLS) == 1)


async def test_without_descriptors_for_tls_a_client_is_refused_and_the_next_one_served(
    files: CertificateFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    async with target(echo) as port, tls_proxy(files) as proxy:
        with monkeypatch.context() as patch:
            patch.setattr(tls.socket, "socketpair", exhausted)
            clients = [await proxy.connect() for _ in range(2)]
            for sock in clients:
                with sock:
                    assert await receive_all(sock) == b""
        assert proxy.counted(Metrics.ACCEPTS_REFUSED) == 2
        async with flowing(proxy, files, port):
            pass


# Flows.


@relays
@versions
async def test_bulk_both_ways_by_hash(
    files: CertificateFiles, version: ssl.TLSVersion, portable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(1 << 20) * 64
    if portable:
        monkeypatch.setattr(server, "open_relay", PortableRelay)
    async with target(echo) as port, tls_proxy(files) as proxy, flowing(proxy, files, port, version) as client:

        async def say() -> None:
            await client.send(data)
            await client.finish()

        async with asyncio.TaskGroup() as group:
            group.create_task(say(), name="say")
            received = await client.receive_all()
        assert hashlib.sha256(received).digest() == hashlib.sha256(data).digest()
        assert await ended(proxy) == "eof"


@relays
@versions
async def test_a_half_close_of_the_client_and_data_behind_it(
    files: CertificateFiles, version: ssl.TLSVersion, portable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer_at_the_end(sock: socket.socket) -> None:
        asked = await receive_all(sock)
        await send(sock, asked[::-1] + bytes(300_000))

    if portable:
        monkeypatch.setattr(server, "open_relay", PortableRelay)
    async with (
        target(answer_at_the_end) as port,
        tls_proxy(files) as proxy,
        flowing(proxy, files, port, version) as client,
    ):
        await client.send(b"question")
        await client.finish()
        assert await client.receive_all() == b"noitseuq" + bytes(300_000)
        assert await ended(proxy) == "eof"


@relays
@versions
async def test_a_half_close_of_the_target_and_data_behind_it(
    files: CertificateFiles, version: ssl.TLSVersion, portable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def say_and_listen(sock: socket.socket) -> None:
        await send(sock, b"greeting")
        sock.shutdown(socket.SHUT_WR)
        received.set_result(await receive_all(sock))

    if portable:
        monkeypatch.setattr(server, "open_relay", PortableRelay)
    async with (
        target(say_and_listen) as port,
        tls_proxy(files) as proxy,
        flowing(proxy, files, port, version) as client,
    ):
        assert await client.receive_all() == b"greeting"
        await client.send(b"behind the target's end" + bytes(300_000))
        await client.finish()
        assert await asyncio.wait_for(received, SECONDS) == b"behind the target's end" + bytes(300_000)
        assert await ended(proxy) == "eof"


@versions
async def test_a_half_close_of_the_target_while_it_takes_nothing(
    files: CertificateFiles, version: ssl.TLSVersion
) -> None:
    """What has come from the client and is not passed on yet is not lost when the close_notify goes out."""
    data = os.urandom(1 << 20) * 16
    full, received = asyncio.Event(), asyncio.get_running_loop().create_future()

    async def slow(sock: socket.socket) -> None:
        await full.wait()
        sock.shutdown(socket.SHUT_WR)
        await asyncio.sleep(0.05)  # the proxy has passed it on
        received.set_result(hashlib.sha256(await receive_all(sock)).digest())

    async with target(slow) as port, tls_proxy(files) as proxy, flowing(proxy, files, port, version) as client:

        async def say() -> None:
            await client.send(data)
            await client.finish()

        async with asyncio.TaskGroup() as group:
            saying = group.create_task(say(), name="say")
            await blocked(client.sock, saying)
            full.set()
            assert await client.receive_all() == b""
            assert await asyncio.wait_for(received, SECONDS) == hashlib.sha256(data).digest()


async def blocked(sock: socket.socket, saying: asyncio.Task[None]) -> None:
    """Wait until nothing of what `saying` says has moved for a while."""
    before, still = b"", 0
    while still < 20:
        await asyncio.sleep(0.005)
        queued = fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4))
        still = still + 1 if queued == before else 0
        before = queued
    assert not saying.done()


@relays
@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
async def test_a_slow_reader_slows_the_sender_down_and_loses_nothing(
    files: CertificateFiles, up: bool, portable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(1 << 20) * 48
    accepted: asyncio.Future[socket.socket] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def waiting(sock: socket.socket) -> None:
        accepted.set_result(sock)
        await over.wait()

    if portable:
        monkeypatch.setattr(server, "open_relay", PortableRelay)
    async with target(waiting) as port, tls_proxy(files) as proxy, flowing(proxy, files, port) as client:
        far = await accepted

        async def say_up() -> None:
            await client.send(data)
            await client.finish()

        async def say_down() -> None:
            await send(far, data)
            far.shutdown(socket.SHUT_WR)

        async with asyncio.TaskGroup() as group:
            saying = group.create_task(say_up() if up else say_down(), name="say")
            await blocked(client.sock if up else far, saying)
            [front] = proxy.server._fronts
            assert 0 < max(len(front._to_inner), len(front._to_client)) < 2 * tls.BUFFER_BYTES
            received = await (receive_all(far) if up else client.receive_all())
        assert hashlib.sha256(received).digest() == hashlib.sha256(data).digest()
        over.set()


@relays
async def test_a_reset_of_the_target_is_passed_on(
    files: CertificateFiles, portable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resetting(sock: socket.socket) -> None:
        await receive(sock, 1)
        prepare(sock)

    if portable:
        monkeypatch.setattr(server, "open_relay", PortableRelay)
    async with target(resetting) as port, tls_proxy(files) as proxy, flowing(proxy, files, port) as client:
        await client.send(b"x")
        with pytest.raises(ConnectionResetError):
            await client.read()
        assert await ended(proxy) == "target_reset"


@relays
async def test_a_reset_of_the_client_is_passed_on(
    files: CertificateFiles, portable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def listening(sock: socket.socket) -> None:
        try:
            seen.set_result(f"an end behind {await receive_all(sock)!r}")
        except ConnectionResetError:
            seen.set_result("a reset")

    if portable:
        monkeypatch.setattr(server, "open_relay", PortableRelay)
    async with target(listening) as port, tls_proxy(files) as proxy:
        async with flowing(proxy, files, port) as client:
            prepare(client.sock)
        assert await asyncio.wait_for(seen, SECONDS) == "a reset"
        assert await ended(proxy) == "client_reset"


@versions
async def test_an_end_without_a_close_notify_is_an_end(files: CertificateFiles, version: ssl.TLSVersion) -> None:
    async with target(echo) as port, tls_proxy(files) as proxy, flowing(proxy, files, port, version) as client:
        await client.send(b"last words")
        client.sock.shutdown(socket.SHUT_WR)
        assert await client.receive_all() == b"last words"
        assert await ended(proxy) == "eof"


async def test_what_is_broken_in_a_flow_is_a_reset(files: CertificateFiles) -> None:
    """A record that was tampered with: the target must not take what came before it for all."""
    async with target(echo) as port, tls_proxy(files) as proxy, flowing(proxy, files, port) as client:
        client.tls.write(b"hello")
        record = bytearray(client._outgoing.read())
        record[-1] ^= 1
        await send(client.sock, record)
        assert await ended(proxy) == "client_reset"


async def test_idle_flows_are_reset(files: CertificateFiles) -> None:
    async with (
        target(echo) as port,
        tls_proxy(files, idle_seconds=0.2) as proxy,
        flowing(proxy, files, port) as client,
    ):
        with pytest.raises(ConnectionResetError):
            await client.read()
        assert await ended(proxy) == "idle"


async def test_a_refusal_arrives_with_a_close_notify(files: CertificateFiles) -> None:
    async with tls_proxy(files) as proxy, shaken(proxy, files) as client:
        await client.send(NO_AUTH + request("127.0.0.1", 1) + b"early data that nobody takes")
        assert await client.receive_all() == b"\x05\x00\x05\x05" + REFUSAL


@pytest.mark.parametrize("talks", [False, True], ids=["silent", "that goes on sending"])
async def test_a_refused_client_that_does_not_close(
    files: CertificateFiles, talks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a moment; then its connection is closed."""
    monkeypatch.setattr(tls, "LINGER_SECONDS", 0.2)
    async with tls_proxy(files) as proxy, shaken(proxy, files) as client:
        await client.send(NO_AUTH + request("127.0.0.1", 1))
        assert await client.receive_all() == b"\x05\x00\x05\x05" + REFUSAL
        if talks:
            await client.send(bytes(1 << 16))
        assert len(proxy.server._fronts) == 1
        await until(lambda: not proxy.server._fronts)


@pytest.mark.parametrize("takes", [True, False], ids=["late", "never"])
async def test_last_bytes_that_a_client_takes(
    files: CertificateFiles, takes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flow is over by then; the front has the bytes still."""
    monkeypatch.setattr(tls, "FLUSH_SECONDS", SECONDS if takes else 0.2)

    async def answer_at_the_end(sock: socket.socket) -> None:
        await receive_all(sock)
        await send(sock, bytes(200_000))

    async with (
        target(answer_at_the_end) as port,
        tls_proxy(files) as proxy,
        flowing(proxy, files, port) as client,
    ):
        [front] = proxy.server._fronts
        for sock, option in ((front.sock, socket.SO_SNDBUF), (client.sock, socket.SO_RCVBUF)):
            sock.setsockopt(socket.SOL_SOCKET, option, 4096)
        await client.finish()
        assert await ended(proxy) == "eof"
        await until(lambda: front._to_client)  # It may have the rest still to fetch from where the flow has left it.
        if takes:
            assert await client.receive_all() == bytes(200_000)
        else:
            await until(lambda: not proxy.server._fronts)
            with pytest.raises(ConnectionResetError):  # what was cut off must not look complete
                await client.receive_all()


async def test_all_protocols_over_tls(files: CertificateFiles) -> None:
    async with target(echo) as port, tls_proxy(files) as proxy:
        for wire, answer in (
            (b"\x04\x01" + port.to_bytes(2, "big") + b"\x7f\x00\x00\x01\x00", b"\x00\x5a"),
            (f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: a\r\n\r\n".encode(), b"HTTP/1.1 200 "),
        ):
            async with shaken(proxy, files) as client:
                await client.send(wire + b"early")
                await client.finish()
                said = await client.receive_all()
                assert said.startswith(answer)
                assert said.endswith(b"early")


async def test_udp_over_a_tls_control_connection(files: CertificateFiles) -> None:
    """The datagrams themselves are as ever; the association is where the client's own connection came to."""
    async with tls_proxy(files) as proxy, shaken(proxy, files) as client:
        await client.send(NO_AUTH + write_request(Request(Command.UDP_ASSOCIATE, Address.of("0.0.0.0", 0))))
        reply = read_reply(bytearray((await client.receive(12))[2:]))
        assert reply is not None
        assert (reply.code, reply.bound.host) == (ReplyCode.SUCCEEDED, "127.0.0.1")
        with udp() as sock, udp() as far:
            sock.sendto(write_datagram(Datagram(0, address_of(far), b"ping")), (reply.bound.host, reply.bound.port))
            data, outlet = await next_from(far)
            far.sendto(data + b"pong", outlet)
            assert read_datagram((await next_from(sock))[0]).data == b"pingpong"
        await client.finish()
        assert await client.receive_all() == b""
        assert await ended(proxy) == "eof"


@pytest.mark.parametrize("goes", [False, True], ids=["to the peer", "and a client that goes"])
async def test_bind_over_tls(files: CertificateFiles, goes: bool) -> None:
    async with tls_proxy(files) as proxy, shaken(proxy, files) as client:
        await client.send(NO_AUTH + write_request(Request(Command.BIND, Address.of("0.0.0.0", 0))))
        reply = read_reply(bytearray((await client.receive(12))[2:]))
        assert reply is not None
        assert reply.bound.host == "127.0.0.1"
        if goes:
            await client.finish()
            assert await client.receive_all() == b""
            return
        with await come(reply.bound) as peer:
            await client.receive(10)
            await send(peer, b"hello")
            assert await client.receive(5) == b"hello"


async def test_stopping_resets_flows_and_leaves_no_descriptor(files: CertificateFiles) -> None:
    """In every state that a connection may be in; the descriptors are counted by the fixture of this folder."""
    async with target(echo) as port, tls_proxy(files) as proxy:
        begun, silent = await proxy.connect(), TlsClient(await proxy.connect(), files)
        flow, finished = TlsClient(await proxy.connect(), files), TlsClient(await proxy.connect(), files)
        await send(begun, b"\x16\x03\x01")
        for client in (silent, flow, finished):
            await client.shake()
        for client in (flow, finished):
            await client.send(NO_AUTH + request("127.0.0.1", port))
            await client.receive(12)
        await finished.finish()
        await until(lambda: len(proxy.server._fronts) == 4)
    with begun, silent.sock, flow.sock, finished.sock:
        with pytest.raises(ConnectionResetError):
            await flow.read()
        assert await receive_all(begun) == b""


async def test_draining_waits_for_the_last_words(files: CertificateFiles) -> None:
    async with target(echo) as port, tls_proxy(files) as proxy, flowing(proxy, files, port) as client:
        proxy.server.drain()
        await client.send(b"still here")
        assert await client.receive(10) == b"still here"
        assert not proxy.server.drained.done()
        await client.finish()
        assert await client.receive_all() == b""
        client.sock.close()
        await asyncio.wait_for(asyncio.shield(proxy.server.drained), SECONDS)


# Certificates.


@pytest.mark.parametrize(
    ("certificate", "key", "why"),
    [
        ("leaf.pem", "missing.key", r"listen: 127.0.0.1:0: certificate .* or key .* cannot be read: No such file"),
        ("missing.pem", "leaf.key", r"cannot be read: No such file or directory"),
        ("ca.pem", "leaf.key", r"do not serve: KEY_VALUES_MISMATCH; expected two PEM files that belong together"),
        ("leaf.pem", "leaf.pem", r"do not serve: .*; expected two PEM files that belong together"),
        ("empty.pem", "leaf.key", r"do not serve: .*; expected two PEM files that belong together"),
        (".", "leaf.key", r"cannot be read|do not serve"),
    ],
)
async def test_certificates_that_do_not_serve(files: CertificateFiles, certificate: str, key: str, why: str) -> None:
    folder = files.ca.parent
    (folder / "empty.pem").touch()
    one = Listener(address=ADDRESS, certificate=str(folder / certificate), key=str(folder / key))
    with pytest.raises(SettingsError, match=why):
        await serve(ProxySettings(listen=(one,)))


@pytest.mark.parametrize("missing", ["key", "certificate"])
async def test_a_certificate_needs_its_key(files: CertificateFiles, missing: str) -> None:
    there = {"certificate": str(files.certificate), "key": str(files.key)} | {missing: ""}
    with pytest.raises(SettingsError, match=f"has a .* and no {missing}; TLS needs both"):
        await serve(ProxySettings(listen=(Listener(address=ADDRESS, **there),)))


async def test_a_reload_reads_the_certificate_again(files: CertificateFiles, tmp_path: Path) -> None:
    """Flows that stand go on; one that does not serve changes nothing."""
    mine = write_self_signed(tmp_path, ["proxy.example"])
    settings = ProxySettings(listen=(listener(mine),))
    async with target(echo) as port, tls_proxy(mine) as proxy, flowing(proxy, mine, port) as before:
        for path, other in ((mine.ca, files.ca), (mine.certificate, files.certificate), (mine.key, files.key)):
            path.write_bytes(other.read_bytes())
        proxy.server.apply(settings)
        async with flowing(proxy, files, port) as after:
            mine.key.write_bytes(b"")
            with pytest.raises(SettingsError, match="do not serve"):
                proxy.server.apply(settings)
            for client in (before, after):
                await client.send(b"ping")
                assert await client.receive(4) == b"ping"
        async with flowing(proxy, files, port):
            pass
