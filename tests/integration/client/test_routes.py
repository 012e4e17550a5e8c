"""Dials that succeed and dials that fail at each stage, against real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import dns.message
import dns.rcode
import dns.rrset
import pytest
from aiohttp import web

from client.certificates import write_self_signed
from client.messages import Ping, Pong
from client.routes import Attempt, DialError, Route, tcp
from client.routes.catalogue import make_routes
from client.routes.connection import DialContext, tls_context
from client.routes.direct import Direct
from client.routes.resolver import Resolver
from client.routes.settings import TcpSegmentRoute, TlsFragmentRoute
from client.routes.tcp_segment import TcpSegment
from client.routes.tls_fragment import TlsFragment
from client.settings import DialSettings, OriginAddress, ResolverSettings, SenderSettings
from sidedoor.settings import SettingsError
from tests.integration.client.dials import QUICK, failing, listener, resets, silent
from tests.integration.client.world import NAME, World, free_port, own_proxy

pytestmark = pytest.mark.alone

Answer = Callable[[dns.message.Message], dns.message.Message | None]


def route(settings: SenderSettings, name: str = "direct") -> Route:
    return make_routes(settings, settings.routes)[name]


def settings(messenger: World, proxies: dict[str, int] | None = None, **more: Any) -> SenderSettings:
    """Without a gate: the direct path leads to the origin itself."""
    resolver = ResolverSettings(hosts={NAME: ("127.0.0.1",), "other.example": ("127.0.0.1",)})
    return messenger.settings(proxies or {}, **({"dial": QUICK, "resolver": resolver} | more))


# -- dials that succeed


async def test_direct_passes_its_stages_and_carries_records(messenger: World) -> None:
    connection = await route(settings(messenger)).dial(attempt := Attempt())
    try:
        assert list(attempt.stages) == ["dns", "tcp", "tls", "upgrade"]
        assert attempt.locals == [connection.local]
        await connection.send(Ping(5))
        assert await connection.receive() == Pong(5)
    finally:
        await connection.close()
    assert await connection.receive() is None
    assert connection.failure == "eof_error"


async def test_socks5_lets_the_proxy_resolve_the_name(messenger: World) -> None:
    async with own_proxy() as port:
        without_dns = settings(messenger, {"proxy1": port}, resolver=ResolverSettings(nameservers=("127.0.0.1:9",)))
        connection = await route(without_dns, "proxy1").dial(attempt := Attempt())
        await connection.close()
    assert list(attempt.stages) == ["dns", "tcp", "socks_greeting", "socks_request", "tls", "upgrade"]


async def test_the_key_log_is_written(messenger: World, tmp_path: Path) -> None:
    keylog = tmp_path / "keys"
    await (await route(settings(messenger, keylog_file=str(keylog))).dial(Attempt())).close()
    assert "CLIENT_TRAFFIC_SECRET_0" in keylog.read_text()


async def test_an_abort_is_a_reset_on_the_wire() -> None:
    """What is unsent is not sent any more: the peer's read fails instead of ending."""
    ended = asyncio.get_running_loop().create_future()

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            ended.set_result(await reader.read())
        except ConnectionResetError as error:
            ended.set_result(error)
        writer.close()

    async with listener(peer) as port:
        sock = await tcp.connect(["127.0.0.1"], port, QUICK, Attempt())
        sock.close()
        assert isinstance(await ended, ConnectionResetError)


# -- dials that fail


async def test_nobody_listens(messenger: World) -> None:
    assert await failing(route(messenger.settings({}, dial=QUICK))) == ("tcp", "connection_refused")


@pytest.mark.parametrize(
    ("handle", "expected"),
    [(silent, ("tls", "generic_timeout_error")), (resets, ("tls", "connection_reset"))],
    ids=["silence", "reset"],
)
async def test_tls_fails(messenger: World, handle: Any, expected: tuple[str, str]) -> None:
    async with listener(handle) as port:
        messenger.port = port
        assert await failing(route(settings(messenger))) == expected


