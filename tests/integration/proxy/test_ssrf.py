"""No way through the proxy to what is inside: every spelling of tests/ssrf.py, in every protocol, to a running one.

A canary listens where the spellings of the loopback lead, on TCP and UDP: that it heard nothing is the proof.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

import dns.rdatatype
import dns.rrset
import pytest

from proxy import connect, server
from proxy.dial import DialFailed
from proxy.policy.names import spelled_address
from proxy.resolver import SocketAddress, SystemResolver
from proxy.settings import ProxySettings, ResolverSettings, Rule, Upstream
from proxy.wire import Address, AddressType, Command, ReplyCode, Request, write_request
from proxy.wire.udp import Datagram, write_datagram
from tests.integration.proxy.attack import (
    DENIED,
    FAILED,
    MALFORMED,
    PROTOCOLS,
    SUCCEEDED,
    Attacked,
    ask,
    attacked,
    http,
    outcome,
    socks4,
    socks4a,
    socks5,
    socks5_domain,
    until,
)
from tests.integration.proxy.test_names import Query, answer, dns_server
from tests.integration.proxy.world import SECONDS, echo, running_proxy, target
from tests.ssrf import INSIDE, OUTSIDE

LISTEN = ("127.0.0.1:0",)
GUARDED = ProxySettings(listen=LISTEN, inside="deny")
FORMS = [form for form, _ in INSIDE]
IPV4 = [form for form in FORMS if form.isascii() and form.count(".") == 3 and spelled_address(form) == form]
ADDRESSES = [form for form in FORMS if Address.of(form, 1).type is not AddressType.DOMAIN]


@dataclass
class Canary:
    """Listens on one port of both loopbacks, and of 127.0.0.2 for whoever may go there. Hears TCP and UDP."""

    port: int
    listeners: list[socket.socket] = field(default_factory=list)
    ears: list[socket.socket] = field(default_factory=list)

    def heard(self) -> list[object]:
        """Who connected or sent anything so far."""
        found: list[object] = []
        for listener in self.listeners:
            with contextlib.suppress(BlockingIOError):
                connection, _ = listener.accept()
                connection.close()
                found.append(listener.getsockname())
        for ear in self.ears:
            with contextlib.suppress(BlockingIOError):
                found.append(ear.recvfrom(100))
        return found


@contextlib.contextmanager
def canary() -> Iterator[Canary]:
    with contextlib.ExitStack() as stack:
        bird = Canary(0)
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            for kind, there in ((socket.SOCK_STREAM, bird.listeners), (socket.SOCK_DGRAM, bird.ears)):
                sock = stack.enter_context(socket.socket(family, kind))
                sock.bind((host, bird.port))
                sock.setblocking(False)
                bird.port = sock.getsockname()[1]
                if kind is socket.SOCK_STREAM:
                    sock.listen()
                there.append(sock)
        yield bird


def nobody(host: str, port: int, **_: Any) -> list[Any]:
    raise AssertionError(f"{host!r} is looked up, and it is no name")


# Every spelling.


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_what_is_inside_is_refused_in_every_spelling(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of them is a name to the guard, so nobody is asked for one either."""
    monkeypatch.setattr(server, "open_resolver", lambda settings: SystemResolver(nobody))
    forms = IPV4 if protocol == "socks4" else FORMS
    # SOCKS4 marks the domain of 4a with these addresses: as literals they cannot be asked for.
    forms = [form for form in forms if protocol != "socks4" or not form.startswith("0.0.0.")]
    with canary() as bird:
        async with attacked(GUARDED) as proxy:
            for form in forms:
                said = await ask(proxy.address, PROTOCOLS[protocol](form, bird.port, None))
                assert outcome(said) in outcomes(protocol, form), form
            assert proxy.counted("flows_opened_total") == 0
        assert bird.heard() == []


def outcomes(protocol: str, form: str) -> tuple[str, ...]:
    """HTTP has no room for letters that are not ASCII, nor for zones: there it is malformed, and as refused."""
    if protocol == "http" and (not form.isascii() or "%" in form):
        return (MALFORMED,)
    return (DENIED,)


