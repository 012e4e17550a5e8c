"""Rules, the guard, egress addresses and upstreams on a running proxy; what they decide in detail is for the unit tests
of `proxy.policy`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from proxy import server
from proxy.resolver import SystemResolver
from proxy.server import serve
from proxy.settings import ProxySettings, Rule, Upstream
from proxy.wire import Address, AddressType, ReplyCode
from sidedoor.settings import SettingsError
from tests.integration.proxy.test_associate import names
from tests.integration.proxy.test_server import NO_AUTH, REFUSAL, USER_PASSWORD, domain_request, request, talk
from tests.integration.proxy.world import Proxy, echo, receive, receive_all, running_proxy, send, target

LISTEN = ("127.0.0.1:0",)
DENIED = b"\x05\x00\x05\x02" + REFUSAL
ELSEWHERE = {"far": Upstream(url="socks5://127.0.0.1:1")}


def wire(host: str, port: int) -> bytes:
    return request(host, port) if Address.of(host, port).type is not AddressType.DOMAIN else domain_request(host, port)


async def serves(proxy: Proxy, host: str, port: int, greeting: bytes = NO_AUTH, answer: int = 2) -> bool:
    """Whether an echo there is reached; else the answer is REP 02."""
    with await proxy.connect() as sock:
        await send(sock, greeting + wire(host, port) + b"ping")
        sock.shutdown(socket.SHUT_WR)
        said = (await receive_all(sock))[answer:]
    assert said == b"\x05\x02" + REFUSAL or (said[:2], said[-4:]) == (b"\x05\x00", b"ping")
    return said[1] == 0


# Rules.


async def test_the_first_rule_that_matches_decides() -> None:
    async with target(echo) as port, target(echo) as other:
        rules = (
            Rule(action="allow", ports=(port,), destinations=("127.0.0.1",)),
            Rule(action="deny", destinations=("127.0.0.0/8",)),
        )
        async with running_proxy(rules=rules) as proxy:
            assert await serves(proxy, "127.0.0.1", port)
            assert not await serves(proxy, "127.0.0.1", other)
            assert not await serves(proxy, "127.0.0.2", port)
            assert not await serves(proxy, "::ffff:127.0.0.2", port)


async def test_rules_by_user() -> None:
    users = {"anna": "secret", "bert": "secret"}
    rules = (Rule(action="deny", users=("bert",)),)
    async with target(echo) as port, running_proxy(users=users, rules=rules) as proxy:
        for user, allowed in ((b"anna", True), (b"bert", False)):
            greeting = USER_PASSWORD + b"\x01\x04" + user + b"\x06secret"
            assert await serves(proxy, "127.0.0.1", port, greeting, 4) is allowed


async def test_rules_by_source() -> None:
    async with target(echo) as port, running_proxy(rules=(Rule(action="deny", sources=("127.0.0.2",)),)) as proxy:
        assert await serves(proxy, "127.0.0.1", port)
        with socket.socket() as sock:
            sock.setblocking(False)
            sock.bind(("127.0.0.2", 0))
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", proxy.port))
            await send(sock, NO_AUTH + request("127.0.0.1", port))
            assert await receive_all(sock) == DENIED


async def test_rules_by_domain_and_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = {"a.example": ["127.0.0.1"], "b.example": ["127.0.0.2"], "both.example": ["127.0.0.2", "127.0.0.1"]}
    asked = names(monkeypatch, addresses)
    rules = (
        Rule(action="deny", name="no sub-domains of this", destinations=("denied.example",)),
        Rule(action="deny", name="not two", destinations=("127.0.0.2",)),
    )
    async with target(echo) as port, running_proxy(rules=rules) as proxy:
        assert await serves(proxy, "a.example", port)
        assert not await serves(proxy, "b.example", port)
        assert not await serves(proxy, "DENIED.example.", port)
        assert not await serves(proxy, "www.denied.example", port)
        assert await serves(proxy, "both.example", port)  # by the address that is allowed
        assert asked == ["a.example", "b.example", "both.example"], "nobody hears of names that are denied anyway"


async def test_the_access_log_names_the_rule(tmp_path: Path) -> None:
    log = tmp_path / "access.jsonl"
    async with target(echo) as port:
        rules = (Rule(action="allow", name="this one", ports=(port,)), Rule(action="deny"))
        async with running_proxy(rules=rules, access_log=str(log)) as proxy:
            assert await serves(proxy, "127.0.0.1", port)
            assert not await serves(proxy, "127.0.0.1", 9)
            await proxy.event("flow_closed")
    lines = {json.loads(line)["rule"]: json.loads(line)["reply"] for line in log.read_text().splitlines()}
    assert lines == {"this one": "SUCCEEDED", "rules[1]": "NOT_ALLOWED"}


async def test_a_reload_changes_the_rules_for_new_flows() -> None:
    async with target(echo) as port, running_proxy() as proxy:
        with await proxy.connect() as sock:
            await send(sock, NO_AUTH + request("127.0.0.1", port))
            await receive(sock, 12)
            proxy.server.apply(ProxySettings(listen=LISTEN, rules=(Rule(action="deny"),)))
            assert not await serves(proxy, "127.0.0.1", port)
            await send(sock, b"still here")
            assert await receive(sock, 10) == b"still here"
        with pytest.raises(SettingsError, match=r"rules\[0\]"):
            proxy.server.apply(ProxySettings(listen=LISTEN, rules=(Rule(action="allow", ports=("80-",)),)))
        assert not await serves(proxy, "127.0.0.1", port)


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (Rule(action="allow", ports=("80-",)), r"rules\[0\].ports"),
        (Rule(action="allow", users=("nobody",)), r"rules\[0\].users"),
        (Rule(action="allow", sources=("a.example",)), r"rules\[0\].sources"),
        (Rule(action="allow", via="nowhere"), r"rules\[0\].via"),
        (Rule(action="deny", egress=("127.0.0.1",)), r"rules\[0\]"),
    ],
)
async def test_rules_that_cannot_be_meant(rule: Rule, why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        await serve(ProxySettings(listen=LISTEN, rules=(rule,)))


# The guard.

INSIDE = ["127.0.0.1", "127.8.8.8", "::1", "10.0.0.1", "192.168.0.1", "169.254.1.1", "169.254.169.254", "fd00:ec2::254"]
DISGUISED = ["::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "2002:7f00:1::", "2130706433", "127.1"]
NAMES = {"localhost": ["127.0.0.1"], "rebound.example": ["127.0.0.1"], "metadata.example": ["169.254.169.254"]}


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0"])
async def test_destinations_inside_are_refused_where_strangers_may_come(
    listen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names(monkeypatch, NAMES)
    async with target(echo) as port, running_proxy(listen=(listen,), open=True) as proxy:
        proxy.addresses = [proxy.addresses[0].replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]")]
        for host in [*INSIDE, *DISGUISED, *NAMES]:
            assert await talk(proxy, NO_AUTH + wire(host, port)) == DENIED, host


async def test_rules_can_allow_what_is_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its address alone: who runs a domain chooses its addresses."""
    names(monkeypatch, NAMES)
    async with target(echo) as port:
        rules = (
            Rule(action="allow", destinations=("rebound.example",)),
            Rule(action="allow", destinations=("127.0.0.1",), ports=(port,)),
            Rule(action="allow"),
        )
        async with running_proxy(inside="deny", rules=rules[:1] + rules[2:]) as proxy:
            for host in ("127.0.0.1", "rebound.example"):
                assert not await serves(proxy, host, port)
        async with running_proxy(inside="deny", rules=rules[1:]) as proxy:
            for host in ("127.0.0.1", "rebound.example"):
                assert await serves(proxy, host, port)
            assert not await serves(proxy, "127.0.0.2", port)