async def test_an_end_in_the_middle_of_the_handshake_is_an_end(messenger: World) -> None:
    async def ends(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        await asyncio.sleep(0.01)
        await reader.read(65536)
        writer.close()

    async with listener(ends) as port:
        messenger.port = port
        assert await failing(route(settings(messenger))) == ("tls", "eof_error")


async def test_a_server_that_knows_no_messages(messenger: World) -> None:
    """TLS stands, but the path of the WebSocket leads nowhere: another site on the same address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(messenger.files.certificate, messenger.files.key)
    runner = web.AppRunner(web.Application(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port := free_port(), ssl_context=context)
    await site.start()
    try:
        messenger.port = port
        stage, failure = await failing(route(settings(messenger)))
    finally:
        await runner.cleanup()
    assert stage == "upgrade"
    assert "404" in failure


async def test_a_certificate_of_another_authority(messenger: World, tmp_path: Path) -> None:
    other = write_self_signed(tmp_path / "other", [NAME])
    assert await failing(route(settings(messenger, ca_file=str(other.ca)))) == ("tls", "ssl_unknown_authority")


async def test_a_certificate_for_another_name(messenger: World) -> None:
    wrong = settings(messenger, origin=OriginAddress("other.example", messenger.port))
    assert await failing(route(wrong)) == ("tls", "ssl_invalid_hostname")


async def test_a_proxy_that_cannot_reach_the_origin(messenger: World) -> None:
    messenger.port = free_port()
    async with own_proxy() as port:
        failed = await failing(route(settings(messenger, {"proxy1": port}), "proxy1"))
    assert failed == ("socks_request", "socks_connection_refused")


async def test_a_proxy_with_other_passwords(messenger: World) -> None:
    async with own_proxy(alice="secret") as port:
        wrong = messenger.proxy_route("proxy1", port, username="alice", password="guess")
        assert await failing(route(settings(messenger, routes=(wrong,)), "proxy1")) == ("socks_auth", "socks_error")
        none = messenger.proxy_route("proxy1", port)
        assert await failing(route(settings(messenger, routes=(none,)), "proxy1")) == ("socks_greeting", "socks_error")


@pytest.mark.parametrize(
    ("handle", "expected"),
    [(silent, ("socks_greeting", "generic_timeout_error")), (resets, ("socks_greeting", "connection_reset"))],
    ids=["silence", "reset"],
)
async def test_a_proxy_that_is_none(messenger: World, handle: Any, expected: tuple[str, str]) -> None:
    async with listener(handle) as port:
        assert await failing(route(settings(messenger, {"proxy1": port}), "proxy1")) == expected


async def test_files_that_cannot_be_used(messenger: World, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for name, reason in (("missing", "No such file"), ("empty", "cannot be used")):
        with pytest.raises(SettingsError, match=f"ca_file .*{reason}"):
            route(settings(messenger, ca_file=str(tmp_path / name)))
    with pytest.raises(SettingsError, match=r"keylog_file .*No such file"):
        route(settings(messenger, keylog_file=str(tmp_path / "no" / "keys")))


# -- several addresses


async def test_the_second_address_is_tried_at_once_when_the_first_refuses(messenger: World) -> None:
    slow = DialSettings(stagger_seconds=5.0)
    attempt = Attempt()
    began = time.monotonic()
    sock = await tcp.connect(["127.0.0.9", "::1"], messenger.port, slow, attempt)
    sock.close()
    assert time.monotonic() - began < 1.0
    assert attempt.locals[-1].startswith("[::1]:")


async def test_an_address_that_is_silent_is_overtaken_after_the_stagger(messenger: World) -> None:
    """A listener whose queue of connections is full answers no SYN."""
    with socket.socket() as deaf, contextlib.ExitStack() as stack:
        deaf.bind(("127.0.0.9", messenger.port))
        deaf.listen(0)
        for _ in range(2):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
        sock = await tcp.connect(["127.0.0.9", "127.0.0.1"], messenger.port, QUICK, attempt := Attempt())
        with sock:
            assert sock.getpeername()[0] == "127.0.0.1"
        assert len(attempt.locals) == 2, "the port of the silent attempt is known, too"
        with pytest.raises(TimeoutError):
            await tcp.connect(["127.0.0.9"], messenger.port, QUICK, Attempt())


# -- names


class NameServer(asyncio.DatagramProtocol):
    """Answers as told; an answer of None is silence."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        answer = self._answer(dns.message.from_wire(data))
        if answer is not None:
            self._transport.sendto(answer.to_wire(), addr)


@contextlib.asynccontextmanager
async def name_server(answer: Answer) -> AsyncIterator[Resolver]:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: NameServer(answer), local_addr=("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    try:
        yield Resolver(ResolverSettings(nameservers=(f"127.0.0.1:{port}",), try_seconds=0.2, total_seconds=0.4))
    finally:
        transport.close()


def records(**by_type: list[str]) -> Answer:
    def answer(query: dns.message.Message) -> dns.message.Message:
        response = dns.message.make_response(query)
        question = query.question[0]
        addresses = by_type.get(question.rdtype.name, [])
        if addresses:
            response.answer.append(dns.rrset.from_text(question.name, 60, "IN", question.rdtype.name, *addresses))
        return response

    return answer


@pytest.mark.parametrize(
    "make", [Direct, partial(TlsFragment, TlsFragmentRoute()), partial(TcpSegment, TcpSegmentRoute())]
)
async def test_addresses_that_a_nameserver_gave_are_noted_and_no_others(
    messenger: World, make: Callable[[DialContext], Route]
) -> None:
    end = settings(messenger, origin=OriginAddress("other.example", messenger.port))
    async with name_server(records(A=["127.0.0.1"])) as asked:
        for resolver, addresses in ((asked, ("127.0.0.1",)), (Resolver(end.resolver), ())):
            with pytest.raises(DialError, match="ssl_invalid_hostname"):
                await make(DialContext(end, tls_context(end), resolver)).dial(attempt := Attempt())
            assert attempt.addresses == addresses


def code(rcode: dns.rcode.Rcode) -> Answer:
    def answer(query: dns.message.Message) -> dns.message.Message:
        response = dns.message.make_response(query)
        response.set_rcode(rcode)
        return response

    return answer


async def test_both_families_are_interleaved_ipv6_first() -> None:
    answer = records(A=["192.0.2.1", "192.0.2.2", "192.0.2.3"], AAAA=["2001:db8::1", "2001:db8::2"])
    async with name_server(answer) as resolver:
        addresses = await resolver.resolve("messenger.example")
    assert [":" in address for address in addresses] == [True, False, True, False, False]


@pytest.mark.parametrize("type_", ["A", "AAAA"])
async def test_one_family_is_enough(type_: str) -> None:
    address = {"A": "192.0.2.1", "AAAA": "2001:db8::1"}[type_]
    async with name_server(records(**{type_: [address]})) as resolver:
        assert await resolver.resolve("messenger.example") == [address]


async def test_the_silence_of_one_family_delays_little() -> None:
    full = records(A=["192.0.2.1"])
    async with name_server(lambda query: full(query) if query.question[0].rdtype.name == "A" else None) as resolver:
        began = time.monotonic()
        assert await resolver.resolve("messenger.example") == ["192.0.2.1"]
        assert time.monotonic() - began < 0.3


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (code(dns.rcode.NXDOMAIN), "dns_nxdomain_error"),
        (code(dns.rcode.SERVFAIL), "dns_servfail_error"),
        (code(dns.rcode.REFUSED), "dns_refused_error"),
        (records(), "dns_no_answer"),
        (lambda query: None, "generic_timeout_error"),
    ],
    ids=["nxdomain", "servfail", "refused", "no answer", "silence"],
)
async def test_names_that_lead_nowhere(answer: Answer, failure: str) -> None:
    async with name_server(answer) as resolver:
        attempt = Attempt()
        with pytest.raises(DialError) as caught:
            async with attempt.stage("dns"):
                await resolver.resolve("messenger.example")
    assert caught.value.failure == failure


