"""The network that this host is on, as the kernel says now, and an alarm for when that may have changed."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from pathlib import Path

from client.network import Network, network

SETTLE_SECONDS = 0.05
"""After the first sign of a change: an address and its routes come and go one by one."""
_SOMEWHERE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
_GROUPS = 0x10 | 0x40 | 0x100 | 0x400  # rtnetlink(7): RTMGRP_IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE
_CHUNK_BYTES = 65536


def read_network() -> Network | None:
    """The network of the default route, None without one. Where there is no /proc/net (macOS): by the own address."""
    try:
        route, arp = (Path("/proc/net", name).read_text() for name in ("route", "arp"))
    except FileNotFoundError:
        own = _own_address(socket.AF_INET, "") or _own_address(socket.AF_INET6, "")
        return Network(own, address=own) if own else None
    found = network(route, arp, _text_if_any(Path("/proc/net/ipv6_route")))
    if found is None or ":" in found.gateway:
        return found  # Of IPv6 only the prefix counts: addresses change by themselves (RFC 8981).
    return replace(found, address=_own_address(socket.AF_INET, found.gateway))


class ChangeAlarm:
    """Tells when addresses or routes of this host change, where the kernel does (netlink(7), Linux)."""

    def __init__(self) -> None:
        self._rang = asyncio.Event()
        self._socket = _netlink()
        if self._socket is not None:
            asyncio.get_running_loop().add_reader(self._socket, self._ring)

    async def wait(self, seconds: float) -> None:
        """Wait for a change that has settled, at most so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._rang.wait()
        except TimeoutError:
            return
        await asyncio.sleep(SETTLE_SECONDS)
        self._rang.clear()

    def close(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()

    def _ring(self) -> None:
        assert self._socket is not None
        try:
            while self._socket.recv(_CHUNK_BYTES):
                pass
        except OSError:
            pass  # Nothing more; or more than the buffer holds (ENOBUFS), which is a change as well.
        self._rang.set()


def _text_if_any(path: Path) -> str:
    """Without IPv6 in the kernel there is no such file."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def _own_address(family: socket.AddressFamily, towards: str) -> str:
    """Where packets would come from; connect(2) of a UDP socket sends none. "" if there is no way."""
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        for address in (towards, _SOMEWHERE[family]):
            try:
                sock.connect((address, 9))
            except OSError:  # A default route without a gateway has an interface's name there.
                continue
            return str(sock.getsockname()[0])
    return ""


def _netlink() -> socket.socket | None:
    if not hasattr(socket, "AF_NETLINK"):
        return None
    try:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        sock.bind((0, _GROUPS))
    except OSError:  # Some sandboxes have none: then what `read_network` says is compared now and then only.
        return None
    return sock
