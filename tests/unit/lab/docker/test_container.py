"""What a host is given as a container: rights, sysctls, routes, resolver."""

from __future__ import annotations

import pytest

from lab.docker.container import capabilities, engine_gateway, resolver, routes, sysctls
from lab.topology import standard

TOPOLOGY = standard()


def test_only_routers_may_change_the_network() -> None:
    for host in TOPOLOGY.hosts:
        assert ("NET_ADMIN" in capabilities(host)) == host.forwards
        assert "SYS_ADMIN" not in capabilities(host)


def test_only_routers_forward_and_all_have_ipv6() -> None:
    for host in TOPOLOGY.hosts:
        assert (sysctls(host).get("net.ipv4.ip_forward") == "1") == host.forwards
        assert (sysctls(host).get("net.ipv6.conf.all.forwarding") == "1") == host.forwards
        assert sysctls(host)["net.ipv6.conf.all.disable_ipv6"] == "0"


def test_docker_gateways_are_no_hosts_of_ours() -> None:
    ours = {address for host in TOPOLOGY.hosts for address in host.addresses()}
    for network in TOPOLOGY.networks:
        for subnet in (network.ipv4, network.ipv6):
            assert engine_gateway(subnet) in subnet
            assert str(engine_gateway(subnet)) not in ours


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("client", {"default via 192.0.2.1", "default via 2001:db8:1::1"}),
        ("censor", {"default via 198.19.255.2", "default via 2001:db8:ff::2"}),
        ("wan", {"192.0.2.0/24 via 198.19.255.1", "2001:db8:1::/64 via 2001:db8:ff::1"}),
    ],
)
def test_routes_lead_through_the_labs_routers_only(host: str, expected: set[str]) -> None:
    commands = routes(TOPOLOGY, TOPOLOGY.host(host))
    assert commands[:2] == ["ip route del default || true", "ip -6 route del default || true"]
    assert {command.partition(" replace ")[2] for command in commands[2:]} == expected


def test_the_resolver_is_the_labs() -> None:
    assert resolver(TOPOLOGY).splitlines()[0] == "nameserver 198.18.0.53"
