"""One host of the netns runtime: a process that holds its namespaces, set up from the inside.

Forked by the lab's init (`lab.runtimes.netns_init`). It has network, mount and UTS namespaces of its own; roles enter
them. It waits to be told that its interfaces have been moved in, gives them addresses and routes, and then only
exists: its namespaces live as long as it does.
"""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

from pyroute2 import IPRoute

from lab.runtimes.linux import (
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWUTS,
    bind_mount,
    set_hostname,
    set_process_name,
    set_sysctl,
    unshare,
)
from lab.topology import Host, Topology

IFA_F_NODAD = 0x02

# Before the first interface exists, so that it starts with them.
_SYSCTLS = {
    "net.ipv6.conf.all.accept_dad": 0,
    "net.ipv6.conf.default.accept_dad": 0,
    "net.ipv6.conf.all.accept_ra": 0,
    "net.ipv6.conf.default.accept_ra": 0,
    "net.ipv6.conf.default.addr_gen_mode": 0,
    "net.ipv4.conf.all.rp_filter": 0,
    "net.ipv4.conf.default.rp_filter": 0,
    "net.ipv4.conf.all.send_redirects": 0,
    "net.ipv4.conf.default.send_redirects": 0,
    "net.ipv4.icmp_ratelimit": 0,
}
_ROUTER_SYSCTLS = {"net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1}


def hold(host: Host, topology: Topology, state: Path, line: socket.socket) -> None:
    """Become `host`; never returns. Says a byte on `line` when unshared, waits for one, says one when configured.

    Raises OSError; the parent sees the end of `line`.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    set_process_name(f"sd@{host.name}")
    unshare(CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWUTS)
    set_hostname(host.name)
    resolv_conf = state / f"resolv-{host.name}.conf"
    resolv_conf.write_text(f"nameserver {topology.nameserver}\noptions timeout:2 attempts:2\n", encoding="ascii")
    bind_mount(str(resolv_conf), os.path.realpath("/etc/resolv.conf"))
    for name, value in (_SYSCTLS | (_ROUTER_SYSCTLS if host.forwards else {})).items():
        set_sysctl(name, value)
    line.send(b"u")
    line.recv(1)
    with IPRoute() as ip:
        _configure(ip, host, topology)
    line.send(b"c")
    while True:
        signal.pause()


def _configure(ip: IPRoute, host: Host, topology: Topology) -> None:
    (loopback,) = ip.link_lookup(ifname="lo")
    ip.link("set", index=loopback, state="up")
    for interface in host.interfaces:
        network = topology.network(interface.network)
        (index,) = ip.link_lookup(ifname=interface.network)
        ip.link("set", index=index, state="up")
        ip.addr("add", index=index, address=str(interface.ipv4), prefixlen=network.ipv4.prefixlen)
        ip.addr("add", index=index, address=str(interface.ipv6), prefixlen=network.ipv6.prefixlen, flags=IFA_F_NODAD)
    destinations = [(None, route.network, route.via) for route in host.routes]
    if host.gateway is not None:
        hop = topology.next_hop(host, host.gateway)
        ip.route("add", dst="default", gateway=str(hop.ipv4))
        ip.route("add", dst="default", gateway=str(hop.ipv6), family=socket.AF_INET6)
    for _, network_name, via in destinations:
        network, hop = topology.network(network_name), topology.next_hop(host, via)
        ip.route("add", dst=str(network.ipv4), gateway=str(hop.ipv4))
        ip.route("add", dst=str(network.ipv6), gateway=str(hop.ipv6), family=socket.AF_INET6)
