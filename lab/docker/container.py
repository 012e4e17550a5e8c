"""What a host of the lab is given as a container, by the Docker runtime and by compose.yaml alike. Sans-IO.

The containers' networks are no `internal` ones: Docker's isolation rules drop transit traffic on those. Nothing is
masqueraded, and Docker's gateways have addresses that are out of the way of the lab's routers.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

from lab.topology import Host, Topology

IMAGE = "sidedoor-lab:latest"
STATE_IN_HOSTS = Path("/run/sidedoor")
# What curl, OpenSSL and Python read the lab's CA certificate from.
TRUST_VARIABLES = ("CURL_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
NETWORK_OPTIONS = {
    "com.docker.network.bridge.enable_ip_masquerade": "false",
    # The host takes no IPv4 address in a lab's network: it keeps its own routes, should it live in such a range itself.
    "com.docker.network.bridge.inhibit_ipv4": "true",
}

_SYSCTLS = {
    "net.ipv6.conf.all.disable_ipv6": "0",
    "net.ipv6.conf.default.disable_ipv6": "0",
    "net.ipv6.conf.all.accept_dad": "0",
    "net.ipv6.conf.default.accept_dad": "0",
    "net.ipv6.conf.all.accept_ra": "0",
    "net.ipv6.conf.default.accept_ra": "0",
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.rp_filter": "0",
    "net.ipv4.conf.all.send_redirects": "0",
    "net.ipv4.conf.default.send_redirects": "0",
    "net.ipv4.icmp_ratelimit": "0",
}
_ROUTER_SYSCTLS = {"net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1"}


def sysctls(host: Host) -> dict[str, str]:
    """The kernel settings of the host's network namespace."""
    return _SYSCTLS | (_ROUTER_SYSCTLS if host.forwards else {})


def capabilities(host: Host) -> list[str]:
    """Routers filter and inject; every host may bind low ports, capture, and write into the mounted folders."""
    basic = ["NET_BIND_SERVICE", "NET_RAW", "DAC_OVERRIDE", "CHOWN", "KILL", "SETUID", "SETGID"]
    return [*basic, "NET_ADMIN"] if host.forwards else basic


def engine_gateway(subnet: IPv4Network | IPv6Network) -> IPv4Address | IPv6Address:
    """The address of Docker's own gateway in `subnet`: the last but one."""
    return subnet[-2]


def resolver(topology: Topology) -> str:
    """A container's /etc/resolv.conf."""
    return f"nameserver {topology.nameserver}\noptions timeout:2 attempts:2\n"


def routes(topology: Topology, host: Host) -> list[str]:
    """Shell commands that lead the host's packets through the lab's routers instead of Docker's gateways.

    For `sh -e`, with NET_ADMIN in the host's network namespace.
    """
    commands = ["ip route del default || true", "ip -6 route del default || true"]
    if host.gateway is not None:
        hop = topology.next_hop(host, host.gateway)
        commands += [f"ip route replace default via {hop.ipv4}", f"ip -6 route replace default via {hop.ipv6}"]
    for route in host.routes:
        network, hop = topology.network(route.network), topology.next_hop(host, route.via)
        commands += [
            f"ip route replace {network.ipv4} via {hop.ipv4}",
            f"ip -6 route replace {network.ipv6} via {hop.ipv6}",
        ]
    return commands
