"""Listeners behind a load balancer: the PROXY protocol's header in front of everything, and whose word it is."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog

from client.certificates import CertificateFiles, write_self_signed
from proxy.metrics import Drop, Failure, Metrics
from proxy.settings import Listener, ProxySettings, Rule
from proxy.wire import Address
from proxy.wire.proxy_protocol import EXTENSIONS_LIMIT_BYTES, SIGNATURE, write_proxy_header
from tests.integration.proxy.test_associate import address_of, associated_with, dropped, next_from, udp
from tests.integration.proxy.test_server import ANNA, NO_AUTH, REFUSAL, USER_PASSWORD, request
from tests.integration.proxy.test_tls import TlsClient
from tests.integration.proxy.world import Proxy, echo, receive, receive_all, running_proxy, send, target, until

ADDRESS = "127.0.0.1:0"
SOURCE, SOURCE_6 = Address.of("203.0.113.7", 40000), Address.of("2001:db8::7", 40000)
BALANCER, BALANCER_6 = Address.of("198.51.100.1", 1080), Address.of("2001:db8::1", 1080)
TLVS = b"\x01\x00\x02h2" + b"\x03\x00\x04\x00\x00\x00\x00" + b"\x04\x00\x00"  # ALPN, CRC32C (not checked), NOOP
WITH_TLVS = write_proxy_header(SOURCE, BALANCER)[:14] + struct.pack("!H", 12 + len(TLVS))
WITH_TLVS += write_proxy_header(SOURCE, BALANCER)[16:] + TLVS
HEADERS: list[tuple[bytes, str | None]] = [
    (write_proxy_header(SOURCE, BALANCER, 1), str(SOURCE)),
    (write_proxy_header(SOURCE_6, BALANCER_6, 1), str(SOURCE_6)),
    (write_proxy_header(None, None, 1), None),
    (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
    (write_proxy_header(SOURCE, BALANCER, 2), str(SOURCE)),
    (write_proxy_header(SOURCE_6, BALANCER_6, 2), str(SOURCE_6)),
    (write_proxy_header(None, None, 2), None),
    (WITH_TLVS, str(SOURCE)),
]
IDS = ["v1 TCP4", "v1 TCP6", "v1 UNKNOWN", "v1 UNKNOWN and more", "v2 TCP4", "v2 TCP6", "v2 LOCAL", "v2 with TLVs"]
HEADER = HEADERS[4][0]
UNSUITABLE = [
    (NO_AUTH, "no header"),
    (b"PROXY TCP4 203.0.113.7\r\n", "line is not"),
    (b"PROXY TCP4 203.0.113.999 198.51.100.1 1 2\r\n", "does not exist in TCP4"),
    (b"PROXY " + b"x" * 110, "more than 107 bytes"),
    (SIGNATURE + b"\x31\x11\x00\x0c", "version 3"),
    (SIGNATURE + b"\x21\x11" + struct.pack("!H", EXTENSIONS_LIMIT_BYTES + 1), "2049 bytes"),
    (SIGNATURE + b"\x21\x11\x00\x04abcd", "4 bytes of addresses"),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> CertificateFiles:
    return write_self_signed(tmp_path_factory.mktemp("tls"), ["proxy.example"])


def listener(files: CertificateFiles | None = None, trusted: str = "127.0.0.0/8") -> Listener:
    if files is None:
        return Listener(address=ADDRESS, proxy_protocol_from=(trusted,))
    return Listener(
        address=ADDRESS, proxy_protocol_from=(trusted,), certificate=str(files.certificate), key=str(files.key)
    )


@contextlib.asynccontextmanager
async def balanced_proxy(one: Listener | None = None, **settings: Any) -> AsyncIterator[Proxy]:
    """A proxy behind a load balancer. The guard, which comes with that, would deny the targets of these tests."""
    async with running_proxy(**({"listen": (one or listener(),), "inside": "allow", "open": True} | settings)) as proxy:
        yield proxy


async def said(proxy: Proxy, data: bytes) -> bytes:
    with await proxy.connect() as sock:
        await send(sock, data)
        try:
            return await receive_all(sock)
        except ConnectionResetError:
            return b""


@pytest.mark.parametrize(("header", "source"), HEADERS, ids=IDS)
async def test_the_client_is_who_the_header_says(header: bytes, source: str | None) -> None:
    async with target(echo) as port, balanced_proxy() as proxy:
        with await proxy.connect() as sock:
            await send(sock, header + NO_AUTH + request("127.0.0.1", port) + b"early")
            assert (await receive(sock, 17))[12:] == b"early"
            own = "{}:{}".format(*sock.getsockname())
            assert (await proxy.event("flow_opened"))["client"] == (source or own)
            [flow] = proxy.server.flows.values()
            assert flow.describe()["client"] == (source or own)


@pytest.mark.parametrize("header", [HEADERS[0][0], WITH_TLVS], ids=["v1", "v2"])
async def test_every_split_with_the_handshake_behind_it(header: bytes) -> None:
    async with target(echo) as port, balanced_proxy() as proxy:
        stream = header + NO_AUTH + request("127.0.0.1", port) + b"early data"
        for index in range(len(stream) + 1):
            with await proxy.connect() as sock:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await send(sock, stream[:index])
                await asyncio.sleep(0)
                await send(sock, stream[index:])
                sock.shutdown(socket.SHUT_WR)
                assert (await receive_all(sock))[12:] == b"early data", f"split at {index}"
        clients = {fields["client"] for event, fields in proxy.events if event == "flow_opened"}
        assert clients == {str(SOURCE)}


async def test_a_header_byte_by_byte() -> None:
    async with target(echo) as port, balanced_proxy() as proxy:
        with await proxy.connect() as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in HEADER + NO_AUTH + request("127.0.0.1", port):
                await send(sock, bytes((byte,)))
                await asyncio.sleep(0)
            assert (await receive(sock, 12))[2:4] == b"\x05\x00"


@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "in front of TLS"])
@pytest.mark.parametrize(("data", "why"), UNSUITABLE, ids=[why for _, why in UNSUITABLE])
async def test_what_is_no_header_is_refused(files: CertificateFiles, data: bytes, why: str, over_tls: bool) -> None:
    with structlog.testing.capture_logs() as logs:
        async with balanced_proxy(listener(files if over_tls else None)) as proxy:
            assert await said(proxy, data) == b""
            assert proxy.counted(Metrics.FAILED, Failure.PROXY_HEADER) == 1
    [line] = [line for line in logs if line["event"] == "client_refused"]
    assert why in line["reason"]


@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "in front of TLS"])
async def test_nobody_else_is_asked_for_a_header(files: CertificateFiles, over_tls: bool) -> None:
    with structlog.testing.capture_logs() as logs:
        async with balanced_proxy(listener(files if over_tls else None, trusted="127.0.0.2")) as proxy:
            assert await said(proxy, HEADER + NO_AUTH) == b""
            assert proxy.counted(Metrics.FAILED, Failure.PROXY_HEADER) == 1
    [line] = [line for line in logs if line["event"] == "client_refused"]
    assert line["reason"] == "is not in proxy_protocol_from"
    assert line["client"].startswith("127.0.0.1:")


@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "in front of TLS"])
@pytest.mark.parametrize("part", [b"", HEADER[:5], HEADER[:20]], ids=lambda part: f"{len(part)} bytes")
async def test_a_header_that_stops_meets_the_deadline(files: CertificateFiles, part: bytes, over_tls: bool) -> None:
    async with balanced_proxy(listener(files if over_tls else None), handshake_seconds=0.2) as proxy:
        assert await said(proxy, part) == b""
        assert proxy.counted(Metrics.FAILED, Failure.DEADLINE) == 1


@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "in front of TLS"])
async def test_a_balancer_that_goes_in_the_middle_of_its_header(files: CertificateFiles, over_tls: bool) -> None:
    async with balanced_proxy(listener(files if over_tls else None)) as proxy:
        for part in (b"", HEADER[:5]):
            with await proxy.connect() as sock:
                await send(sock, part)
                await until(lambda: proxy.server._sessions)
            await until(lambda: not proxy.server._sessions and not proxy.server._fronts)


# What the source is good for.


async def test_rules_see_the_source() -> None:
    rule = Rule(action="deny", sources=("203.0.113.0/24",))
    async with target(echo) as port, balanced_proxy(rules=(rule,)) as proxy:
        wire = NO_AUTH + request("127.0.0.1", port)
        assert await said(proxy, HEADER + wire) == b"\x05\x00\x05\x02" + REFUSAL
        refused = await proxy.event("flow_refused")
        assert (refused["client"], refused["reply"]) == (str(SOURCE), "NOT_ALLOWED")
        with await proxy.connect() as sock:
            await send(sock, HEADERS[5][0] + wire)
            assert (await receive(sock, 12))[2:4] == b"\x05\x00"


async def test_the_back_off_is_the_sources_and_not_the_balancers() -> None:
    wrong = USER_PASSWORD + b"\x01\x04anna\x05wrong"
    with structlog.testing.capture_logs() as logs:
        async with target(echo) as port, balanced_proxy(users={"anna": "secret"}) as proxy:
            right = USER_PASSWORD + ANNA + request("127.0.0.1", port)
            for _ in range(6):
                assert await said(proxy, HEADER + wrong) == b"\x05\x02\x01\x01"
            assert await said(proxy, HEADER + right) == b"\x05\x02\x01\x01"
            assert proxy.counted(Metrics.FAILED, Failure.BACKED_OFF) == 1
            with await proxy.connect() as sock:
                await send(sock, HEADERS[5][0] + right)
                assert (await receive(sock, 14))[2:6] == b"\x01\x00\x05\x00"
    failures = [line for line in logs if line["event"] == "login_failed"]
    assert {(line["source"], line["client"]) for line in failures} == {(SOURCE.host, str(SOURCE))}


async def test_datagrams_come_from_the_source() -> None:
    header = write_proxy_header(Address.of("127.0.0.2", 40000), BALANCER)
    async with balanced_proxy() as proxy:
        with await proxy.connect() as control, udp("127.0.0.2") as sock, udp() as balancer, udp() as far:
            await send(control, header)
            client = await associated_with(control, sock)
            balancer.sendto(bytes(20), (client.relay.host, client.relay.port))
            await until(lambda: dropped(proxy, Drop.SOURCE) == 1)
            client.say(b"ping", address_of(far))
            assert (await next_from(far))[0] == b"ping"


async def test_the_guard_is_on_by_itself() -> None:
    async with target(echo) as port, balanced_proxy(inside="auto") as proxy:
        assert await said(proxy, HEADER + NO_AUTH + request("127.0.0.1", port)) == b"\x05\x00\x05\x02" + REFUSAL


async def test_a_reload_changes_whom_to_trust() -> None:
    async with target(echo) as port, balanced_proxy() as proxy:
        wire = NO_AUTH + request("127.0.0.1", port)
        for now, data in ((Listener(address=ADDRESS), wire), (listener(), HEADER + wire)):
            proxy.server.apply(ProxySettings(listen=(now,), inside="allow", open=True))
            with await proxy.connect() as sock:
                await send(sock, data)
                assert (await receive(sock, 12))[2:4] == b"\x05\x00"


# In front of TLS.


@pytest.mark.parametrize("header", [HEADERS[0][0], HEADER], ids=["v1", "v2"])
async def test_in_front_of_tls_at_every_split(files: CertificateFiles, header: bytes) -> None:
    """With the whole ClientHello behind it."""
    async with target(echo) as port, balanced_proxy(listener(files)) as proxy:
        for index in range(len(header) + 20):
            with await proxy.connect() as sock:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                client = TlsClient(sock, files, header=header)
                await client.shake(split=index)
                await client.send(NO_AUTH + request("127.0.0.1", port) + b"early")
                await client.finish()
                assert (await client.receive_all())[12:] == b"early", f"split at {index}"
        clients = {fields["client"] for event, fields in proxy.events if event == "flow_opened"}
        assert clients == {str(SOURCE)}


async def test_a_tls_that_fails_behind_a_header_is_the_sources(files: CertificateFiles) -> None:
    with structlog.testing.capture_logs() as logs:
        async with balanced_proxy(listener(files)) as proxy:
            await said(proxy, HEADER + NO_AUTH + bytes(20))
            assert proxy.counted(Metrics.FAILED, Failure.TLS) == 1
    [line] = [line for line in logs if line["event"] == "client_refused"]
    assert (line["client"], line["reason"]) == (str(SOURCE), "WRONG_VERSION_NUMBER")
