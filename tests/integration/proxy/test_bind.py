"""BIND on the whole proxy (RFC 1928 section 4): both replies, who may come, and what becomes of the port."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog

from proxy import server
from proxy.relay import PortableRelay
from proxy.relay.flow import prepare
from proxy.settings import Listener, ProxySettings, Rule, Upstream
from proxy.wire import Address, AddressType, Command, Reply, ReplyCode, Request, Socks4Code, read_reply, write_request
from proxy.wire.socks4 import (
    Socks4Command,
    Socks4Reply,
    Socks4Request,
    read_socks4_reply,
    write_socks4_request,
)
from tests.integration.proxy.test_associate import names
from tests.integration.proxy.test_server import NO_AUTH, REFUSAL, relays, request, talk
from tests.integration.proxy.world import Proxy, receive, receive_all, running_proxy, send, until

ANYBODY = Address.of("0.0.0.0", 0)


def bind_request(peer: Address) -> bytes:
    return NO_AUTH + write_request(Request(Command.BIND, peer))


async def reply(sock: socket.socket, family: int = socket.AF_INET) -> Reply:
    found = read_reply(bytearray(await receive(sock, 22 if family == socket.AF_INET6 else 10)))
    assert found is not None
    return found


@contextlib.asynccontextmanager
async def bound(proxy: Proxy, peer: Address = ANYBODY, early: bytes = b"") -> AsyncIterator[tuple[Any, Address]]:
    """A client for which the proxy waits, and where it does."""
    with await proxy.connect() as sock:
        await send(sock, bind_request(peer) + early)
        assert await receive(sock, 2) == b"\x05\x00"
        first = await reply(sock, sock.family)
        assert first.code is ReplyCode.SUCCEEDED
        yield sock, first.bound


async def come(to: Address, source: str = "") -> socket.socket:
    """A peer that has connected."""
    sock = socket.socket(socket.AF_INET6 if to.type is AddressType.IPV6 else socket.AF_INET)
    sock.setblocking(False)
    try:
        if source:
            sock.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(sock, (to.host, to.port))
    except BaseException:
        sock.close()
        raise
    return sock


async def turned_away(to: Address, source: str = "127.0.0.1") -> None:
    """A stranger is met with a reset: as soon as it has connected, or before it knows that it has."""
    with pytest.raises(ConnectionResetError), await come(to, source) as sock:
        await receive(sock, 1)


async def is_free(place: Address) -> None:
    """Wait until nobody listens at `place` any more. (Connecting would make a peer of whoever asks.)"""

    def free() -> bool:
        with socket.socket() as probe:
            try:
                probe.bind((place.host, place.port))
            except OSError:
                return False
            return True

    await until(free)


@relays
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_both_replies_and_bytes_both_ways(host: str, portable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if portable:
        monkeypatch.setattr(server, "open_relay", PortableRelay)
    listen = f"[{host}]:0" if ":" in host else f"{host}:0"
    async with running_proxy(listen=(listen,)) as proxy, bound(proxy, Address.of(host, 0)) as (sock, place):
        assert place.host == host
        assert place.port not in (0, proxy.port)
        with await come(place) as peer:
            second = await reply(sock, sock.family)
            assert second == Reply(ReplyCode.SUCCEEDED, Address.of(*peer.getsockname()[:2]))
            await send(peer, b"from the peer")
            assert await receive(sock, 13) == b"from the peer"
            await send(sock, b"from the client")
            sock.shutdown(socket.SHUT_WR)
            assert await receive_all(peer) == b"from the client"
            await send(peer, b"behind a half-close")
            peer.shutdown(socket.SHUT_WR)
            assert await receive_all(sock) == b"behind a half-close"
        assert (await proxy.event("flow_closed"))["reason"] == "eof"


@relays
@pytest.mark.parametrize("pipelined", [True, False], ids=["behind the request", "behind the first reply"])
@pytest.mark.parametrize("ended", [True, False], ids=["and a FIN", "and more to come"])
async def test_early_data_goes_to_the_peer_first(
    pipelined: bool, ended: bool, portable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if portable:
        monkeypatch.setattr(server, "open_relay", PortableRelay)
    early = b"early data"
    async with running_proxy() as proxy, bound(proxy, early=early if pipelined else b"") as (sock, place):
        if not pipelined:
            await send(sock, early)
        if ended:
            sock.shutdown(socket.SHUT_WR)
        with await come(place) as peer:
            assert (await reply(sock)).code is ReplyCode.SUCCEEDED
            if not ended:
                await send(sock, b" and more")
                early += b" and more"
                sock.shutdown(socket.SHUT_WR)
            assert await receive_all(peer) == early


async def test_the_wrong_peer_is_refused_and_the_right_one_served() -> None:
    with structlog.testing.capture_logs() as logs:
        async with running_proxy() as proxy, bound(proxy, Address.of("127.0.0.2", 4000)) as (sock, place):
            await turned_away(place, "127.0.0.3")
            with await come(place, "127.0.0.2") as peer:  # from any port: only the host is checked
                assert (await reply(sock)).bound == Address.of(*peer.getsockname())
                await send(peer, b"hello")
                assert await receive(sock, 5) == b"hello"
    refused = [line for line in logs if line["event"] == "bind_peer_refused"]
    assert [line["peer"].partition(":")[0] for line in refused] == ["127.0.0.3"]


@pytest.mark.parametrize("peer", [ANYBODY, Address.of("::", 0)], ids=str)
async def test_the_unspecified_address_is_anybody(peer: Address) -> None:
    async with running_proxy() as proxy, bound(proxy, peer) as (sock, place):
        with await come(place, "127.0.0.9"):
            assert (await reply(sock)).bound.host == "127.0.0.9"


async def test_a_second_peer_finds_the_port_closed() -> None:
    async with running_proxy() as proxy, bound(proxy) as (sock, place):
        with await come(place):
            await reply(sock)
            with pytest.raises(ConnectionRefusedError):
                await come(place)


async def test_a_name_as_the_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch, {"peer.example": ["127.0.0.6", "127.0.0.7"]})
    async with running_proxy() as proxy:
        async with bound(proxy, Address.of("peer.example", 20)) as (sock, place):
            await turned_away(place, "127.0.0.5")
            with await come(place, "127.0.0.7"):
                assert (await reply(sock)).bound.host == "127.0.0.7"
        assert await talk(proxy, bind_request(Address.of("nobody.example", 20))) == b"\x05\x00\x05\x04" + REFUSAL


async def test_the_peer_has_so_long_and_no_longer() -> None:
    async with running_proxy(bind_seconds=0.2) as proxy, bound(proxy) as (sock, place):
        assert await receive_all(sock) == b"\x05\x04" + REFUSAL
        await is_free(place)
        assert (await proxy.event("flow_refused"))["reply"] == "HOST_UNREACHABLE"


@relays
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
async def test_a_client_that_goes_frees_the_port(reset: bool, portable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if portable:
        monkeypatch.setattr(server, "open_relay", PortableRelay)
    async with running_proxy() as proxy:
        async with bound(proxy) as (sock, place):
            if reset:
                prepare(sock)
            sock.close()
            await is_free(place)
        await until(lambda: not proxy.server._sessions)
        assert proxy.events[1:] == []


async def test_a_client_that_is_gone_when_the_peer_comes() -> None:
    """It had said something, so it was waited for; its peer is told."""
    async with running_proxy() as proxy:
        async with bound(proxy) as (sock, place):
            await send(sock, b"early")
            await until(lambda: not next(iter(proxy.server._sessions)).reading)
            prepare(sock)
            sock.close()
            with pytest.raises(ConnectionResetError):
                await receive_all(await come(place))
        await until(lambda: not proxy.server._sessions)


async def test_a_client_that_resets_while_a_name_is_looked_up_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal cannot be said to anybody; the server is still there afterwards."""
    asked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    class Names:
        async def resolve(self, host: str, port: int) -> Any:
            asked.set_result(None)
            await answer
            raise socket.gaierror(socket.EAI_NONAME, "no such name")

        def close(self) -> None:
            pass

    monkeypatch.setattr(server, "open_resolver", lambda settings: Names())
    async with running_proxy() as proxy:
        with await proxy.connect() as sock:
            await send(sock, bind_request(Address.of("slow.example", 20)))
            await asked
            prepare(sock)
        answer.set_result(None)
        await until(lambda: not proxy.server._sessions)
        async with bound(proxy) as (_, place):
            assert place.port


