"""SOCKS5, SOCKS4 and 4a, HTTP CONNECT over the wire: every split, every failure in the words of each, no secrets."""

from __future__ import annotations

import asyncio
import json
import socket
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog

from proxy import server
from proxy.metrics import Failure, Metrics
from proxy.settings import Rule, User
from proxy.wire import Address, AddressType, Command, Request, read_reply, write_request
from proxy.wire.http import HTTP_REQUEST_LIMIT_BYTES, write_http_connect
from proxy.wire.socks4 import Socks4Command, Socks4Request, write_socks4_request
from tests.integration.proxy.test_associate import names
from tests.integration.proxy.test_server import (
    ANNA,
    NO_AUTH,
    REFUSAL,
    USER_PASSWORD,
    black_hole,
    domain_request,
    request,
    talk,
)
from tests.integration.proxy.world import Proxy, echo, receive, receive_all, running_proxy, send, target

NOBODY = Address.of("127.0.0.1", 1)


def socks5(to: Address) -> bytes:
    return NO_AUTH + write_request(Request(Command.CONNECT, to))


def socks4(to: Address) -> bytes:
    return write_socks4_request(Socks4Request(Socks4Command.CONNECT, to, b"me"))


def http(to: Address) -> bytes:
    return write_http_connect(to)


PROTOCOLS: dict[str, Callable[[Address], bytes]] = {"socks5": socks5, "socks4": socks4, "http": http}
GRANTED = {"socks5": b"\x05\x00\x05\x00", "socks4": b"\x00\x5a", "http": b"HTTP/1.1 200 Connection established\r\n\r\n"}
SIZE = {"socks5": 12, "socks4": 8, "http": len(GRANTED["http"])}
protocols = pytest.mark.parametrize("protocol", PROTOCOLS)


def basic(credentials: bytes) -> bytes:
    return b"Proxy-Authorization: Basic " + b64encode(credentials) + b"\r\n"


def connect_with(to: str, *fields: bytes) -> bytes:
    return f"CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n".encode() + b"".join(fields) + b"\r\n"


# What goes through.


@protocols
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
async def test_connect(protocol: str, host: str) -> None:
    async with target(echo, "::1" if host == "::1" else "127.0.0.1") as port, running_proxy() as proxy:
        with await proxy.connect() as sock:
            await send(sock, PROTOCOLS[protocol](Address.of(host, port)))
            size = SIZE[protocol] + 12 * (host == "::1" and protocol == "socks5")
            assert (await receive(sock, size)).startswith(GRANTED[protocol])
            await send(sock, b"ping")
            assert await receive(sock, 4) == b"ping"
            [flow] = proxy.server.flows.values()
            described = flow.describe()
            assert (described["protocol"], described["command"]) == (protocol, "connect")
            assert described["target"] == str(Address.of(host, port))


@protocols
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_every_split_with_early_data(protocol: str, host: str) -> None:
    async with target(echo) as port, running_proxy() as proxy:
        stream = PROTOCOLS[protocol](Address.of(host, port)) + b"early data"
        for index in range(len(stream) + 1):
            with await proxy.connect() as sock:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await send(sock, stream[:index])
                await asyncio.sleep(0)
                await send(sock, stream[index:])
                sock.shutdown(socket.SHUT_WR)
                answer = await receive_all(sock)
                assert answer.startswith(GRANTED[protocol])
                assert answer[SIZE[protocol] :] == b"early data", f"split at {index}"


@protocols
async def test_byte_by_byte(protocol: str) -> None:
    async with target(echo) as port, running_proxy() as proxy:
        with await proxy.connect() as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in PROTOCOLS[protocol](Address.of("127.0.0.1", port)) + b"early":
                await send(sock, bytes((byte,)))
                await asyncio.sleep(0)
            assert (await receive(sock, SIZE[protocol] + 5))[-5:] == b"early"


@protocols
async def test_more_early_data_than_one_read_takes(protocol: str) -> None:
    early = bytes(range(256)) * 256
    async with target(echo) as port, running_proxy() as proxy:
        with await proxy.connect() as sock:
            await send(sock, PROTOCOLS[protocol](Address.of("127.0.0.1", port)) + early)
            sock.shutdown(socket.SHUT_WR)
            assert (await receive_all(sock))[SIZE[protocol] :] == early


@pytest.mark.parametrize("literal", ["::1", "[::1]", "0:0:0:0:0:0:0:1"])
async def test_an_ipv6_literal_as_a_domain(literal: str) -> None:
    async with target(echo, "::1") as port, running_proxy() as proxy:
        place = port.to_bytes(2, "big")
        for wire in (
            NO_AUTH + domain_request(literal, port),
            b"\x04\x01" + place + b"\x00\x00\x00\x01me\x00" + literal.encode() + b"\x00",
        ):
            with await proxy.connect() as sock:
                await send(sock, wire + b"ping")
                sock.shutdown(socket.SHUT_WR)
                assert (await receive_all(sock)).endswith(b"ping")