async def test_the_canary_hears_what_is_not_refused() -> None:
    """Else the tests here would prove nothing."""
    with canary() as bird:
        async with attacked(ProxySettings(listen=LISTEN, inside="allow")) as proxy:
            for protocol, form in [
                ("socks5", "127.0.0.1"),
                ("http", "::1"),
                ("socks4a", "0x7f.1"),
                ("socks4", "127.0.0.1"),
            ]:
                assert outcome(await ask(proxy.address, PROTOCOLS[protocol](form, bird.port, None))) == SUCCEEDED
                assert len(bird.heard()) == 1
            async with association(proxy) as send:
                send(Address.of("::1", bird.port))
                send(Address(AddressType.DOMAIN, "127.1", bird.port))
                await until(lambda: proxy.counted("datagrams_forwarded_total") >= 2)
            assert len(bird.heard()) == 2


async def test_datagrams_to_what_is_inside_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "open_resolver", lambda settings: SystemResolver(nobody))
    with canary() as bird:
        async with attacked(GUARDED) as proxy, association(proxy) as send:
            for form in FORMS:
                send(Address(AddressType.DOMAIN, form, bird.port))
            for form in ADDRESSES:
                send(Address.of(form, bird.port))
            expected = len(FORMS) + len(ADDRESSES)
            await until(lambda: proxy.counted("datagrams_dropped_total") >= expected)
            assert proxy.counted("datagrams_dropped_total", reason="policy") == expected
            assert proxy.counted("datagrams_forwarded_total") == 0
        assert bird.heard() == []


async def test_a_fragmented_datagram_is_judged_by_where_it_goes() -> None:
    with canary() as bird:
        async with attacked(GUARDED) as proxy, association(proxy) as send:
            for fragment in (1, 2, 0x83):
                send(Address.of("127.0.0.1", bird.port), fragment)
            await until(lambda: proxy.counted("datagrams_dropped_total", reason="policy") >= 1)
        assert bird.heard() == []


@contextlib.asynccontextmanager
async def association(proxy: Attacked) -> AsyncIterator[Callable[..., object]]:
    """Sends datagrams to addresses, by one association."""
    loop = asyncio.get_running_loop()
    with socket.socket() as control, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        control.setblocking(False)
        await loop.sock_connect(control, proxy.address)
        await loop.sock_sendall(control, b"\x05\x01\x00\x05\x03\x00\x01" + bytes(6))
        said = b""
        while len(said) < 12:
            said += await asyncio.wait_for(loop.sock_recv(control, 100), SECONDS)
        assert said[:4] == b"\x05\x00\x05\x00"
        place = socket.inet_ntoa(said[6:10]), int.from_bytes(said[10:12], "big")
        yield lambda to, fragment=0: sock.sendto(write_datagram(Datagram(fragment, to, b"x")), place)


