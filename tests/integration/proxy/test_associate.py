"""UDP ASSOCIATE on the whole proxy (RFC 1928 section 7): whose datagrams go where, and when an association ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from proxy import associate, association, reassembly, server
from proxy.metrics import Drop, Metrics
from proxy.relay import PortableRelay
from proxy.relay.flow import prepare
from proxy.resolver import SystemResolver
from proxy.settings import ProxySettings, Rule, UdpSettings, Upstream, User
from proxy.wire import Address, AddressType, Command, ReplyCode, Request, read_reply, write_request
from proxy.wire.udp import LAST_FRAGMENT, Datagram, read_datagram, write_datagram
from tests.integration.proxy.test_server import ANNA, NO_AUTH, REFUSAL, USER_PASSWORD, relays, talk
from tests.integration.proxy.world import SECONDS, Proxy, receive, receive_all, running_proxy, send, until

HINT = Address.of("192.0.2.77", 7)
"""What the requests of these tests name: a hint, which is not taken."""
MOST_BYTES = 65507
"""Of data in a UDP datagram over IPv4."""
LISTEN = ("127.0.0.1:0",)


def udp(host: str = "127.0.0.1") -> socket.socket:
    """A bound UDP socket with room."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    sock.bind((host, 0))
    return sock


async def next_from(sock: socket.socket) -> tuple[bytes, Any]:
    async with asyncio.timeout(SECONDS):
        return await asyncio.get_running_loop().sock_recvfrom(sock, 1 << 16)


def address_of(sock: socket.socket) -> Address:
    return Address.of(*sock.getsockname()[:2])


class Associated:
    """A client with an association: its TCP connection, its UDP socket, and where datagrams go."""

    def __init__(self, control: socket.socket, sock: socket.socket, relay: Address) -> None:
        self.control = control
        self.sock = sock
        self.relay = relay

    def say(self, data: bytes, to: Address, fragment: int = 0) -> None:
        self.raw(write_datagram(Datagram(fragment, to, data)))

    def raw(self, data: bytes) -> None:
        self.sock.sendto(data, (self.relay.host, self.relay.port))

    async def hear(self) -> Datagram:
        data, sender = await next_from(self.sock)
        assert sender[:2] == (self.relay.host, self.relay.port)
        return read_datagram(data)

    async def is_gone(self) -> None:
        """Wait until nobody is at `relay` any more, which the kernel says once somebody has sent there."""

        def free() -> bool:
            with socket.socket(self.sock.family, socket.SOCK_DGRAM) as probe:
                try:
                    probe.bind((self.relay.host, self.relay.port))
                except OSError:
                    return False
                return True

        await until(free)


async def associated_with(control: socket.socket, sock: socket.socket, handshake: bytes = NO_AUTH) -> Associated:
    await send(control, handshake + write_request(Request(Command.UDP_ASSOCIATE, HINT)))
    await receive(control, 2 if handshake is NO_AUTH else 4)
    reply = read_reply(bytearray(await receive(control, 22 if control.family == socket.AF_INET6 else 10)))
    assert reply is not None
    assert reply.code is ReplyCode.SUCCEEDED
    return Associated(control, sock, reply.bound)


@contextlib.asynccontextmanager
async def associated(proxy: Proxy, host: str = "127.0.0.1", handshake: bytes = NO_AUTH) -> AsyncIterator[Associated]:
    with await proxy.connect() as control, udp(host) as sock:
        yield await associated_with(control, sock, handshake)


def dropped(proxy: Proxy, why: Drop) -> int:
    return proxy.counted(Metrics.DROPPED, why)


def names(monkeypatch: pytest.MonkeyPatch, addresses: dict[str, list[str]]) -> list[str]:
    """Let names mean `addresses`; those that were asked for come back."""
    asked: list[str] = []

    def getaddrinfo(name: str, port: int, **_: Any) -> list[Any]:
        asked.append(name)
        if name not in addresses:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        families = [(socket.AF_INET6 if ":" in one else socket.AF_INET, one) for one in addresses[name]]
        return [(family, socket.SOCK_STREAM, 6, "", (one, port)) for family, one in families]

    monkeypatch.setattr(server, "open_resolver", lambda settings: SystemResolver(getaddrinfo))
    return asked