@protocols
async def test_a_domain_of_255_bytes(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = ".".join(["x" * 63] * 4)
    assert len(name) == 255
    asked = names(monkeypatch, {name: ["127.0.0.1"]})
    async with target(echo) as port, running_proxy() as proxy:
        with await proxy.connect() as sock:
            await send(sock, PROTOCOLS[protocol](Address.of(name, port)) + b"ping")
            sock.shutdown(socket.SHUT_WR)
            assert (await receive_all(sock)).endswith(b"ping")
    assert asked == [name]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
@pytest.mark.parametrize("egress", [(), ("127.0.0.9", "::1")], ids=["the system's choice", "egress"])
async def test_the_bound_address_is_that_of_the_outgoing_socket(host: str, egress: tuple[str, ...]) -> None:
    seen: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def peer(sock: socket.socket) -> None:
        seen.set_result(sock.getpeername()[:2])

    async with target(peer, "::1" if host == "::1" else "127.0.0.1") as port, running_proxy(egress=egress) as proxy:
        with await proxy.connect() as sock:
            await send(sock, socks5(Address.of(host, port)))
            reply = read_reply(bytearray((await receive_all(sock))[2:]))
            assert reply is not None
            assert reply.bound == Address.of(*await seen)
            assert reply.bound.type is (AddressType.IPV6 if host == "::1" else AddressType.IPV4)


# What fails.

SOCKS4_REJECTED = b"\x00\x5b" + bytes(6)
FAILURES = {
    "refused": (5, 502, "connection_refused"),
    "timeout": (4, 504, "destination_unavailable"),
    "no such name": (4, 504, "destination_unavailable"),
    "denied by a rule": (2, 403, "http_request_denied"),
    "denied by the guard": (2, 403, "http_request_denied"),
    "name denied by the guard": (2, 403, "http_request_denied"),
    "network unreachable": (3, 502, "destination_ip_unroutable"),
    "too many flows": (2, 403, "http_request_denied"),
}


@protocols
@pytest.mark.parametrize("case", FAILURES)
async def test_failures_in_the_words_of_each_protocol(
    protocol: str, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names(monkeypatch, {})
    settings: dict[str, Any] = {"inside": "deny"} if "guard" in case else {}
    with black_hole() as hole, socket.create_server(("127.0.0.1", 0)) as closed:
        closed_port = closed.getsockname()[1]
        closed.close()
        to = Address.of("127.0.0.1", closed_port)
        if case == "timeout":
            to, settings = Address.of("127.0.0.1", hole), {"connect_seconds": 0.2}
        elif case == "no such name":
            to = Address.of("nobody.example", 80)
        elif case == "denied by a rule":
            settings = {"rules": (Rule(action="deny", name="none", ports=(closed_port,)),)}
        elif case == "name denied by the guard":
            to = Address.of("localhost", closed_port)
        elif case == "network unreachable":
            to = Address.of("224.0.0.1", 80)  # TCP does not go to many: ENETUNREACH, with a route or without
        elif case == "too many flows":
            monkeypatch.setattr(server, "NOBODY", User(password="", max_flows=1))
        async with running_proxy(**settings) as proxy:
            async with target(echo) as port:
                with await proxy.connect() as holder:
                    if case == "too many flows":
                        await send(holder, socks5(Address.of("127.0.0.1", port)))
                        await receive(holder, 12)
                    answer = await talk(proxy, PROTOCOLS[protocol](to) + b"early data that nobody takes")
            code, status, error = FAILURES[case]
            if protocol == "socks5":
                assert answer == bytes((5, 0, 5, code)) + REFUSAL
            elif protocol == "socks4":
                assert answer == SOCKS4_REJECTED
            else:
                head, _, body = answer.partition(b"\r\n\r\n")
                fields = head.decode().split("\r\n")
                assert fields[0].startswith(f"HTTP/1.1 {status} ")
                assert f"Proxy-Status: sidedoor; error={error}" in fields
                assert f"Content-Length: {len(body)}" in fields
                assert "Connection: close" in fields
            assert (await proxy.event("flow_refused"))["target"] == str(to)


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (NO_AUTH + b"\x05\x04\x00\x01" + bytes(6), b"\x05\x00\x05\x07" + REFUSAL),
        (NO_AUTH + b"\x05\x01\x00\x02" + bytes(30), b"\x05\x00\x05\x08" + REFUSAL),
        (NO_AUTH + b"\x04\x01\x00\x01" + bytes(6), b"\x05\x00\x05\x01" + REFUSAL),
        (b"\x05\x02\x01\x80", b"\x05\xff"),
        (b"\x05\x00", b"\x05\xff"),
        (b"\x04\x03\x00\x50\x7f\x00\x00\x01\x00", SOCKS4_REJECTED),
        (b"\x04\x01\x00\x50\x7f\x00\x00\x01" + b"u" * 300, SOCKS4_REJECTED),
        (b"\x04\x01\x00\x50\x00\x00\x00\x01\x00" + b"d" * 300, SOCKS4_REJECTED),
        (b"\x04\x01\x00\x50\x00\x00\x00\x01\x00\x00", SOCKS4_REJECTED),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 405 "),
        (b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 405 "),
        (b"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 400 "),
        (b"CONNECT a:0 HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 400 "),
        (b"CONNECT a:1 HTTP/1.1\r\n\r\n", b"HTTP/1.1 400 "),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", b"HTTP/1.1 400 "),
        (b"CONNECT a:1 HTTP/2.0\r\n", b"HTTP/1.1 505 "),
        (b"CONNECT a:1 HTTP/1.1\r\nA: " + b"x" * HTTP_REQUEST_LIMIT_BYTES, b"HTTP/1.1 431 "),
        (b"\x00", b""),
        (b"ssh-2.0\r\n", b""),
    ],
    ids=lambda said: repr(said[:40]),
)
async def test_what_is_malformed_or_unknown(said: bytes, answer: bytes) -> None:
    async with running_proxy() as proxy:
        got = await talk(proxy, said)
        assert got.startswith(answer)
        assert len(got) == len(answer) or answer.startswith(b"HTTP")


async def test_a_method_that_is_not_served_is_told_which_one_is() -> None:
    async with running_proxy() as proxy:
        answer = await talk(proxy, b"GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n")
        assert b"\r\nAllow: CONNECT\r\n" in answer
        assert b"This is Sidedoor, a proxy." in answer


@pytest.mark.parametrize("served", PROTOCOLS)
async def test_only_what_is_among_the_protocols_is_served(served: str) -> None:
    async with target(echo) as port, running_proxy(protocols=(served,)) as proxy:
        for protocol, wire in PROTOCOLS.items():
            with await proxy.connect() as sock:
                await send(sock, wire(Address.of("127.0.0.1", port)))
                sock.shutdown(socket.SHUT_WR)
                assert await receive_all(sock) == b"" or protocol == served
        assert proxy.counted(Metrics.FAILED, Failure.BAD_VERSION) == 2


# Who asks.


async def test_socks4_has_no_password() -> None:
    async with running_proxy(users={"anna": "secret"}) as proxy:
        assert await talk(proxy, socks4(NOBODY)) == b"\x00\x5d" + bytes(6)
        assert proxy.counted(Metrics.FAILED, Failure.NO_METHOD) == 1


async def test_http_with_user_and_password() -> None:
    async with target(echo) as port, running_proxy(users={"anna": "secret"}) as proxy:
        to = f"127.0.0.1:{port}"
        for wrong in ([], [basic(b"anna:wrong")], [basic(b"nobody:secret")]):
            answer = await talk(proxy, connect_with(to, *wrong))
            assert answer.startswith(b"HTTP/1.1 407 ")
            assert b'\r\nProxy-Authenticate: Basic realm="sidedoor"\r\n' in answer
        assert proxy.counted(Metrics.FAILED, Failure.WRONG_PASSWORD) == 2
        with await proxy.connect() as sock:
            await send(sock, connect_with(to, basic(b"anna:secret")) + b"ping")
            sock.shutdown(socket.SHUT_WR)
            assert await receive_all(sock) == GRANTED["http"] + b"ping"


async def test_http_with_user_and_password_at_every_split() -> None:
    async with target(echo) as port, running_proxy(users={"anna": "secret"}) as proxy:
        stream = connect_with(f"127.0.0.1:{port}", basic(b"anna:secret")) + b"early"
        for index in range(len(stream) + 1):
            with await proxy.connect() as sock:
                await send(sock, stream[:index])
                await asyncio.sleep(0)
                await send(sock, stream[index:])
                sock.shutdown(socket.SHUT_WR)
                assert await receive_all(sock) == GRANTED["http"] + b"early", f"split at {index}"


@pytest.mark.parametrize("users", [{"": ""}, {"anna": ""}, {"": "secret"}], ids=repr)
async def test_empty_users_and_passwords_are_what_the_settings_make_of_them(users: dict[str, str]) -> None:
    [(user, password)] = users.items()
    wire = USER_PASSWORD + bytes((1, len(user))) + user.encode() + bytes((len(password),)) + password.encode()
    async with running_proxy(users=users) as proxy:
        assert await talk(proxy, wire + request("127.0.0.1", 1)) == b"\x05\x02\x01\x00\x05\x05" + REFUSAL
    async with running_proxy(users={"bert": "secret"}) as proxy:
        assert await talk(proxy, wire + request("127.0.0.1", 1)) == b"\x05\x02\x01\x01"


async def test_another_version_of_the_sub_negotiation() -> None:
    async with running_proxy(users={"anna": "secret"}) as proxy:
        for version in (0, 2, 5):
            assert await talk(proxy, USER_PASSWORD + bytes((version,)) + ANNA[1:]) == b"\x05\x02\x01\x01"
        with await proxy.connect() as sock:
            await send(sock, USER_PASSWORD + ANNA)
            assert await receive(sock, 4) == b"\x05\x02\x01\x00"


FORGERIES = [
    'a\r\n{"event": "login_failed", "source": "192.0.2.1"}',
    "a\x00b",
    "a\nb",
    "a\x1b[2Jb",
    "a\x7f",
    "a\u2028b",
    "a\x85b",
    "a b",
    "",
]


@pytest.mark.parametrize("forgery", FORGERIES, ids=ascii)
async def test_a_domain_forges_no_line(
    forgery: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control characters are refused, and what is not never breaks a line of either log."""
    names(monkeypatch, {})
    access_log = tmp_path / "access.jsonl"
    wire = forgery.encode()
    async with running_proxy(access_log=str(access_log)) as proxy:
        answers = [
            await talk(proxy, NO_AUTH + b"\x05\x01\x00\x03" + bytes((len(wire),)) + wire + b"\x00\x50"),
            await talk(proxy, b"\x04\x01\x00\x50\x00\x00\x00\x01me\x00" + wire + b"\x00"),
            await talk(proxy, b"CONNECT " + wire + b":80 HTTP/1.1\r\nHost: a\r\n\r\n"),
        ]
    assert answers[0] == b"\x05\x00\x05\x01" + REFUSAL
    assert answers[1] == SOCKS4_REJECTED
    assert answers[2].startswith(b"HTTP/1.1 4")
    lines = [json.loads(line) for line in access_log.read_text().splitlines()]
    in_socks4 = "a:80" if "\x00" in forgery else ""  # NUL ends a domain there
    assert [line["target"] for line in lines] == ["", in_socks4, ""]
    for line in capsys.readouterr().out.splitlines():
        assert "login_failed" not in line


async def test_passwords_are_in_no_log(tmp_path: Path) -> None:
    access_log = tmp_path / "access.jsonl"
    with structlog.testing.capture_logs() as logs:
        async with target(echo) as port, running_proxy(users={"anna": "hunter2"}, access_log=str(access_log)) as proxy:
            for password in (b"hunter2", b"hunter2-and-more"):
                credentials = b"\x01\x04anna" + bytes((len(password),)) + password
                for wire in (
                    USER_PASSWORD + credentials + request("127.0.0.1", port),
                    USER_PASSWORD + credentials + b"\x05\x09hunter2",
                    connect_with(f"127.0.0.1:{port}", basic(b"anna:" + password)),
                    connect_with("127.0.0.1:1", basic(b"anna:" + password)),
                    connect_with("127.0.0.1:1", b"Proxy-Authorization: Basic hunter2!\r\n"),
                ):
                    with await proxy.connect() as sock:
                        await send(sock, wire)
                        sock.shutdown(socket.SHUT_WR)
                        await receive_all(sock)
    secrets = ["hunter2", b64encode(b"anna:hunter2").decode()[:-4]]
    everything = repr((logs, proxy.events)) + access_log.read_text()
    assert "login_failed" in everything
    assert not [secret for secret in secrets if secret in everything]


async def test_a_success_is_not_said_before_the_connection_stands() -> None:
    """In no protocol: nothing at all comes from the proxy while the target does not answer."""
    with black_hole() as hole:
        async with running_proxy() as proxy:
            for protocol, wire in PROTOCOLS.items():
                with await proxy.connect() as sock:
                    await send(sock, wire(Address.of("127.0.0.1", hole)))
                    if protocol == "socks5":
                        assert await receive(sock, 2) == b"\x05\x00"
                    with pytest.raises(TimeoutError):
                        await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 1), 0.1)
            assert _nobody_is_served(proxy)


def _nobody_is_served(proxy: Proxy) -> bool:
    return not proxy.server.flows and not [event for event, _ in proxy.events if event == "flow_opened"]
