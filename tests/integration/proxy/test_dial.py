"""Connecting to several addresses, and from addresses of our choice, on the real loopback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from proxy import dial as dialing
from proxy import server
from proxy.dial import Dial, DialFailed, dial_any
from proxy.resolver import SocketAddress
from proxy.wire import Address, ReplyCode
from tests.integration.proxy.test_server import NO_AUTH, black_hole, domain_request, talk
from tests.integration.proxy.world import SECONDS, receive, running_proxy, send

NOT_OURS = {socket.AF_INET: "192.0.2.99", socket.AF_INET6: "2001:db8::99"}


@contextlib.contextmanager
def listening(host: str = "127.0.0.1") -> Iterator[socket.socket]:
    """A listener that accepts when it is asked to."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        listener.setblocking(False)
        yield listener


def address(listener: socket.socket) -> SocketAddress:
    return socket.AddressFamily(listener.family), listener.getsockname()


def closed_port(host: str = "127.0.0.1") -> SocketAddress:
    with listening(host) as listener:
        return address(listener)


def hole(port: int) -> SocketAddress:
    return socket.AF_INET, ("127.0.0.1", port)


async def peer_of(listener: socket.socket) -> Any:
    """Where the next connection comes from."""
    sock, peer = await asyncio.wait_for(asyncio.get_running_loop().sock_accept(listener), SECONDS)
    sock.close()
    return peer


async def test_a_dead_first_address_costs_one_delay_and_is_let_go() -> None:
    """The first one has not failed when the second one stands: its connect would go on for two minutes."""
    loop = asyncio.get_running_loop()
    with black_hole() as port, listening("::1") as listener:
        begun = loop.time()
        sock, chosen = await dial_any([hole(port), address(listener)], seconds=SECONDS)
        with sock:
            assert chosen == address(listener)
            assert sock.getpeername() == listener.getsockname()
            assert sock.getblocking() is False
            assert loop.time() - begun >= 0.25
        assert [task for task in asyncio.all_tasks() if task.get_name().startswith("connect to")] == []


async def test_a_failure_starts_the_next_address_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a delay that would last forever, only the failures can have brought the last one about."""
    monkeypatch.setattr("proxy.eyeballs.ATTEMPT_DELAY_SECONDS", 3600.0)
    with listening() as listener:
        addresses = [closed_port(), closed_port("::1"), address(listener)]
        sock, chosen = await dial_any(addresses, seconds=SECONDS)
        sock.close()
        assert chosen == address(listener)


async def test_of_several_failures_the_one_that_got_farthest() -> None:
    with black_hole() as port, pytest.raises(DialFailed) as failed:
        await dial_any([closed_port(), hole(port)], seconds=0.05)
    assert failed.value.code is ReplyCode.CONNECTION_REFUSED


async def test_nobody_answers() -> None:
    with black_hole() as port, pytest.raises(DialFailed) as failed:
        await dial_any([hole(port)] * 3, seconds=0.05)
    assert failed.value.code is ReplyCode.HOST_UNREACHABLE


async def test_without_addresses() -> None:
    with pytest.raises(DialFailed) as failed:
        await dial_any([], seconds=SECONDS)
    assert failed.value.code is ReplyCode.HOST_UNREACHABLE


async def test_a_name_with_very_many_addresses_is_not_tried_through() -> None:
    with listening() as listener:
        addresses = [closed_port()] * dialing.ADDRESSES_MOST
        sock, _ = await dial_any([*addresses[1:], address(listener)], seconds=SECONDS)
        sock.close()
        with pytest.raises(DialFailed) as failed:
            await dial_any([*addresses, address(listener)], seconds=SECONDS)
        assert failed.value.code is ReplyCode.CONNECTION_REFUSED


async def test_giving_up_leaves_nothing() -> None:
    """Descriptors are counted by the fixture of this folder."""
    with black_hole() as port:
        task = asyncio.create_task(dial_any([hole(port)] * 2, seconds=SECONDS))
        for _ in range(5):  # turns of the loop: enough for the first attempt to wait
            await asyncio.sleep(0)
        assert any(one.get_name().startswith("connect to") for one in asyncio.all_tasks())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize(("host", "source"), [("127.0.0.1", "127.0.0.5"), ("::1", "::1")])
async def test_egress(host: str, source: str) -> None:
    with listening(host) as listener:
        family, name = address(listener)
        sock, _ = await dial_any([(family, name)], egress={family: source}, seconds=SECONDS)
        with sock:
            assert (await peer_of(listener))[:2] == sock.getsockname()[:2]
            assert sock.getsockname()[0] == source
        with contextlib.closing(Dial(Address.of(host, name[1]), lambda failed: None, source).sock) as dialed:
            assert (await peer_of(listener))[0] == source
            if dialing._BIND_ADDRESS_NO_PORT is not None:
                assert dialed.getsockopt(socket.IPPROTO_IP, dialing._BIND_ADDRESS_NO_PORT) == 1


async def test_a_family_without_an_egress_address_goes_as_the_system_chooses() -> None:
    with listening("::1") as listener:
        sock, _ = await dial_any([address(listener)], egress={socket.AF_INET: "127.0.0.5"}, seconds=SECONDS)
        with sock:
            assert sock.getsockname()[0] == "::1"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_an_egress_address_that_is_not_ours_is_our_failure_and_logged(host: str) -> None:
    with listening(host) as listener, structlog.testing.capture_logs() as logs:
        family, name = address(listener)
        with pytest.raises(DialFailed) as failed:
            await dial_any([(family, name)], egress=NOT_OURS, seconds=SECONDS)
        assert failed.value.code is ReplyCode.GENERAL_FAILURE
        with pytest.raises(DialFailed) as failed:
            Dial(Address.of(host, name[1]), lambda failed: None, NOT_OURS[family])
        assert failed.value.code is ReplyCode.GENERAL_FAILURE
    assert [(line["log_level"], line["address"]) for line in logs] == [("warning", NOT_OURS[family])] * 2
    assert all("egress" in line["hint"] for line in logs)


class Names:
    """A resolver that knows one name."""

    def __init__(self, *addresses: SocketAddress) -> None:
        self.addresses = list(addresses)

    async def resolve(self, host: str, port: int) -> list[SocketAddress]:
        if host == "slow.example":
            await asyncio.get_running_loop().create_future()
        if host != "a.example":
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return self.addresses

    def close(self) -> None:
        pass


async def test_dialing_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening() as listener:
        monkeypatch.setattr(server, "open_resolver", lambda settings: Names(closed_port("::1"), address(listener)))
        async with running_proxy(egress=("127.0.0.5",)) as proxy:
            with await proxy.connect() as sock:
                await send(sock, NO_AUTH + domain_request("a.example", 80))
                assert (await peer_of(listener))[0] == "127.0.0.5"
                assert (await receive(sock, 4))[2:] == b"\x05\x00"


@pytest.mark.parametrize("host", ["b.example", "slow.example"])
async def test_dialing_a_name_that_does_not_resolve(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "open_resolver", lambda settings: Names())
    async with running_proxy(connect_seconds=0.05) as proxy:
        answer = await talk(proxy, NO_AUTH + domain_request(host, 80))
        assert answer[2:4] == bytes((5, ReplyCode.HOST_UNREACHABLE))
