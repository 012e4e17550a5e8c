"""The whole proxy over loopback: the rows of the SOCKS5 conformance table that concern CONNECT."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import resource
import socket
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from proxy import server
from proxy.dial import Dial
from proxy.flows import Flow
from proxy.listeners import ACCEPTS_AT_ONCE, Acceptor, bind
from proxy.relay import PortableRelay
from proxy.relay.flow import prepare
from proxy.resolver import SystemResolver
from proxy.server import serve
from proxy.settings import ProxySettings
from proxy.wire import (
    Address,
    AddressType,
    Command,
    ReplyCode,
    Request,
    read_reply,
    write_request,
)
from sidedoor.settings import UsageError
from tests.integration.proxy.world import SECONDS, echo, receive, receive_all, running_proxy, send, target

relays = pytest.mark.parametrize("portable", [False, True], ids=["fast", "portable"])
NO_AUTH = b"\x05\x01\x00"
USER_PASSWORD = b"\x05\x01\x02"
ANNA = b"\x01\x04anna\x06secret"
REFUSAL = b"\x00\x01" + bytes(6)


def request(host: str, port: int, command: Command = Command.CONNECT) -> bytes:
    return write_request(Request(command, Address.of(host, port)))


def domain_request(domain: str, port: int) -> bytes:
    return write_request(Request(Command.CONNECT, Address(AddressType.DOMAIN, domain, port)))


async def talk(proxy: Any, data: bytes) -> bytes:
    """Everything the proxy answers to `data`, up to its FIN."""
    with await proxy.connect() as sock:
        await send(sock, data)
        return await receive_all(sock)


@pytest.mark.parametrize(
    ("listen", "host", "wanted"),
    [
        ("127.0.0.1:0", "127.0.0.1", "127.0.0.1"),
        ("[::1]:0", "::1", "::1"),
        ("127.0.0.1:0", "127.0.0.1", "localhost"),
        ("127.0.0.1:0", "::1", "[::1]"),
    ],
    ids=["IPv4", "IPv6", "domain", "IPv6 literal as domain"],
)
async def test_connect(listen: str, host: str, wanted: str) -> None:
    async with target(echo, host) as port, running_proxy(listen=(listen,)) as proxy:
        with await proxy.connect() as sock:
            wire = request(host, port) if wanted == host else domain_request(wanted, port)
            await send(sock, NO_AUTH + wire)
            assert await receive(sock, 2) == b"\x05\x00"
            size = 22 if ":" in host else 10
            reply = read_reply(bytearray(await receive(sock, size)))
            assert reply is not None
            assert reply.code is ReplyCode.SUCCEEDED
            assert reply.bound.host == host
            assert reply.bound.port not in (0, port)
            await send(sock, b"ping")
            assert await receive(sock, 4) == b"ping"
            shown = f"[{host}]:{port}" if wanted in ("::1", "[::1]") else f"{wanted}:{port}"
            opened = await proxy.event("flow_opened")
            assert opened == {"flow": 1, "client": opened["client"], "target": shown}
            assert opened["client"].endswith(f":{sock.getsockname()[1]}")
            sock.shutdown(socket.SHUT_WR)
            assert await receive_all(sock) == b""
            closed = await proxy.event("flow_closed")
            assert closed == {"flow": 1, "bytes_up": 4, "bytes_down": 4, "reason": "eof", "seconds": closed["seconds"]}


@pytest.mark.skipif(not hasattr(socket, "TCP_CONGESTION"), reason="no choice of congestion control here")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_connections_that_stay_on_this_host_are_not_paced(host: str) -> None:
    """Both of a flow's: the accepted one inherits it."""
    name = f"[{host}]:0" if ":" in host else f"{host}:0"
    [bound] = bind([name])
    with bound.sock as listener:
        dialed = Dial(Address.of(host, listener.getsockname()[1]), lambda failed: None).sock
        with await asyncio.to_thread(_accepted, listener) as accepted:
            for sock in (listener, accepted, dialed):
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0") == b"reno"
        dialed.close()


