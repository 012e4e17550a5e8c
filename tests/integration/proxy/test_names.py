"""The resolvers that ask by themselves, against real servers of this test on the loopback: DNS and DNS over HTTPS."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from aiohttp import web

from client.certificates import CertificateFiles, write_self_signed
from proxy.resolver import Resolver, open_resolver
from proxy.settings import ResolverSettings
from tests.integration.proxy.world import SECONDS

BOTH = [(socket.AF_INET6, ("2001:db8::1", 80, 0, 0)), (socket.AF_INET, ("192.0.2.1", 80))]
ADDRESSES = {"A": "192.0.2.1", "AAAA": "2001:db8::1"}


def answer(query: dns.message.Message, *, rcode: int = 0, flags: int = 0) -> dns.message.Message:
    """The two addresses, whatever name is asked for; with another rcode nothing."""
    message = dns.message.make_response(query, recursion_available=True)
    message.flags |= flags
    message.set_rcode(dns.rcode.Rcode(rcode))
    question = query.question[0]
    if not rcode and not flags:
        type_ = dns.rdatatype.to_text(question.rdtype)
        message.answer.append(dns.rrset.from_text(question.name, 60, "IN", type_, ADDRESSES[type_]))
    return message


@dataclass
class Query:
    """What came, from where, and a way to answer it."""

    message: dns.message.Message
    peer: tuple[str, int]
    tcp: bool
    say: Callable[[bytes], object] = field(repr=False)


@dataclass
class DnsServer:
    """A DNS server on UDP and TCP of one port, which does with each query what the test says."""

    behave: Callable[[Query], object]
    host: str = "127.0.0.1"
    address: str = ""
    queries: list[Query] = field(default_factory=list)

    def take(self, data: bytes, peer: tuple[str, int], tcp: bool, say: Callable[[bytes], object]) -> None:
        query = Query(dns.message.from_wire(data), peer, tcp, say)
        self.queries.append(query)
        self.behave(query)


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self.server = server

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.server.take(data, addr, False, lambda reply: self.transport.sendto(reply, addr))


@contextlib.asynccontextmanager
async def dns_server(behave: Callable[[Query], object], host: str = "127.0.0.1") -> AsyncIterator[DnsServer]:
    server = DnsServer(behave, host)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            size = int.from_bytes(await reader.readexactly(2), "big")
            data = await reader.readexactly(size)
            server.take(data, writer.get_extra_info("peername")[:2], True, writer.write)
        writer.close()

    listener = await asyncio.start_server(serve, host, 0)
    port = listener.sockets[0].getsockname()[1]
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Datagrams(server), local_addr=(host, port)
    )
    server.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        yield server
    finally:
        transport.close()
        listener.close()
        await listener.wait_closed()


def framed(message: dns.message.Message) -> bytes:
    wire = message.to_wire()
    return len(wire).to_bytes(2, "big") + wire


def right(query: Query) -> None:
    query.say(framed(answer(query.message)) if query.tcp else answer(query.message).to_wire())


def truncated_over_udp(query: Query) -> None:
    if query.tcp:
        right(query)
    else:
        query.say(answer(query.message, flags=dns.flags.TC).to_wire())


def silent(query: Query) -> None:
    pass


def saying(rcode: int) -> Callable[[Query], object]:
    return lambda query: query.say(answer(query.message, rcode=rcode).to_wire())


@contextlib.contextmanager
def asking(*servers: str, timeout_seconds: float = SECONDS, cache_names: int = 0) -> Iterator[Resolver]:
    resolver = open_resolver(
        ResolverSettings(kind="dns", servers=servers, timeout_seconds=timeout_seconds, cache_names=cache_names)
    )
    try:
        yield resolver
    finally:
        resolver.close()


def nobodys_port() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{sock.getsockname()[1]}"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_both_families_each_from_its_own_port(host: str) -> None:
    async with dns_server(right, host) as server:
        with asking(server.address) as resolver:
            assert await resolver.resolve("A.Example.", 80) == BOTH
        assert {query.message.question[0].to_text() for query in server.queries} == {
            "a.example. IN A",
            "a.example. IN AAAA",
        }
        assert len({query.peer for query in server.queries}) == 2
        assert not any(query.tcp for query in server.queries)


async def test_what_is_too_long_for_udp_is_asked_for_over_tcp() -> None:
    async with dns_server(truncated_over_udp) as server:
        with asking(server.address) as resolver:
            assert await resolver.resolve("a.example", 80) == BOTH
        assert sorted(query.tcp for query in server.queries) == [False, False, True, True]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "0 bytes read"),
        (b"\x00\x05abc", "3 bytes read"),
        (b"\x00\x03abc", "something else than the answer"),
    ],
)
async def test_tcp_that_brings_no_answer(data: bytes, why: str) -> None:
    def behave(query: Query) -> None:
        if query.tcp:
            query.say(data)
        else:
            truncated_over_udp(query)

    async with dns_server(behave) as server:
        with asking(server.address) as resolver, pytest.raises(socket.gaierror, match=why) as failed:
            await resolver.resolve("a.example", 80)
        assert failed.value.errno == socket.EAI_AGAIN


async def test_what_is_no_answer_to_the_question_is_passed_over() -> None:
    def behave(query: Query) -> None:
        forged = answer(query.message)
        forged.id ^= 1
        query.say(forged.to_wire())
        query.say(answer(dns.message.make_query("b.example", "A", id=query.message.id)).to_wire())
        query.say(b"\x00" * 12)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind(("127.0.0.9", 0))
            fake = answer(query.message, rcode=dns.rcode.NXDOMAIN)
            stranger.sendto(fake.to_wire(), query.peer)
        right(query)
        right(query)  # and once more: nobody minds

    async with dns_server(behave) as server:
        with asking(server.address) as resolver:
            assert await resolver.resolve("a.example", 80) == BOTH


@pytest.mark.parametrize("behave", [silent, saying(dns.rcode.SERVFAIL), saying(dns.rcode.REFUSED)])
async def test_the_next_server_is_asked_and_then_asked_first(behave: Callable[[Query], object]) -> None:
    async with dns_server(behave) as bad, dns_server(right) as good:
        with asking(bad.address, good.address, timeout_seconds=0.1) as resolver:
            assert await resolver.resolve("a.example", 80) == BOTH
            assert len(bad.queries) == 2
            assert await resolver.resolve("b.example", 80) == BOTH
            assert len(bad.queries) == 2


async def test_every_server_is_asked_twice() -> None:
    async with dns_server(silent) as first, dns_server(silent) as second:
        why = r"no answer within 0\.05 s \(asked 4 times"
        servers = (first.address, second.address)
        with asking(*servers, timeout_seconds=0.05) as resolver, pytest.raises(socket.gaierror, match=why) as failed:
            await resolver.resolve("a.example", 80)
        assert failed.value.errno == socket.EAI_AGAIN
        assert (len(first.queries), len(second.queries)) == (4, 4)


async def test_a_port_without_a_server_is_known_at_once() -> None:
    with asking(nobodys_port()) as resolver, pytest.raises(socket.gaierror, match="refused"):
        await resolver.resolve("a.example", 80)


async def test_no_such_name() -> None:
    async with dns_server(saying(dns.rcode.NXDOMAIN)) as server:
        with asking(server.address) as resolver, pytest.raises(socket.gaierror) as none:
            await resolver.resolve("a.example", 80)
        assert none.value.errno == socket.EAI_NONAME


async def test_a_server_that_is_silent_about_one_family() -> None:
    def behave(query: Query) -> None:
        if query.message.question[0].rdtype == dns.rdatatype.A:
            right(query)

    async with dns_server(behave) as server:
        with asking(server.address) as resolver:
            assert await asyncio.wait_for(resolver.resolve("a.example", 80), SECONDS / 2) == BOTH[1:]


async def test_answers_are_remembered() -> None:
    async with dns_server(right) as server:
        with asking(server.address, cache_names=10) as resolver:
            for _ in range(3):
                assert await asyncio.gather(*(resolver.resolve("a.example", port) for port in (80, 80))) == [BOTH] * 2
        assert len(server.queries) == 2


async def test_names_that_are_not_asked_for() -> None:
    async with dns_server(right) as server:
        with asking(server.address) as resolver:
            assert [name[0] for _, name in await resolver.resolve("a.localhost", 80)] == ["::1", "127.0.0.1"]
            for host in ("127.1", "x" * 64, "a..b"):
                with pytest.raises(socket.gaierror):
                    await resolver.resolve(host, 80)
        assert server.queries == []


async def test_giving_up_and_closing_leave_nothing() -> None:
    """Descriptors are counted by the fixture of this folder."""
    asked = asyncio.Event()
    async with dns_server(lambda query: asked.set()) as server:
        with asking(server.address) as resolver:
            for end, error in ((asyncio.Task.cancel, asyncio.CancelledError), (lambda _: resolver.close(), OSError)):
                asked.clear()
                task = asyncio.create_task(resolver.resolve("a.example", 80))
                await asyncio.wait_for(asked.wait(), SECONDS)
                end(task)
                with pytest.raises(error):
                    await task


@dataclass
class DohServer:
    """A DNS-over-HTTPS server that answers each request as the test says."""

    url: str = ""
    queries: list[dns.message.Message] = field(default_factory=list)
    connections: set[object] = field(default_factory=set)


def doh_answer(query: dns.message.Message) -> web.Response:
    return web.Response(body=answer(query).to_wire(), content_type="application/dns-message")


@contextlib.asynccontextmanager
async def doh_server(
    files: CertificateFiles, behave: Callable[[dns.message.Message], web.Response | None] = doh_answer
) -> AsyncIterator[DohServer]:
    server = DohServer()

    async def serve(request: web.Request) -> web.Response:
        assert request.method == "POST"
        assert request.headers["Content-Type"] == request.headers["Accept"] == "application/dns-message"
        query = dns.message.from_wire(await request.read())
        server.queries.append(query)
        assert request.transport is not None
        server.connections.add(request.transport.get_extra_info("peername"))
        return behave(query) or await asyncio.get_running_loop().create_future()

    application = web.Application()
    application.router.add_route("*", "/dns-query", serve)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        server.url = f"https://localhost:{runner.addresses[0][1]}/dns-query"
        yield server
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def doh(url: str, ca: Path | str, timeout_seconds: float = SECONDS) -> AsyncIterator[Resolver]:
    resolver = open_resolver(
        ResolverSettings(kind="doh", url=url, ca=str(ca), timeout_seconds=timeout_seconds, cache_names=0)
    )
    try:
        yield resolver
    finally:
        resolver.close()


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    return write_self_signed(tmp_path, ["localhost"])


async def test_doh_over_connections_that_are_kept(files: CertificateFiles) -> None:
    async with doh_server(files) as server, doh(server.url, files.ca) as resolver:
        for _ in range(3):
            assert await resolver.resolve("a.example", 80) == BOTH
        assert len(server.queries) == 6
        assert {query.id for query in server.queries} == {0}
        assert len(server.connections) <= 2  # one for each of the two questions at a time


@pytest.mark.parametrize(
    ("response", "why"),
    [
        (lambda query: web.Response(status=500), "HTTP status 500"),
        (lambda query: web.Response(status=302, headers={"Location": "/dns-query"}), "HTTP status 302"),
        (lambda query: web.Response(text="hello"), "text/plain"),
        (lambda query: web.Response(body=b"x" * 65536, content_type="application/dns-message"), "more than 65535"),
        (lambda query: web.Response(body=b"x", content_type="application/dns-message"), "something else"),
        (
            lambda query: web.Response(
                body=answer(query, flags=dns.flags.TC).to_wire(), content_type="application/dns-message"
            ),
            "something else",
        ),
        (
            lambda query: web.Response(
                body=answer(query, rcode=dns.rcode.SERVFAIL).to_wire(), content_type="application/dns-message"
            ),
            "SERVFAIL",
        ),
    ],
)
async def test_doh_that_brings_no_answer(
    files: CertificateFiles, response: Callable[[dns.message.Message], web.Response], why: str
) -> None:
    async with doh_server(files, response) as server, doh(server.url, files.ca) as resolver:
        with pytest.raises(socket.gaierror, match=why) as failed:
            await resolver.resolve("a.example", 80)
        assert failed.value.errno == socket.EAI_AGAIN
        assert server.url in str(failed.value)
        assert len(server.queries) == 4


async def test_doh_that_is_silent(files: CertificateFiles) -> None:
    async with doh_server(files, lambda query: None) as server, doh(server.url, files.ca, 0.3) as resolver:
        with pytest.raises(socket.gaierror, match=r"no answer within 0\.3 s"):
            await resolver.resolve("a.example", 80)


async def test_doh_with_an_authority_that_is_not_trusted(files: CertificateFiles) -> None:
    async with doh_server(files) as server, doh(server.url, "") as resolver:
        with pytest.raises(socket.gaierror, match="certificate verify failed"):
            await resolver.resolve("a.example", 80)
        assert server.queries == []


async def test_doh_with_a_certificate_for_another_name(files: CertificateFiles) -> None:
    async with doh_server(files) as server, doh(server.url.replace("localhost", "127.0.0.1"), files.ca) as resolver:
        with pytest.raises(socket.gaierror, match="certificate"):
            await resolver.resolve("a.example", 80)
        assert server.queries == []


async def test_doh_without_a_server(files: CertificateFiles) -> None:
    url = f"https://localhost:{nobodys_port().rpartition(':')[2]}/dns-query"
    async with doh(url, files.ca) as resolver:
        with pytest.raises(socket.gaierror, match="localhost"):
            await resolver.resolve("a.example", 80)
