from __future__ import annotations

import dataclasses

import msgspec
import pytest

from client.routes.settings import (
    AlternateRoute,
    DohRoute,
    HttpConnectRoute,
    ObfuscatedRoute,
    RouteSettings,
    Socks5Route,
    Socks5TlsRoute,
)
from lab.routes import STRAIGHT, client_routes, first_hop, proxies, proxy_name, route_names
from lab.topology import ORIGIN_NAME, standard

LAB = standard()
KEY = "ab" * 32
NAMES = (
    *STRAIGHT, "proxy1", "proxy2", "proxy1-tls", "proxy2-tls", "proxy1-http", "proxy2-http", "bridge",
)  # fmt: skip


def of(name: str) -> RouteSettings:
    (route,) = client_routes(LAB, [name], KEY)
    made: RouteSettings = msgspec.convert(route, RouteSettings)
    return made


def test_all_names_lead_somewhere_and_are_the_routes_own() -> None:
    assert route_names(LAB) == NAMES
    assert proxies(LAB) == ("proxy1", "proxy2")
    assert [of(name).name for name in NAMES] == list(NAMES)
    assert [name for name in NAMES if not of(name).proxied] == list(STRAIGHT)


def test_where_they_lead_first() -> None:
    origin = LAB.names[ORIGIN_NAME]
    assert {first_hop(LAB, name).addresses for name in STRAIGHT} == {origin}
    assert [first_hop(LAB, name).port for name in ("direct", "alternate")] == [443, 8443]
    assert (
        first_hop(LAB, "proxy1-tls").addresses == first_hop(LAB, "proxy1").addresses == LAB.host("proxy1").addresses()
    )
    assert [first_hop(LAB, name).port for name in ("proxy1", "proxy1-tls", "proxy1-http")] == [1080, 443, 1080]
    assert first_hop(LAB, "bridge").addresses == LAB.host("web").addresses()


def test_a_lab_without_web_sites_has_no_bridge() -> None:
    smaller = dataclasses.replace(LAB, hosts=tuple(host for host in LAB.hosts if host.name != "web"))
    assert route_names(smaller) == NAMES[:-1]


@pytest.mark.parametrize("name", ["proxy2", "proxy2-tls", "proxy2-http"])
def test_the_second_proxy_wants_a_login_by_every_protocol(name: str) -> None:
    route = of(name)
    assert isinstance(route, Socks5Route | Socks5TlsRoute | HttpConnectRoute)
    assert route.username == "lab"


def test_what_the_client_is_told() -> None:
    alternate, doh, bridge, tls = of("alternate"), of("doh"), of("bridge"), of("proxy1-tls")
    assert isinstance(alternate, AlternateRoute)
    assert alternate.endpoints(0) == [(address, 8443) for address in LAB.names[ORIGIN_NAME]]
    assert isinstance(doh, DohRoute)
    assert (doh.address, doh.server_name) == (LAB.nameserver, "dns.example")
    assert isinstance(bridge, ObfuscatedRoute)
    assert bridge.key == KEY
    assert isinstance(tls, Socks5TlsRoute)
    assert tls.server_name == proxy_name("proxy1")
