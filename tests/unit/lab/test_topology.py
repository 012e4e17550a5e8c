"""The topology as data: only addresses that are nobody's, and routes that lead everywhere."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest

from lab.topology import (
    CROWD_LIMIT,
    NEIGHBOUR_NAME,
    ORIGIN_NAME,
    WEB_NAMES,
    Crowd,
    Host,
    Network,
    Topology,
    crowd,
    standard,
)

TOPOLOGY = standard()
# RFC 5737, RFC 2544, RFC 3849.
NOBODYS_IPV4 = [IPv4Network(n) for n in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "198.18.0.0/15")]
NOBODYS_IPV6 = IPv6Network("2001:db8::/32")
HOST_NAMES = [host.name for host in TOPOLOGY.hosts]


@pytest.mark.parametrize("network", TOPOLOGY.networks, ids=lambda network: network.name)
def test_networks_are_documentation_or_benchmark_ranges(network: Network) -> None:
    assert any(network.ipv4.subnet_of(range_) for range_ in NOBODYS_IPV4)
    assert network.ipv6.subnet_of(NOBODYS_IPV6)


def test_networks_do_not_overlap() -> None:
    for one in TOPOLOGY.networks:
        for other in TOPOLOGY.networks:
            assert one is other or not (one.ipv4.overlaps(other.ipv4) or one.ipv6.overlaps(other.ipv6))


def test_addresses_are_unique_and_lie_in_their_networks() -> None:
    addresses = [address for host in TOPOLOGY.hosts for address in host.addresses()]
    assert len(addresses) == len(set(addresses))
    for host in TOPOLOGY.hosts:
        for interface in host.interfaces:
            network = TOPOLOGY.network(interface.network)
            assert interface.ipv4 in network.ipv4.hosts()
            assert interface.ipv6 in network.ipv6


def test_docker_takes_the_last_address_of_a_network_and_no_host_does() -> None:
    taken = {ip_address(address) for host in TOPOLOGY.hosts for address in host.addresses()}
    assert not taken & {subnet[-2] for network in TOPOLOGY.networks for subnet in (network.ipv4, network.ipv6)}


def test_names_of_networks_fit_the_kernel() -> None:
    assert all(len(network.name) <= 15 for network in TOPOLOGY.networks)


def test_each_networks_router_forwards_and_is_in_it() -> None:
    for network in TOPOLOGY.networks:
        router = TOPOLOGY.host(network.router)
        assert router.forwards
        assert router.on(network.name)


def test_end_hosts_use_their_networks_router() -> None:
    for host in TOPOLOGY.hosts:
        if not host.forwards:
            (interface,) = host.interfaces
            assert host.gateway == TOPOLOGY.network(interface.network).router


def next_host(topology: Topology, host: Host, target: IPv4Address | IPv6Address) -> Host:
    """Where `host` sends a packet for `target`: to itself on a shared network, else to the next hop of its routes."""

    def holds(network: str) -> bool:
        return target in (topology.network(network).ipv4 if target.version == 4 else topology.network(network).ipv6)

    if any(holds(interface.network) for interface in host.interfaces):
        return next(h for h in topology.hosts if str(target) in h.addresses())
    via = next((route.via for route in host.routes if holds(route.network)), host.gateway)
    assert via is not None, f"{host.name} has no route to {target}"
    hop = topology.next_hop(host, via)
    return next(h for h in topology.hosts if hop in h.interfaces)


@pytest.mark.parametrize("source", HOST_NAMES)
@pytest.mark.parametrize("target", HOST_NAMES)
def test_every_host_reaches_every_address(source: str, target: str) -> None:
    for address in TOPOLOGY.host(target).addresses():
        here, path = TOPOLOGY.host(source), [source]
        while here.name != target:
            here = next_host(TOPOLOGY, here, ip_address(address))
            path.append(here.name)
            assert len(path) <= 5, f"a loop: {path}"
        assert all(TOPOLOGY.host(name).forwards for name in path[1:-1])


@pytest.mark.parametrize("target", ["messenger", "receiver", "proxy1", "proxy2", "dns", "web"])
@pytest.mark.parametrize("source", ["client", "bystander"])
def test_the_home_network_reaches_the_world_through_censor_and_wan_only(source: str, target: str) -> None:
    address = ip_address(TOPOLOGY.host(target).addresses()[0])
    censor = next_host(TOPOLOGY, TOPOLOGY.host(source), address)
    wan = next_host(TOPOLOGY, censor, address)
    assert (censor.name, wan.name) == ("censor", "wan")
    assert next_host(TOPOLOGY, wan, address).name == target


def test_the_receiver_never_meets_the_censor() -> None:
    for address in TOPOLOGY.host("messenger").addresses():
        assert next_host(TOPOLOGY, TOPOLOGY.host("receiver"), ip_address(address)).name == "messenger"


def test_names() -> None:
    assert TOPOLOGY.names[ORIGIN_NAME] == TOPOLOGY.names[NEIGHBOUR_NAME] == TOPOLOGY.host("messenger").addresses()
    assert {TOPOLOGY.names[name] for name in WEB_NAMES} == {TOPOLOGY.host("web").addresses()}
    assert TOPOLOGY.nameserver in TOPOLOGY.host("dns").addresses()


def test_what_is_not_there_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="client is not in network uplink"):
        TOPOLOGY.host("client").on("uplink")
    with pytest.raises(KeyError, match="client and web share no network"):
        TOPOLOGY.next_hop(TOPOLOGY.host("client"), "web")


class TestCrowd:
    """What is for benchmarks: the standard topology with other clients and more proxies."""

    def test_clients_and_proxies(self) -> None:
        made = crowd(Crowd(clients=3))
        names = [host.name for host in made.hosts]
        assert [name for name in names if name.startswith("client")] == ["client1", "client2", "client3"]
        assert made.host("client3").addresses() == ("192.0.2.103", "2001:db8:1::103")
        proxies = [made.host(f"proxy{number}").addresses()[0] for number in range(1, 5)]
        assert proxies == ["198.51.100.11", "198.51.100.12", "198.51.100.13", "198.51.100.14"]
        assert not {"client", "bystander", "web", "proxy5"} & set(names)
        assert set(made.names) == {ORIGIN_NAME, NEIGHBOUR_NAME}

    def test_what_both_have_is_the_same(self) -> None:
        made = crowd(Crowd(clients=1, bystander=True))
        assert made.networks == TOPOLOGY.networks
        assert made.names == TOPOLOGY.names
        assert made.nameserver == TOPOLOGY.nameserver
        others = {host.name for host in TOPOLOGY.hosts} - {"client"}
        assert all(made.host(name) == TOPOLOGY.host(name) for name in others)

    def test_the_largest_has_room_in_its_networks(self) -> None:
        made = crowd(Crowd(clients=CROWD_LIMIT, bystander=True))
        addresses = [address for host in made.hosts for address in host.addresses()]
        assert len(addresses) == len(set(addresses))
        for host in made.hosts:
            for interface in host.interfaces:
                network = made.network(interface.network)
                assert interface.ipv4 in list(network.ipv4.hosts())[:-1]
                assert interface.ipv6 in network.ipv6

    def test_every_client_reaches_the_world_through_the_censor(self) -> None:
        made = crowd(Crowd(clients=2))
        for source in ("client1", "client2"):
            for target in ("messenger", "proxy4", "dns"):
                censor = next_host(made, made.host(source), ip_address(made.host(target).addresses()[0]))
                assert censor.name == "censor"

    @pytest.mark.parametrize("clients", [0, CROWD_LIMIT + 1])
    def test_bounds(self, clients: int) -> None:
        with pytest.raises(ValueError, match=f"a crowd of {clients} clients: expected 1 to {CROWD_LIMIT}"):
            crowd(Crowd(clients=clients))