@pytest.mark.parametrize("protocol", ["socks5", "socks5 domain", "http"])
async def test_what_is_outside_is_not_refused(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be dialed: that is as far as this test lets it get."""
    dialed = []

    def dial(target: Address, *_: object) -> None:
        dialed.append(target)
        raise DialFailed(ReplyCode.CONNECTION_REFUSED)

    monkeypatch.setattr(connect, "Dial", dial)
    async with attacked(GUARDED) as proxy:
        for form in OUTSIDE:
            assert outcome(await ask(proxy.address, PROTOCOLS[protocol](form, 9, None))) == FAILED, form
    assert dialed == [Address.of(form, 9) for form in OUTSIDE]


# Names.

KIND = (socket.SOCK_STREAM, 6, "")


def resolving(monkeypatch: pytest.MonkeyPatch, answers: Callable[[str], Sequence[str]]) -> list[str]:
    """Let the system's look-up find these addresses. Gives the names that were looked up."""
    asked: list[str] = []

    def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        found = []
        for address in answers(host):
            numeric = ip_address(address.partition("%")[0])
            place: SocketAddress = (
                (socket.AF_INET6, (address, port, 0, 0)) if numeric.version == 6 else (socket.AF_INET, (address, port))
            )
            found.append((place[0], *KIND, place[1]))
        return found

    monkeypatch.setattr(server, "open_resolver", lambda settings: SystemResolver(getaddrinfo))
    return asked


AS_DOMAIN = [socks5_domain, socks4a, http]
LOCAL = Rule(action="allow", destinations=("127.0.0.2",))
"""127.0.0.2 stands for what is outside: the guard lets it pass, and it can be reached here."""


@pytest.mark.parametrize("address", [form for form in ADDRESSES if not form.startswith("[")])
async def test_a_name_that_leads_inside(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = resolving(monkeypatch, lambda name: [address])
    with canary() as bird:
        async with attacked(GUARDED) as proxy:
            for write in AS_DOMAIN:
                assert outcome(await ask(proxy.address, write("rebind.example", bird.port))) == DENIED
            async with association(proxy) as send:
                send(Address(AddressType.DOMAIN, "rebind.example", bird.port))
                await until(lambda: proxy.counted("datagrams_dropped_total", reason="policy") >= 1)
        assert asked == ["rebind.example"] * 4
        assert bird.heard() == []


@pytest.mark.parametrize("addresses", [["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"], ["::1", "127.0.0.2"]])
async def test_of_two_addresses_the_one_outside_is_dialed(
    addresses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, lambda name: addresses)
    async with target(echo, "127.0.0.2") as port, attacked(guarded(LOCAL)) as proxy:
        with inside_canaries(port) as heard:
            for write in AS_DOMAIN:
                assert outcome(await ask(proxy.address, write("two.example", port))) == SUCCEEDED
            assert heard() == 0


async def test_when_the_one_outside_fails_the_one_inside_is_no_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name's other addresses are tried when one fails: those that were allowed."""
    resolving(monkeypatch, lambda name: ["127.0.0.2", "127.0.0.1", "::1", "::ffff:127.0.0.1"])
    with canary() as bird:
        async with attacked(guarded(LOCAL)) as proxy:
            for write in AS_DOMAIN:
                assert outcome(await ask(proxy.address, write("two.example", bird.port))) in (FAILED, DENIED)
                assert proxy.counted("flows_opened_total") == 0
        assert bird.heard() == []


async def test_rebinding_the_address_that_was_judged_is_the_one_that_is_dialed(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([["127.0.0.2"], ["127.0.0.1"]] * len(AS_DOMAIN))
    asked = resolving(monkeypatch, lambda name: next(answers))
    async with target(echo, "127.0.0.2") as port, attacked(guarded(LOCAL)) as proxy:
        with inside_canaries(port) as heard:
            for number, write in enumerate(AS_DOMAIN):
                assert outcome(await ask(proxy.address, write("rebind.example", port))) == SUCCEEDED
                assert len(asked) == 2 * number + 1, "one look-up per request"
                assert outcome(await ask(proxy.address, write("rebind.example", port))) == DENIED
            assert heard() == 0


async def test_rebinding_through_a_dns_server_of_the_attackers() -> None:
    """With the proxy's own resolver: TTL 0, the outside address first, then the loopback."""
    addresses = ["127.0.0.2", "127.0.0.1"]

    def behave(query: Query) -> None:
        message = answer(query.message)
        question = message.question[0]
        message.answer.clear()
        if question.rdtype == dns.rdatatype.A:
            at = addresses.pop(0) if len(addresses) > 1 else addresses[0]
            message.answer.append(dns.rrset.from_text(question.name, 0, "IN", "A", at))
        query.say(message.to_wire())

    async with dns_server(behave) as names, target(echo, "127.0.0.2") as port:
        resolver = ResolverSettings(kind="dns", servers=(names.address,), ttl_least_seconds=0, cache_names=0)
        settings = ProxySettings(listen=LISTEN, inside="deny", rules=(LOCAL,), resolver=resolver)
        async with attacked(settings) as proxy:
            with inside_canaries(port) as heard:
                assert outcome(await ask(proxy.address, socks5_domain("rebind.example", port))) == SUCCEEDED
                assert outcome(await ask(proxy.address, socks5_domain("rebind.example", port))) == DENIED
                assert heard() == 0


@contextlib.contextmanager
def inside_canaries(port: int) -> Iterator[Callable[[], int]]:
    """Listens on the same port of both loopbacks. Gives how many came."""
    with contextlib.ExitStack() as stack:
        listeners = []
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            listener = stack.enter_context(socket.socket(family))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen()
            listener.setblocking(False)
            listeners.append(listener)
        yield lambda: sum(_came(listener) for listener in listeners)


def _came(listener: socket.socket) -> bool:
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True


# What opens the guard, and what does not.


def guarded(*rules: Rule) -> ProxySettings:
    return ProxySettings(listen=LISTEN, inside="deny", rules=rules)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_rule_that_names_the_network_opens_it(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = Rule(action="allow", destinations=("127.0.0.0/8",))
    async with target(echo) as port, attacked(guarded(rule)) as proxy:
        assert outcome(await ask(proxy.address, PROTOCOLS[protocol]("127.0.0.1", port, None))) == SUCCEEDED
        assert outcome(await ask(proxy.address, PROTOCOLS[protocol]("10.0.0.1", port, None))) == DENIED


@pytest.mark.parametrize(
    "rule",
    [
        Rule(action="allow"),
        Rule(action="allow", destinations=("localhost", "rebind.example")),
        Rule(action="allow", destinations=("127.0.0.2", "::ffff:0:0:0/96", "64:ff9b::/96")),
        Rule(action="allow", sources=("127.0.0.1",), ports=("1-65535",)),
    ],
    ids=["everything", "by domain", "a neighbour", "source and ports"],
)
async def test_a_rule_that_does_not_name_it_does_not(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, lambda name: ["127.0.0.1"])
    with canary() as bird:
        async with attacked(guarded(rule)) as proxy:
            for host in ("rebind.example", "localhost", "127.0.0.1", "127.1"):
                for write in AS_DOMAIN:
                    assert outcome(await ask(proxy.address, write(host, bird.port))) == DENIED
        assert bird.heard() == []


async def test_through_an_upstream_names_are_its_business_and_addresses_are_not() -> None:
    """docs/proxy-policy.md: addresses, and names that spell one, are judged here; other names are resolved there."""
    async with running_proxy() as far:
        upstreams = {"far": Upstream(url=f"socks5://127.0.0.1:{far.port}")}
        settings = ProxySettings(listen=LISTEN, inside="deny", upstreams=upstreams, via="far", connect_seconds=SECONDS)
        with canary() as bird:
            async with attacked(settings) as proxy:
                for form in FORMS:
                    assert outcome(await ask(proxy.address, socks5_domain(form, bird.port))) == DENIED, form
                assert far.events[1:] == [], "nothing of it reached the upstream"
                assert outcome(await ask(proxy.address, socks5_domain("no-such-name.invalid", bird.port))) == FAILED
                assert (await far.event("flow_refused"))["target"] == f"no-such-name.invalid:{bird.port}"
                for command in (Command.BIND, Command.UDP_ASSOCIATE):
                    wire = b"\x05\x01\x00" + write_request(Request(command, Address.of("0.0.0.0", 0)))
                    assert (await ask(proxy.address, wire))[2:4] == b"\x05\x07"
            assert bird.heard() == []


async def test_a_rule_with_an_upstream_does_not_open_what_is_inside() -> None:
    async with running_proxy() as far, target(echo) as port:
        upstreams = {"far": Upstream(url=f"http://127.0.0.1:{far.port}")}
        rules = (Rule(action="allow", via="far"),)
        settings = ProxySettings(listen=LISTEN, inside="deny", upstreams=upstreams, rules=rules)
        async with attacked(settings) as proxy:
            assert outcome(await ask(proxy.address, socks5("127.0.0.1", port))) == DENIED
            assert outcome(await ask(proxy.address, socks4("127.0.0.1", port))) == DENIED
            assert far.events[1:] == []