@relays
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_forth_and_back(host: str, portable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if portable:
        monkeypatch.setattr(server, "open_relay", PortableRelay)
    listen = f"[{host}]:0" if ":" in host else f"{host}:0"
    async with running_proxy(listen=(listen,)) as proxy, associated(proxy, host) as client:
        assert client.relay.host == host
        with udp("127.0.0.1") as four, udp("::1") as six:
            for target in (four, six):
                client.say(b"ping", address_of(target))
                data, outlet = await next_from(target)
                assert data == b"ping"
                target.sendto(b"pong", outlet)
                assert await client.hear() == Datagram(0, address_of(target), b"pong")
        client.control.shutdown(socket.SHUT_WR)
        assert await receive_all(client.control) == b""
        closed = await proxy.event("flow_closed")
        assert (closed["bytes_up"], closed["bytes_down"], closed["reason"]) == (8, 8, "eof")
        assert (await proxy.event("flow_opened"))["target"] == str(HINT)


@pytest.mark.parametrize("wanted", ["target.example", "127.0.0.1"], ids=["domain", "IPv4 literal as domain"])
async def test_a_domain(wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = names(monkeypatch, {"target.example": ["127.0.0.1"]})
    async with running_proxy() as proxy, associated(proxy) as client:
        with udp() as target:
            to = Address(AddressType.DOMAIN, wanted, target.getsockname()[1])
            for data in (b"one", b"two", b"three"):  # the second one waits with the first, or finds the address there
                client.say(data, to)
            assert [(await next_from(target))[0] for _ in range(3)] == [b"one", b"two", b"three"]
            client.say(b"four", to)
            _, outlet = await next_from(target)
            target.sendto(b"back", outlet)
            assert await client.hear() == Datagram(0, address_of(target), b"back")  # from an address: it is one
    assert asked == (["target.example"] if wanted == "target.example" else [])


async def test_a_name_whose_first_address_has_no_route(monkeypatch: pytest.MonkeyPatch) -> None:
    """Broadcasting is refused by the kernel, as IPv6 is on a host without it."""
    names(monkeypatch, {"dual.example": ["255.255.255.255", "127.0.0.1"]})
    async with running_proxy() as proxy, associated(proxy) as client:
        with udp() as target:
            client.say(b"ping", Address.of("dual.example", target.getsockname()[1]))
            assert (await next_from(target))[0] == b"ping"
            client.say(b"ping", Address.of("255.255.255.255", 9))
            await until(lambda: dropped(proxy, Drop.UNSENT) == 1)


async def test_two_targets_and_their_answers() -> None:
    async with running_proxy() as proxy, associated(proxy) as client:
        with udp() as one, udp("127.0.0.2") as other:
            client.say(b"to one", address_of(one))
            client.say(b"to other", address_of(other))
            data, outlet = await next_from(one)
            assert (data, await next_from(other)) == (b"to one", (b"to other", outlet))
            other.sendto(b"from other", outlet)
            one.sendto(b"from one", outlet)
            heard = {(await client.hear()).data for _ in range(2)}
            assert heard == {b"from one", b"from other"}


async def test_an_answer_from_a_host_that_was_never_sent_to_is_dropped() -> None:
    async with running_proxy() as proxy, associated(proxy) as client:
        with udp() as target, udp("127.0.0.3") as stranger:
            client.say(b"ping", address_of(target))
            _, outlet = await next_from(target)
            stranger.sendto(b"from a stranger", outlet)
            await until(lambda: dropped(proxy, Drop.SOURCE) == 1)
            target.sendto(b"from the target", outlet)
            assert (await client.hear()).data == b"from the target"


async def test_datagrams_of_others_are_dropped() -> None:
    """Of another host before anything was said; of another host or port from then on."""
    async with running_proxy() as proxy, associated(proxy) as client:
        with udp() as target, udp() as other_port, udp("127.0.0.2") as other_host:
            wire = write_datagram(Datagram(0, address_of(target), b"not mine"))
            other_host.sendto(wire, (client.relay.host, client.relay.port))
            await until(lambda: dropped(proxy, Drop.SOURCE) == 1)
            client.say(b"mine", address_of(target))
            assert (await next_from(target))[0] == b"mine"
            for stranger in (other_port, other_host):
                stranger.sendto(wire, (client.relay.host, client.relay.port))
            await until(lambda: dropped(proxy, Drop.SOURCE) == 3)
            client.say(b"mine, too", address_of(target))
            assert (await next_from(target))[0] == b"mine, too"


async def test_what_is_no_datagram_is_dropped_and_latches_nothing() -> None:
    async with running_proxy() as proxy, associated(proxy) as client:
        with udp() as target, udp() as noise:
            whole = write_datagram(Datagram(0, address_of(target), b"data"))
            malformed = [
                b"",
                b"\x00",
                whole[:3],
                whole[:9],
                b"\x00\x00\x00\x05" + whole[4:],
                b"\x00\x00\x00\x03\x00\x00\x50",
            ]
            for data in malformed:
                noise.sendto(data, (client.relay.host, client.relay.port))
            await until(lambda: dropped(proxy, Drop.MALFORMED) == len(malformed))
            client.raw(b"\xff\xff" + whole[2:])  # RSV is not looked at
            assert (await next_from(target))[0] == b"data"
            client.raw(whole[:10])  # no data: an empty datagram is one, too
            assert (await next_from(target))[0] == b""


# Fragments.


async def test_fragments_are_put_together_and_never_forwarded_as_they_are() -> None:
    async with running_proxy() as proxy, associated(proxy) as client:
        with udp() as target:
            to = address_of(target)

            async def only(data: bytes) -> None:
                client.say(b"|", to)
                assert [(await next_from(target))[0] for _ in range(2)] == [data, b"|"]

            for fragment, data in ((1, b"in "), (2, b"order"), (3 | LAST_FRAGMENT, b", whole")):
                client.say(data, to, fragment)
            await only(b"in order, whole")
            for fragment, data in ((1, b"a gap"), (3, b"lost"), (4 | LAST_FRAGMENT, b"lost")):
                client.say(data, to, fragment)
            for fragment, data in ((2, b"out of order"), (1, b"not"), (2, b"finished")):
                client.say(data, to, fragment)
            for fragment, data in ((1, b"begun "), (2 | LAST_FRAGMENT, b"again")):
                client.say(data, to, fragment)
            await only(b"begun again")
            client.say(b"interrupted", to, 1)
            client.say(b"by a whole one", to)
            client.say(b"nothing", to, 2 | LAST_FRAGMENT)
            await only(b"by a whole one")
            client.say(b"alone", to, 1 | LAST_FRAGMENT)
            await only(b"alone")


async def test_fragments_that_take_too_long_are_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of the association is turned on by five seconds."""
    clock = association.time
    ahead = 0.0

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return clock.monotonic() + ahead

    monkeypatch.setattr(association, "time", Clock)
    async with running_proxy() as proxy, associated(proxy) as client:
        with udp() as target, udp("127.0.0.2") as stranger:
            to = address_of(target)
            client.say(b"in time, ", to, 1)
            client.say(b"whole", to, 2 | LAST_FRAGMENT)
            client.say(b"begun, ", to, 1)
            stranger.sendto(b"", (client.relay.host, client.relay.port))
            await until(lambda: dropped(proxy, Drop.SOURCE))  # so what came before is there, too
            ahead = reassembly.LEAST_SECONDS
            client.say(b"too late", to, 2 | LAST_FRAGMENT)
            client.say(b"end", to)
            assert [(await next_from(target))[0] for _ in range(2)] == [b"in time, whole", b"end"]


async def test_fragments_are_dropped_by_configuration() -> None:
    async with running_proxy(udp=UdpSettings(fragments="drop")) as proxy, associated(proxy) as client:
        with udp() as target:
            for fragment in (1, 2, 3 | LAST_FRAGMENT, 1 | LAST_FRAGMENT):
                client.say(b"fragment", address_of(target), fragment)
            client.say(b"whole", address_of(target))
            assert (await next_from(target))[0] == b"whole"
            assert dropped(proxy, Drop.FRAGMENT) == 4


# Rules.


async def test_rules_are_asked_for_every_datagram_and_a_reload_changes_the_verdict() -> None:
    with udp() as good, udp() as bad:
        denied = Rule(action="deny", ports=(bad.getsockname()[1],))
        async with running_proxy(rules=(denied,)) as proxy, associated(proxy) as client:

            async def heard(target: socket.socket, drops: int) -> None:
                client.say(b"good", address_of(target))
                assert (await next_from(target))[0] == b"good"
                assert dropped(proxy, Drop.POLICY) == drops

            await heard(good, 0)
            client.say(b"bad", address_of(bad))
            await heard(good, 1)
            proxy.server.apply(ProxySettings(listen=LISTEN))
            await heard(bad, 1)
            proxy.server.apply(
                ProxySettings(listen=LISTEN, rules=(Rule(action="deny", ports=(address_of(good).port,)),))
            )
            client.say(b"bad now", address_of(good))
            await heard(bad, 2)


async def test_the_guard_holds_for_datagrams_and_for_what_names_stand_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = names(monkeypatch, {"rebound.example": ["127.0.0.1"], "both.example": ["127.0.0.1", "::1"]})
    allowed = Rule(action="allow", destinations=("::1",))
    async with running_proxy(inside="deny", rules=(allowed,)) as proxy, associated(proxy) as client:
        with udp("::1") as target:
            port = target.getsockname()[1]
            inside = ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1"]
            for host in [*inside, "localhost", "2130706433", "rebound.example"]:
                client.say(b"inside", Address.of(host, port))
            await until(lambda: dropped(proxy, Drop.POLICY) == len(inside) + 3)
            client.say(b"the one that is allowed", Address.of("both.example", port))
            assert (await next_from(target))[0] == b"the one that is allowed"
    assert asked == ["rebound.example", "both.example"]


async def test_rules_on_the_command() -> None:
    wire = NO_AUTH + write_request(Request(Command.UDP_ASSOCIATE, HINT))
    async with running_proxy(rules=(Rule(action="deny", commands=("udp_associate",)),)) as proxy:
        assert await talk(proxy, wire) == b"\x05\x00\x05\x02" + REFUSAL
    async with running_proxy(upstreams={"far": Upstream(url="socks5://127.0.0.1:1")}, via="far") as proxy:
        assert await talk(proxy, wire) == b"\x05\x00\x05\x07" + REFUSAL


async def test_what_would_go_through_an_upstream_is_dropped() -> None:
    with udp() as target:
        rule = Rule(action="allow", via="far", ports=(target.getsockname()[1],))
        upstreams = {"far": Upstream(url="socks5://127.0.0.1:1")}
        async with running_proxy(rules=(rule,), upstreams=upstreams) as proxy, associated(proxy) as client:
            client.say(b"ping", address_of(target))
            await until(lambda: dropped(proxy, Drop.POLICY) == 1)


async def test_datagrams_go_out_from_the_egress_address() -> None:
    async with running_proxy(egress=("127.0.0.7",)) as proxy, associated(proxy) as client:
        with udp() as target:
            client.say(b"ping", address_of(target))
            assert (await next_from(target))[1][0] == "127.0.0.7"


async def test_a_quota_ends_the_association() -> None:
    users = {"anna": User(password="secret", quota_bytes=1000)}
    async with running_proxy(users=users) as proxy, associated(proxy, handshake=USER_PASSWORD + ANNA) as client:
        with udp() as target:
            for _ in range(4):
                client.say(bytes(500), address_of(target))
            closed = await proxy.event("flow_closed")
            assert (closed["reason"], closed["bytes_up"]) == ("quota", 1000)
            assert dropped(proxy, Drop.LIMIT) == 2


# Where the client is told to send.


async def test_the_address_that_the_client_came_to_is_the_one_for_datagrams() -> None:
    async with running_proxy(listen=("0.0.0.0:0",), open=True, inside="allow") as proxy:
        with socket.socket() as control, udp() as sock, udp() as target:
            control.setblocking(False)
            await asyncio.get_running_loop().sock_connect(control, ("127.0.0.5", proxy.port))
            client = await associated_with(control, sock)
            assert client.relay.host == "127.0.0.5"
            client.say(b"ping", address_of(target))
            _, outlet = await next_from(target)
            target.sendto(b"pong", outlet)
            assert (await client.hear()).data == b"pong"


async def test_another_address_is_advertised() -> None:
    async with running_proxy(udp=UdpSettings(advertise="203.0.113.9")) as proxy, associated(proxy) as client:
        assert client.relay.host == "203.0.113.9"
        assert client.relay.port not in (0, proxy.port)


# The end.


@relays
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
async def test_it_ends_with_the_tcp_connection(reset: bool, portable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if portable:
        monkeypatch.setattr(server, "open_relay", PortableRelay)
    async with running_proxy() as proxy, associated(proxy) as client:
        with udp() as four, udp("::1") as six:
            for target in (four, six):
                client.say(b"ping", address_of(target))
                await next_from(target)
        if reset:
            prepare(client.control)
        client.control.close()
        await client.is_gone()
        assert (await proxy.event("flow_closed"))["reason"] == ("client_reset" if reset else "eof")
        assert not proxy.server.flows


async def test_what_the_client_says_on_the_tcp_connection_is_not_looked_at() -> None:
    async with running_proxy() as proxy, associated(proxy) as client:
        await send(client.control, bytes(3 * associate.READ_BYTES))
        with udp() as target:
            client.say(b"ping", address_of(target))
            assert (await next_from(target))[0] == b"ping"
        assert len(proxy.server.flows) == 1


async def test_a_client_that_resets_before_the_reply_leaves_nothing() -> None:
    """Its request is there, and so is its reset: the association was made for nobody."""
    async with running_proxy() as proxy:
        with await proxy.connect() as control:
            await send(control, NO_AUTH)
            await receive(control, 2)
            control.send(write_request(Request(Command.UDP_ASSOCIATE, HINT)))
            prepare(control)
        await until(lambda: not proxy.server._sessions)
        assert not proxy.server.flows
        async with associated(proxy):
            assert len(proxy.server.flows) == 1


async def test_an_idle_association_is_ended() -> None:
    async with running_proxy(udp=UdpSettings(idle_seconds=0.3)) as proxy, associated(proxy) as client:
        with pytest.raises(ConnectionResetError):
            await receive(client.control, 1)
        assert (await proxy.event("flow_closed"))["reason"] == "idle"
        await client.is_gone()


async def test_stopping_ends_it() -> None:
    async with running_proxy() as proxy:
        control, sock = await proxy.connect(), udp()
        client = await associated_with(control, sock)
    with control, sock:
        await client.is_gone()
        assert (await proxy.event("flow_closed"))["reason"] == "stopped"


async def test_the_operator_ends_it() -> None:
    async with running_proxy() as proxy, associated(proxy) as client:
        assert proxy.server.handle({"do": "close", "flow": 1}) == {"closed": True}
        await client.is_gone()
        assert (await proxy.event("flow_closed"))["reason"] == "closed"


# How much.


async def test_the_biggest_datagrams() -> None:
    """The header takes room in those of the client and in those that go to it; what does not fit is dropped."""
    async with running_proxy() as proxy, associated(proxy) as client:
        with udp() as target:
            data = os.urandom(MOST_BYTES - 10)
            client.say(data, address_of(target))
            received, outlet = await next_from(target)
            assert received == data
            target.sendto(data, outlet)
            assert (await client.hear()).data == data
            target.sendto(bytes(MOST_BYTES), outlet)
            await until(lambda: dropped(proxy, Drop.UNSENT) == 1)
            for size in (1, 1472, 9000, 40000):
                client.say(data[:size], address_of(target))
                received, _ = await next_from(target)
                target.sendto(received, outlet)
                assert (await client.hear()).data == data[:size]


async def test_fragments_may_make_more_than_a_datagram_holds() -> None:
    async with running_proxy() as proxy, associated(proxy) as client:
        with udp() as target:
            client.say(bytes(40000), address_of(target), 1)
            client.say(bytes(40000), address_of(target), 2 | LAST_FRAGMENT)
            client.say(b"next", address_of(target))
            assert (await next_from(target))[0] == b"next"


@relays
async def test_ten_thousand_datagrams_and_none_is_lost(portable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a gentle rate: 20 under way."""
    if portable:
        monkeypatch.setattr(server, "open_relay", PortableRelay)
    async with running_proxy() as proxy, associated(proxy) as client:
        with udp() as target:
            to = address_of(target)
            for batch in range(500):
                numbers = [(batch * 20 + i).to_bytes(4, "big") for i in range(20)]
                for number in numbers:
                    client.say(number, to)
                for number in numbers:
                    data, outlet = await next_from(target)
                    assert data == number
                    target.sendto(number, outlet)
                assert [(await client.hear()).data for _ in numbers] == numbers
        assert proxy.counted(Metrics.FORWARDED, "up") == proxy.counted(Metrics.FORWARDED, "down") == 10_000


@relays
async def test_more_datagrams_at_once_than_are_taken_at_once(portable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways; the proxy does not run while they come."""
    if portable:
        monkeypatch.setattr(server, "open_relay", PortableRelay)
    numbers = [number.to_bytes(2, "big") for number in range(3 * association.AT_ONCE + 1)]
    async with running_proxy() as proxy, associated(proxy) as client:
        with udp() as target:
            for number in numbers:
                client.say(number, address_of(target))
            heard = [await next_from(target) for _ in numbers]
            assert [data for data, _ in heard] == numbers
            for number in numbers:
                target.sendto(number, heard[0][1])
            assert [(await client.hear()).data for _ in numbers] == numbers


async def test_a_flood_of_unknown_names_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    class Names:
        async def resolve(self, host: str, port: int) -> Any:
            asked.append(host)
            await answer
            raise socket.gaierror(socket.EAI_NONAME, "no such name")

        def close(self) -> None:
            pass

    monkeypatch.setattr(server, "open_resolver", lambda settings: Names())
    async with running_proxy() as proxy, associated(proxy) as client:
        for number in range(500):
            client.say(b"data", Address.of(f"{number}.example", 9))
            client.say(b"data", Address.of("0.example", 9))
            if not number % 50:
                await asyncio.sleep(0)
        waits = association.DATAGRAMS_WAITING
        await until(lambda: dropped(proxy, Drop.UNRESOLVED) == 1000 - waits)
        assert asked == [f"{number}.example" for number in range(waits // 2)], "every second one is of the first name"
        answer.set_result(None)
        await until(lambda: dropped(proxy, Drop.UNRESOLVED) == 1000)
        client.say(b"data", Address.of("0.example", 9))  # that it does not exist is remembered, too
        await until(lambda: dropped(proxy, Drop.UNRESOLVED) == 1001)
        assert len(asked) == waits // 2


async def test_a_mistake_behind_a_look_up_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch, {"target.example": ["127.0.0.1"]})
    async with running_proxy() as proxy, associated(proxy) as client:
        with udp() as target, structlog.testing.capture_logs() as logs:
            with monkeypatch.context() as patch:
                patch.setattr(association.Association, "_looked_up", None)
                client.say(b"lost", Address.of("target.example", 9))
                await until(lambda: [line for line in logs if line["event"] == "association_failed"])
            client.say(b"data", address_of(target))
            assert (await next_from(target))[0] == b"data"


async def test_closing_while_names_are_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled: list[str] = []

    class Names:
        async def resolve(self, host: str, port: int) -> Any:
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                cancelled.append(host)

        def close(self) -> None:
            pass

    monkeypatch.setattr(server, "open_resolver", lambda settings: Names())
    async with running_proxy() as proxy, associated(proxy) as client:
        client.say(b"data", Address.of("slow.example", 9))
        await until(lambda: any(task.get_name().startswith("look-up") for task in asyncio.all_tasks()))
        client.control.close()
        await until(lambda: cancelled == ["slow.example"])


async def test_many_destinations_are_not_remembered_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(association, "REMEMBERED", 4)
    names(monkeypatch, {f"{number}.example": ["127.0.0.1"] for number in range(9)})
    async with running_proxy() as proxy, associated(proxy) as client:
        with udp("0.0.0.0") as target:
            port = target.getsockname()[1]
            for host in [f"127.0.1.{number}" for number in range(9)] + [f"{number}.example" for number in range(9)]:
                client.say(host.encode(), Address.of(host, port))
                data, outlet = await next_from(target)
                assert data == host.encode()
            for source, drops in (("127.0.1.0", 1), ("127.0.0.1", 1)):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                    sock.bind((source, 0))
                    sock.sendto(b"answer", outlet)
                await until(lambda drops=drops: dropped(proxy, Drop.SOURCE) == drops)
            assert (await client.hear()).data == b"answer"
        [carried] = [flow.carried for flow in proxy.server.flows.values()]
        assert isinstance(carried, associate.Associate)
        inner = carried._association
        assert inner is not None
        assert max(len(inner._allowed), len(inner._names), len(inner._talked)) == 4


async def test_memory_and_descriptors_are_back_where_they_were() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    async def round_(proxy: Proxy, target: socket.socket) -> None:
        for _ in range(50):
            async with associated(proxy) as client:
                client.say(bytes(60000), address_of(target))
                client.say(bytes(30000), address_of(target), 1)
                await next_from(target)
            await client.is_gone()

    async with running_proxy() as proxy:
        with udp() as target:
            await round_(proxy, target)
            before = resident(), len(os.listdir("/proc/self/fd"))
            await round_(proxy, target)
            after = resident(), len(os.listdir("/proc/self/fd"))
            assert after[1] == before[1]
            assert after[0] - before[0] < 1 << 20
            assert not proxy.server.flows