async def test_socks4() -> None:
    async def socks4_reply(sock: socket.socket) -> Socks4Reply:
        found = read_socks4_reply(bytearray(await receive(sock, 8)))
        assert found is not None
        return found

    async with running_proxy() as proxy:
        with await proxy.connect() as sock:
            await send(
                sock, write_socks4_request(Socks4Request(Socks4Command.BIND, Address.of("127.0.0.2", 0))) + b"early"
            )
            first = await socks4_reply(sock)
            assert first.code is Socks4Code.GRANTED
            await turned_away(first.bound, "127.0.0.3")
            with await come(first.bound, "127.0.0.2") as peer:
                assert await socks4_reply(sock) == Socks4Reply(Socks4Code.GRANTED, Address.of(*peer.getsockname()))
                assert await receive(peer, 5) == b"early"


NOT_THREE = Rule(action="deny", name="not three", commands=("bind",), destinations=("127.0.0.3",))


async def test_rules_on_the_peer_that_is_named() -> None:
    async with running_proxy(rules=(NOT_THREE,)) as proxy:
        assert await talk(proxy, bind_request(Address.of("127.0.0.3", 0))) == b"\x05\x00\x05\x02" + REFUSAL
        async with bound(proxy, Address.of("127.0.0.2", 0)) as (sock, place):
            with await come(place, "127.0.0.2"):
                assert (await reply(sock)).code is ReplyCode.SUCCEEDED