async def test_nothing_is_inside_for_clients_of_this_host() -> None:
    async with target(echo) as port, running_proxy() as proxy:
        assert await serves(proxy, "127.0.0.1", port)


async def test_a_name_is_dialed_at_the_addresses_that_were_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for once: an answer that changes between the verdict and the connect does no harm."""
    asked = 0

    def getaddrinfo(name: str, port: int, **_: Any) -> list[Any]:
        nonlocal asked
        asked += 1
        host = "127.0.0.1" if asked == 1 else "127.0.0.3"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]

    monkeypatch.setattr(server, "open_resolver", lambda settings: SystemResolver(getaddrinfo))
    rules = (Rule(action="allow", destinations=("127.0.0.1",)),)
    async with target(echo) as port, running_proxy(inside="deny", rules=rules) as proxy:
        assert await serves(proxy, "changing.example", port)
        assert asked == 1


# Egress.


@contextlib.asynccontextmanager
async def who_comes() -> AsyncIterator[tuple[int, asyncio.Queue[str]]]:
    """A target, and the addresses that it is connected to from."""
    seen: asyncio.Queue[str] = asyncio.Queue()

    async def note(sock: socket.socket) -> None:
        seen.put_nowait(sock.getpeername()[0])
        await echo(sock)

    async with target(note) as port:
        yield port, seen


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_connections_come_from_the_egress_address(host: str) -> None:
    async with who_comes() as (port, seen):
        rule = Rule(action="allow", ports=(port,), egress=("127.0.0.8",))
        async with running_proxy(egress=("127.0.0.7", "::1")) as proxy:
            assert await serves(proxy, host, port)
            assert await seen.get() == "127.0.0.7"
            proxy.server.apply(ProxySettings(listen=LISTEN, egress=("127.0.0.7",), rules=(rule,)))
            assert await serves(proxy, host, port)
            assert await seen.get() == "127.0.0.8"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_an_egress_address_that_is_not_ours(host: str) -> None:
    async with target(echo) as port, running_proxy(egress=("198.51.100.1", "::1")) as proxy:
        answer = await talk(proxy, NO_AUTH + wire(host, port))
        # A name may have an IPv6 address, too, at which nobody listens.
        assert answer[3] in (ReplyCode.GENERAL_FAILURE, ReplyCode.CONNECTION_REFUSED)
        assert host != "127.0.0.1" or answer[3] == ReplyCode.GENERAL_FAILURE


# Through another proxy.


@pytest.mark.parametrize("scheme", ["socks5", "http"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_all_or_some_go_through_an_upstream(scheme: str, host: str) -> None:
    users = {"anna": "secret"}
    async with target(echo) as port, running_proxy(users=users) as far:
        upstreams = {"far": Upstream(url=f"{scheme}://127.0.0.1:{far.port}", user="anna", password="secret")}
        async with running_proxy(upstreams=upstreams, via="far") as proxy:
            assert await serves(proxy, host, port)
            assert (await far.event("flow_opened"))["target"] == f"{host}:{port}"  # a name as it is
        rule = Rule(action="allow", ports=(port,), via="far")
        async with running_proxy(upstreams=upstreams, rules=(rule,)) as proxy, target(echo) as direct:
            assert await serves(proxy, host, port)
            assert await serves(proxy, host, direct)
        opened = [fields["target"] for event, fields in far.events if event == "flow_opened"]
        assert opened == [f"{host}:{port}"] * 2


async def test_early_data_goes_through_an_upstream() -> None:
    async with target(echo) as port, running_proxy() as far:
        upstreams = {"far": Upstream(url=f"socks5://127.0.0.1:{far.port}")}
        async with running_proxy(upstreams=upstreams, via="far") as proxy:
            stream = NO_AUTH + request("127.0.0.1", port) + b"early data"
            for index in range(len(stream) + 1):
                with await proxy.connect() as sock:
                    await send(sock, stream[:index])
                    await asyncio.sleep(0)
                    await send(sock, stream[index:])
                    sock.shutdown(socket.SHUT_WR)
                    assert (await receive_all(sock))[12:] == b"early data", f"split at {index}"


async def test_what_the_upstream_says_is_passed_on() -> None:
    denied = (Rule(action="deny", ports=(9,)),)
    async with running_proxy(rules=denied) as far:
        upstreams = {"far": Upstream(url=f"socks5://127.0.0.1:{far.port}")}
        async with running_proxy(upstreams=upstreams, via="far") as proxy:
            assert await talk(proxy, NO_AUTH + request("127.0.0.1", 9)) == DENIED
            assert await talk(proxy, NO_AUTH + request("127.0.0.1", 1)) == b"\x05\x00\x05\x05" + REFUSAL


async def test_an_upstream_that_is_not_there_is_a_failure_of_ours() -> None:
    """Not of the target: the client hears of a general failure."""
    async with running_proxy(upstreams=ELSEWHERE, via="far") as proxy:
        assert await talk(proxy, NO_AUTH + request("192.0.2.1", 80)) == b"\x05\x00\x05\x01" + REFUSAL


async def test_the_guard_holds_for_addresses_that_would_go_through_an_upstream() -> None:
    async with running_proxy(upstreams=ELSEWHERE, via="far", inside="deny") as proxy:
        for host in ("127.0.0.1", "localhost", "2130706433"):
            assert await talk(proxy, NO_AUTH + wire(host, 80)) == DENIED


async def test_a_rule_with_networks_and_an_upstream_is_judged_by_the_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch, {"a.example": ["127.0.0.1"], "b.example": ["127.0.0.2"]})
    async with target(echo) as port, running_proxy() as far:
        upstreams = {"far": Upstream(url=f"socks5://127.0.0.1:{far.port}")}
        rule = Rule(action="allow", destinations=("127.0.0.2",), via="far")
        async with running_proxy(upstreams=upstreams, rules=(rule,)) as proxy:
            assert await serves(proxy, "a.example", port)
            assert len(far.events) == 1
            await talk(proxy, NO_AUTH + domain_request("b.example", port))
            # The upstream gets what was judged: by the name, it might find another address.
            assert f"127.0.0.2:{port}" in str(far.events)
            assert "b.example" not in str(far.events)
