"""Signed lists of proxies on their way from the origin to the sender, by whatever route carries."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from nacl.signing import SigningKey

from client import route_table
from client.list_shelf import ListShelf
from client.policies import RoutesChanged
from client.policies.sidedoor_settings import SidedoorSettings
from client.proxy_list import ListSource, sign, verified
from client.routes import Route
from client.routes.catalogue import make_routes
from client.sender import Sender
from client.settings import EndSettings, ProxyListSettings, RouteSettings
from sidedoor.settings import SettingsError
from tests.integration.client.test_origin import session, url
from tests.integration.client.test_sender import Traffic
from tests.integration.client.watched_policy import WatchedPolicies, watch_policies
from tests.integration.client.world import Gate, World, free_port, own_proxy

KEY = SigningKey(bytes(range(32)))
PUBLIC = bytes(KEY.verify_key).hex()
WARM = SidedoorSettings(standby="warm", probe_seconds=0.3, probe_timeout_seconds=1.0)


def document(version: int, proxies: dict[str, int]) -> bytes:
    routes = tuple(World.proxy_route(name, port) for name, port in proxies.items())
    expires = datetime.now(UTC) + timedelta(days=1)
    return sign(ListSource(version=version, expires=expires, routes=routes), KEY)[0]


class Lists:
    """The origin's file and the sender's."""

    def __init__(self, messenger: World, folder: Path) -> None:
        self._messenger = messenger
        self.origin = folder / "origin.signed"
        self.sender = folder / "sender.signed"

    async def offer(self, first: bytes) -> None:
        """Have the origin offer a list; another by writing the file later."""
        self.origin.write_bytes(first)
        await self._messenger.stop_origin()
        await self._messenger.start_origin(proxy_list=str(self.origin))
        await self._messenger.log.until("peer_joined", 2, peer="bob")

    def start_sender(self, refresh_seconds: float = 3600.0) -> Sender:
        listed = ProxyListSettings(file=str(self.sender), public_key=PUBLIC, refresh_seconds=refresh_seconds)
        return self._messenger.start_sender(self._messenger.settings({}, policy=WARM, proxy_list=listed))


@pytest.fixture
def lists(messenger: World, tmp_path: Path) -> Lists:
    return Lists(messenger, tmp_path)


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> WatchedPolicies:
    return watch_policies(monkeypatch)


@pytest.fixture
async def direct(messenger: World) -> Gate:
    return await messenger.gate(0.01)


@pytest.fixture
async def proxies(messenger: World) -> AsyncIterator[list[Gate]]:
    """Two proxies that work, each behind a gate."""
    async with own_proxy() as first, own_proxy() as second:
        yield [await messenger.gate(0.02, port) for port in (first, second)]


async def test_dead_proxies_are_replaced_over_direct_before_direct_is_blocked(
    messenger: World, direct: Gate, proxies: list[Gate], lists: Lists
) -> None:
    lists.sender.write_bytes(document(1, {f"dead{number}": free_port() for number in range(3)}))
    await lists.offer(document(2, {"fresh": proxies[0].port}))
    traffic = Traffic(messenger, lists.start_sender())
    await messenger.log.until("proxy_list_updated", version=2, routes=["fresh"])
    await messenger.log.until("route_dialed", route="fresh")
    direct.stalled = True
    await messenger.log.until("message_acked", 20, route="fresh")
    await traffic.finish()
    assert verified(lists.sender.read_bytes(), bytes(KEY.verify_key)).header.version == 2


async def test_a_list_comes_through_a_proxy_while_direct_is_blocked(
    messenger: World, direct: Gate, proxies: list[Gate], lists: Lists
) -> None:
    direct.shut = True
    lists.sender.write_bytes(document(1, {"old": proxies[0].port}))
    await lists.offer(document(1, {"old": proxies[0].port}))
    traffic = Traffic(messenger, lists.start_sender(refresh_seconds=0.1))
    await messenger.log.until("message_acked", 20, route="old")
    assert not messenger.log.of("proxy_list_updated")
    lists.origin.write_bytes(document(2, {"new": proxies[1].port}))
    await messenger.log.until("proxy_list_updated", version=2)
    proxies[0].shut = True
    proxies[0].reset()
    await messenger.log.until("message_acked", 20, route="new")
    await traffic.finish()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [(lambda good: good.replace(b"127.0.0.1", b"127.0.0.9"), "bad_signature"), (lambda good: b"x", "malformed")],
    ids=["tampered", "nonsense"],
)
async def test_a_forged_list_is_refused_and_the_policy_not_told(
    messenger: World,
    direct: Gate,
    lists: Lists,
    watch: WatchedPolicies,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Any,
    reason: str,
) -> None:
    await lists.offer(document(1, {"proxy1": 1}))
    monkeypatch.setattr(ListShelf, "document", lambda *_: spoil(document(2, {"proxy1": 1})))
    sender = lists.start_sender()
    await messenger.log.until("proxy_list_refused", reason=reason)
    sender.submit(b"the connection goes on")
    assert await sender.drain(5)
    assert not watch.told
    assert not lists.sender.exists()


async def test_an_origin_cannot_bring_back_an_older_list(
    messenger: World, direct: Gate, lists: Lists, watch: WatchedPolicies, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = document(2, {"proxy1": 1})
    lists.sender.write_bytes(kept)
    await lists.offer(document(1, {"proxy1": 2}))
    monkeypatch.setattr(ListShelf, "document", lambda *_: document(1, {"proxy1": 2}))
    lists.start_sender()
    await messenger.log.until("proxy_list_refused", reason="older")
    assert not watch.told
    assert lists.sender.read_bytes() == kept


async def test_routes_of_the_settings_come_first_and_win_and_what_cannot_be_used_is_left_out(
    messenger: World,
    direct: Gate,
    proxies: list[Gate],
    lists: Lists,
    watch: WatchedPolicies,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def making(settings: EndSettings, routes: tuple[RouteSettings, ...]) -> dict[str, Route]:
        if routes[0].name == "unusable":
            raise SettingsError("needs what this machine does not have")
        return make_routes(settings, routes)

    monkeypatch.setattr(route_table, "make_routes", making)
    await lists.offer(document(1, {"listed": proxies[1].port, "unusable": 1, "mine": 1}))
    listed = ProxyListSettings(file=str(lists.sender), public_key=PUBLIC)
    settings = messenger.settings({"mine": proxies[0].port}, policy=WARM, proxy_list=listed)
    messenger.start_sender(settings)
    await messenger.log.until("route_unusable", route="unusable")
    (told,) = watch.told
    assert isinstance(told, RoutesChanged)
    assert [(route.name, route.proxied) for route in told.routes] == [
        ("direct", False),
        ("mine", True),
        ("listed", True),
    ]


async def test_other_programs_get_the_list_over_https(messenger: World, lists: Lists) -> None:
    async with session(messenger) as http:
        async with http.get(url(messenger, "/proxies")) as response:
            assert response.status == 404
        await lists.offer(document(7, {"proxy1": 1080}))
    async with session(messenger) as http, http.get(url(messenger, "/proxies")) as response:
        assert (response.status, response.content_type) == (200, "text/plain")
        assert verified(await response.read(), bytes(KEY.verify_key)).header.version == 7


async def test_an_origin_without_a_list_answers_that_there_is_nothing(
    messenger: World, direct: Gate, lists: Lists
) -> None:
    sender = lists.start_sender(refresh_seconds=0.05)
    sender.submit(b"x")
    assert await sender.drain(5)
    assert not messenger.log.of("proxy_list_refused")