async def test_rules_on_the_peer_that_comes_uncalled() -> None:
    """0.0.0.0 is no way around them."""
    async with running_proxy(rules=(NOT_THREE,)) as proxy, bound(proxy) as (sock, place):
        await turned_away(place, "127.0.0.3")
        with await come(place, "127.0.0.2"):
            assert (await reply(sock)).bound.host == "127.0.0.2"


async def test_the_guard_holds_for_peers() -> None:
    async with running_proxy(inside="deny", bind_seconds=0.3) as proxy:
        assert await talk(proxy, bind_request(Address.of("127.0.0.3", 0))) == b"\x05\x00\x05\x02" + REFUSAL
        async with bound(proxy) as (sock, place):
            await turned_away(place)
            assert await receive_all(sock) == b"\x05\x04" + REFUSAL


async def test_rules_on_the_command() -> None:
    async with running_proxy(rules=(Rule(action="deny", commands=("bind",)),)) as proxy:
        for peer in (ANYBODY, Address.of("127.0.0.2", 0), Address.of("a.example", 0)):
            assert await talk(proxy, bind_request(peer)) == b"\x05\x00\x05\x02" + REFUSAL


async def test_it_waits_at_the_egress_address() -> None:
    rule = Rule(action="allow", commands=("bind",), egress=("127.0.0.8",))
    async with running_proxy(egress=("127.0.0.5",)) as proxy, bound(proxy, Address.of("127.0.0.2", 0)) as (_, place):
        assert place.host == "127.0.0.5"
        proxy.server.apply(ProxySettings(listen=("127.0.0.1:0",), egress=("127.0.0.5",), rules=(rule,)))
        for peer in (ANYBODY, Address.of("127.0.0.2", 0)):
            async with bound(proxy, peer) as (_, other):
                assert other.host == "127.0.0.8"


async def test_an_egress_address_that_is_not_ours_is_a_refusal() -> None:
    async with running_proxy(egress=("198.51.100.1",)) as proxy:
        assert await talk(proxy, bind_request(ANYBODY)) == b"\x05\x00\x05\x03" + REFUSAL


async def test_there_is_no_bind_through_an_upstream() -> None:
    upstreams = {"far": Upstream(url="socks5://127.0.0.1:1")}
    async with running_proxy(upstreams=upstreams, via="far") as proxy:
        assert await talk(proxy, bind_request(ANYBODY)) == b"\x05\x00\x05\x07" + REFUSAL


async def test_it_waits_where_the_client_came_to() -> None:
    listeners = (Listener(address="127.0.0.5:0"),)
    async with running_proxy(listen=listeners) as proxy, bound(proxy) as (_, place):
        assert place.host == "127.0.0.5"


async def test_stopping_while_a_name_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asyncio.Event()

    class Names:
        async def resolve(self, host: str, port: int) -> Any:
            asked.set()
            await asyncio.get_running_loop().create_future()

        def close(self) -> None:
            pass

    monkeypatch.setattr(server, "open_resolver", lambda settings: Names())
    async with running_proxy() as proxy:
        sock = await proxy.connect()
        await send(sock, bind_request(Address.of("slow.example", 20)))
        await asked.wait()
    with sock:
        assert await receive_all(sock) == b"\x05\x00"


async def test_stopping_ends_a_wait() -> None:
    async with running_proxy() as proxy:
        sock = await proxy.connect()
        await send(sock, NO_AUTH + request("127.0.0.1", 0, Command.BIND))
        await receive(sock, 2)
        place = (await reply(sock)).bound
    with sock:
        assert await receive_all(sock) == b""
        await is_free(place)