async def test_localhost_and_the_hosts_own_table_come_before_dns(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("192.0.2.7 named.example\n2001:db8::7 named.example\n127.0.0.9 localhost\n")
    nobody = ResolverSettings(nameservers=("127.0.0.1:9",), hosts_file=str(tmp_path / "hosts"))
    resolver = Resolver(nobody)
    assert await resolver.resolve("localhost") == await resolver.resolve("a.LOCALHOST.") == ["::1", "127.0.0.1"]
    assert await resolver.resolve("Named.example") == ["2001:db8::7", "192.0.2.7"]


@pytest.mark.parametrize("text", ["messenger.example", "127.0.0.1:x", "[::1]:", ""])
def test_a_nameserver_that_is_no_address(text: str) -> None:
    with pytest.raises(SettingsError, match="expected ADDRESS"):
        Resolver(ResolverSettings(nameservers=(text,)))


async def test_addresses_and_known_hosts_need_no_query() -> None:
    resolver = Resolver(ResolverSettings(nameservers=("127.0.0.1:9", "[::1]:9"), hosts={"a.example": ("192.0.2.1",)}))
    assert await resolver.resolve("2001:db8::1") == ["2001:db8::1"]
    assert await resolver.resolve("a.example") == ["192.0.2.1"]
    asked = [name for name in ("2001:db8::1", "a.example", "localhost", "b.example") if resolver.asks(name)]
    assert asked == ["b.example"]