def _accepted(listener: socket.socket) -> socket.socket:
    listener.settimeout(SECONDS)
    return listener.accept()[0]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_name_with_several_addresses(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing answers at one of its addresses: the other one gets the client, whichever comes first."""

    def getaddrinfo(name: str, port: int, **_: Any) -> list[Any]:
        kind = (socket.SOCK_STREAM, 6, "")
        return [(socket.AF_INET6, *kind, ("::1", port, 0, 0)), (socket.AF_INET, *kind, ("127.0.0.1", port))]

    monkeypatch.setattr(server, "open_resolver", lambda settings: SystemResolver(getaddrinfo))
    async with target(echo, host) as port, running_proxy() as proxy:
        with await proxy.connect() as sock:
            await send(sock, NO_AUTH + domain_request("dual.example", port))
            assert await receive(sock, 2) == b"\x05\x00"
            reply = read_reply(bytearray(await receive(sock, 22 if ":" in host else 10)))
            assert reply is not None
            assert (reply.code, reply.bound.host) == (ReplyCode.SUCCEEDED, host)


@pytest.mark.parametrize("authenticate", [False, True])
async def test_every_split_of_the_handshake_with_data_behind_it(authenticate: bool) -> None:
    """`TCP_NODELAY` and a turn of the loop between the halves: two segments, as far as TCP has such a thing."""
    users = {"anna": "secret"} if authenticate else {}
    async with target(echo) as port, running_proxy(users=users) as proxy:
        stream = (USER_PASSWORD + ANNA if authenticate else NO_AUTH) + request("127.0.0.1", port) + b"early data"
        answer = 14 if authenticate else 12
        for index in range(len(stream) + 1):
            with await proxy.connect() as sock:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await send(sock, stream[:index])
                await asyncio.sleep(0.001)
                await send(sock, stream[index:])
                sock.shutdown(socket.SHUT_WR)
                assert (await receive_all(sock))[answer:] == b"early data", f"split at {index}"


async def test_user_and_password() -> None:
    async with target(echo) as port, running_proxy(users={"anna": "secret", "": ""}) as proxy:
        for credentials in (ANNA, b"\x01\x00\x00"):
            with await proxy.connect() as sock:
                await send(sock, USER_PASSWORD)
                assert await receive(sock, 2) == b"\x05\x02"
                await send(sock, credentials)
                assert await receive(sock, 2) == b"\x01\x00"
                await send(sock, request("127.0.0.1", port))
                assert (await receive(sock, 10))[:2] == b"\x05\x00"
        assert (
            await talk(proxy, USER_PASSWORD + b"\x01\x04anna\x05wrong" + request("127.0.0.1", port))
            == b"\x05\x02\x01\x01"
        )
        assert await talk(proxy, USER_PASSWORD + b"\x05\x00\x00") == b"\x05\x02\x01\x01"
        assert await talk(proxy, NO_AUTH + request("127.0.0.1", port)) == b"\x05\xff"
        assert "secret" not in repr(proxy.events)


async def test_refusals_are_full_replies_and_end_with_a_fin() -> None:
    async with running_proxy() as proxy:
        assert await talk(proxy, b"\x05\x01\x01" + b"behind") == b"\x05\xff"
        assert await talk(proxy, b"\x16\x03\x01") == b""
        assert await talk(proxy, NO_AUTH + b"\x05\x09\x00\x01" + bytes(6) + b"x") == b"\x05\x00\x05\x07" + REFUSAL
        assert await talk(proxy, NO_AUTH + b"\x05\x01\x00\x09" + bytes(30)) == b"\x05\x00\x05\x08" + REFUSAL
        assert await talk(proxy, NO_AUTH + b"\x05\x01\x00\x03\x03a\r\n\x00\x50") == b"\x05\x00\x05\x01" + REFUSAL
        replies = [fields["reply"] for event, fields in proxy.events if event == "flow_refused"]
        assert replies == ["COMMAND_NOT_SUPPORTED", "ADDRESS_TYPE_NOT_SUPPORTED", "GENERAL_FAILURE"]


async def test_connections_that_fail() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed_port = listener.getsockname()[1]
    # Connecting to the broadcast address is EACCES (policy); on a host without any route ENETUNREACH comes first.
    unreachable = {b"\x05\x00\x05\x02" + REFUSAL, b"\x05\x00\x05\x03" + REFUSAL}
    async with running_proxy(connect_seconds=SECONDS) as proxy:
        assert await talk(proxy, NO_AUTH + request("127.0.0.1", closed_port)) == b"\x05\x00\x05\x05" + REFUSAL
        assert await talk(proxy, NO_AUTH + request("255.255.255.255", 80)) in unreachable
        assert await talk(proxy, NO_AUTH + domain_request("x" * 255, 80)) == b"\x05\x00\x05\x04" + REFUSAL
        refused = await proxy.event("flow_refused")
        assert refused == {
            "client": refused["client"],
            "target": f"127.0.0.1:{closed_port}",
            "reply": "CONNECTION_REFUSED",
        }


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """A listener whose backlog is full: the kernel drops further SYNs."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


async def test_success_is_reported_only_when_the_connection_stands() -> None:
    with black_hole() as port:
        async with running_proxy(connect_seconds=0.3) as proxy:
            assert await talk(proxy, NO_AUTH + request("127.0.0.1", port)) == b"\x05\x00\x05\x04" + REFUSAL


@relays
async def test_big_transfers_both_ways_by_hash(portable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if portable:
        monkeypatch.setattr(server, "open_relay", PortableRelay)
    data = os.urandom(1 << 20) * 32
    async with target(echo) as port, running_proxy() as proxy:
        with await proxy.connect() as sock:
            await send(sock, NO_AUTH + request("127.0.0.1", port))
            await receive(sock, 12)
            async with asyncio.TaskGroup() as group:
                sending = group.create_task(send(sock, data))
                sending.add_done_callback(lambda _: sock.shutdown(socket.SHUT_WR))
                received = await receive_all(sock)
            assert hashlib.sha256(received).digest() == hashlib.sha256(data).digest()
            closed = await proxy.event("flow_closed")
            assert (closed["bytes_up"], closed["bytes_down"]) == (len(data), len(data))


async def test_the_client_sees_the_targets_reset() -> None:
    async def resetting(sock: socket.socket) -> None:
        await asyncio.get_running_loop().sock_recv(sock, 1)
        prepare(sock)

    async with target(resetting) as port, running_proxy() as proxy:
        with await proxy.connect() as sock:
            await send(sock, NO_AUTH + request("127.0.0.1", port))
            assert len(await receive(sock, 12)) == 12
            await send(sock, b"x")
            with pytest.raises(ConnectionResetError):
                await receive(sock, 1)
        assert (await proxy.event("flow_closed"))["reason"] == "target_reset"


@pytest.mark.parametrize("said", [b"", b"\x05", NO_AUTH, NO_AUTH + b"\x05\x01\x00"])
async def test_silent_clients_meet_a_deadline(said: bytes) -> None:
    async with running_proxy(handshake_seconds=0.2) as proxy:
        with await proxy.connect() as sock:
            await send(sock, said)
            assert await receive_all(sock) in (b"", b"\x05\x00")


async def test_silent_clients_keep_nobody_out() -> None:
    """At the cap the oldest handshake makes room; a client that means it gets through."""
    async with target(echo) as port, running_proxy(max_handshakes=4) as proxy:
        silent = [await proxy.connect() for _ in range(10)]
        with await proxy.connect() as sock:
            await send(sock, NO_AUTH + request("127.0.0.1", port) + b"ping")
            assert (await receive(sock, 16))[-4:] == b"ping"
        assert await receive_all(silent[0]) == b""
        for sock in silent:
            sock.close()


@relays
async def test_running_out_of_descriptors_is_survived(portable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if portable:
        monkeypatch.setattr(server, "open_relay", PortableRelay)
    looks = count()
    ready = Acceptor.ready
    monkeypatch.setattr(Acceptor, "ready", lambda acceptor, mask: (next(looks), ready(acceptor, mask))[1])
    async with target(echo) as port, running_proxy(handshake_seconds=1.0) as proxy:
        # Names are looked up and modules imported before the descriptors run out.
        assert await talk(proxy, NO_AUTH + request("127.0.0.1", 1)) != b""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        hoard: list[int] = []
        clients = [socket.socket() for _ in range(8)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        try:
            with contextlib.suppress(OSError):
                while True:
                    hoard.append(os.open(os.devnull, os.O_RDONLY))
            for sock in clients:
                sock.setblocking(False)
                sock.connect_ex(("127.0.0.1", proxy.port))
            for sock in clients[:1]:
                with contextlib.suppress(ConnectionResetError):
                    assert await receive_all(sock) == b"", "refused politely: it need not wait for its own deadline"
        finally:
            for fd in hoard:
                os.close(fd)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for sock in clients:
                sock.close()
        with await proxy.connect() as sock:
            await send(sock, NO_AUTH + request("127.0.0.1", port) + b"ping")
            assert (await receive(sock, 16))[-4:] == b"ping"
    assert next(looks) < 50, "while it backs off it does not look all the time"


@relays
async def test_more_clients_at_once_than_are_accepted_at_once(portable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if portable:
        monkeypatch.setattr(server, "open_relay", PortableRelay)
    async with target(echo) as port, running_proxy() as proxy:
        clients = [socket.socket() for _ in range(3 * ACCEPTS_AT_ONCE + 1)]
        for sock in clients:
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", proxy.port))  # the proxy does not run meanwhile
        for sock in clients:
            with sock:
                await send(sock, NO_AUTH + request("127.0.0.1", port) + b"ping")
                assert (await receive(sock, 16))[-4:] == b"ping"


async def test_one_that_fails_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake in what is done for one client ends its connection and nothing else."""
    async with target(echo) as port, running_proxy() as proxy:
        with monkeypatch.context() as patch, await proxy.connect() as sock:
            patch.setattr(Flow, "opened", None)
            await send(sock, NO_AUTH + request("127.0.0.1", port))
            assert len(await receive_all(sock)) == 12
        for host in ("127.0.0.1", "localhost"):
            with await proxy.connect() as sock:
                await send(sock, NO_AUTH + request(host, port) + b"ping")
                assert (await receive(sock, 16))[-4:] == b"ping"


async def test_idle_flows_are_closed() -> None:
    async with target(echo) as port, running_proxy(idle_seconds=0.2) as proxy:
        with await proxy.connect() as sock:
            await send(sock, NO_AUTH + request("127.0.0.1", port))
            await receive(sock, 12)
            assert (await proxy.event("flow_closed"))["reason"] == "idle"


async def test_two_families_on_one_port() -> None:
    async with running_proxy(listen=("127.0.0.1:0",)) as other:
        port = other.port
    async with running_proxy(listen=(f"0.0.0.0:{port}", f"[::]:{port}"), open=True) as proxy:
        assert proxy.addresses == [f"0.0.0.0:{port}", f"[::]:{port}"]
        assert proxy.events == [("proxy_listening", {"addresses": proxy.addresses})]


async def test_a_busy_port_binds_nothing() -> None:
    async with running_proxy() as proxy:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            free_port = probe.getsockname()[1]
        settings = ProxySettings(listen=(f"127.0.0.1:{free_port}", proxy.addresses[0]))
        with pytest.raises(UsageError, match=r"cannot listen on .*: Address already in use; another program"):
            await serve(settings)
        with socket.socket() as again:
            again.bind(("127.0.0.1", free_port))


@pytest.mark.parametrize("address", ["198.51.100.1:1080", "no-such-host.invalid:1080"])
async def test_addresses_that_are_not_ours(address: str) -> None:
    with pytest.raises(UsageError, match="cannot listen on"):
        await serve(ProxySettings(listen=(address,), open=True))


async def test_stopping_ends_open_handshakes_dials_and_flows() -> None:
    with black_hole() as hole:
        async with target(echo) as port, running_proxy() as proxy:
            silent, dialing, flowing = [await proxy.connect() for _ in range(3)]
            await send(dialing, NO_AUTH + request("127.0.0.1", hole))
            await receive(dialing, 2)
            await send(flowing, NO_AUTH + request("127.0.0.1", port))
            await receive(flowing, 12)
        assert await receive_all(silent) == b""
        assert await receive_all(dialing) == b""
        with pytest.raises(ConnectionResetError):
            await receive_all(flowing)
        assert (await proxy.event("flow_closed"))["reason"] == "stopped"
        for sock in (silent, dialing, flowing):
            sock.close()
