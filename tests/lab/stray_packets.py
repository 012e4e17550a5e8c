"""Counts packets of the lab's subnets on this machine's own interfaces: there must be none but on the lab's."""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
import threading
from collections import Counter
from pathlib import Path
from types import TracebackType

from pyroute2 import IPRoute

from lab.topology import standard

_ETH_P_ALL, _ETH_P_IP, _ETH_P_IPV6, _ETH_P_ARP = 0x0003, 0x0800, 0x86DD, 0x0806
_NETWORKS = [network for entry in standard().networks for network in (entry.ipv4, entry.ipv6)]
_HOSTS = {address for host in standard().hosts for address in host.addresses()}


def is_of_lab(protocol: int, packet: bytes, own: frozenset[str] = frozenset()) -> bool:
    """Whether a packet's source or destination (ARP: sender or target) is in one of the lab's subnets.

    `own`: addresses of this machine and its gateways. A machine may itself live in a documentation range; its own
    packets are none of the lab's, unless they concern one of the lab's hosts.
    """
    if protocol == _ETH_P_IP and len(packet) >= 20:
        addresses: list[bytes] = [packet[12:16], packet[16:20]]
    elif protocol == _ETH_P_IPV6 and len(packet) >= 40:
        addresses = [packet[8:24], packet[24:40]]
    elif protocol == _ETH_P_ARP and len(packet) >= 28:
        addresses = [packet[14:18], packet[24:28]]
    else:
        return False
    found = [ipaddress.ip_address(address) for address in addresses]
    if any(str(address) in _HOSTS - own for address in found):
        return True
    if any(str(address) in own for address in found):
        return False
    return any(address in network for address in found for network in _NETWORKS if network.version == address.version)


def own_addresses() -> frozenset[str]:
    """This machine's addresses, and those of the gateways that it uses."""
    with IPRoute() as ip:
        addresses = {address.get("IFA_ADDRESS") for address in ip.get_addr()}
        gateways = {route.get("RTA_GATEWAY") for route in ip.get_routes()}
    return frozenset(addresses | gateways) - {None}


class StrayPackets:
    """A context manager; afterwards `seen` has the number of the lab's packets by interface."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self._masters: dict[str, str] = {}
        self._own = own_addresses()  # before there is a lab

    def __enter__(self) -> StrayPackets:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self._socket.settimeout(0.2)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stray packets")
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stopping.set()
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                packet, (device, protocol, *_) = self._socket.recvfrom(64)
            except (TimeoutError, OSError):
                continue
            if is_of_lab(protocol, packet, self._own):
                self.seen[self._bridge_of(device)] += 1

    def _bridge_of(self, device: str) -> str:
        """The bridge that `device` is a port of, else the device itself."""
        if device not in self._masters:
            try:
                self._masters[device] = os.path.basename(os.readlink(f"/sys/class/net/{device}/master"))
            except OSError:
                self._masters[device] = device
        return self._masters[device]

    def elsewhere(self, lab_prefix: str) -> dict[str, int]:
        """What was seen on interfaces that are not the lab's (`lab_prefix`: how its bridges' names start)."""
        return {device: count for device, count in self.seen.items() if not device.startswith(lab_prefix)}


def can_capture() -> bool:
    """Whether this process may open a packet socket."""
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0).close()
    except PermissionError:
        return False
    return True


def arp(sender: str, target: str) -> bytes:
    """An ARP request's bytes, for the test of the counter itself."""
    return struct.pack("!HHBBH6s4s6s4s", 1, _ETH_P_IP, 6, 4, 1, b"", _packed(sender), b"", _packed(target))


def _packed(address: str) -> bytes:
    return ipaddress.IPv4Address(address).packed


def docker_bridge_prefix() -> str:
    """How the names of every Docker lab's bridges start."""
    return "sd"


def interfaces() -> list[str]:
    """This machine's interfaces."""
    return sorted(path.name for path in Path("/sys/class/net").iterdir())
