"""Sends forged packets through raw sockets, with a packet mark by which the kernel rules leave them untracked.

Untracked, because a forged RST or answer that conntrack saw would close the real flow's entry on this very host, or
clash with it (see censor/kernel/kernel.py, chain SIDEDOOR-OUTPUT).
"""

from __future__ import annotations

import errno
import socket

from censor.kernel.marks import INJECTED_MARK
from sidedoor.settings import UsageError

_SO_MARK = 36


class Injector:
    """Raw sockets for both families, for IPv4 alone on a host without IPv6. Raises UsageError without NET_RAW and
    NET_ADMIN.

    failed: packets that the kernel refused (no route to the destination, say); injection is best effort.
    """

    def __init__(self) -> None:
        self.failed = 0
        self._sockets: dict[int, socket.socket] = {}
        try:
            self._open(4, socket.AF_INET)
            try:
                self._open(6, socket.AF_INET6)
            except OSError as error:
                if error.errno != errno.EAFNOSUPPORT:
                    raise
        except PermissionError as error:
            self.close()
            raise UsageError("opening raw sockets: not permitted; NET_RAW and NET_ADMIN are needed") from error
        except BaseException:
            self.close()
            raise

    def _open(self, version: int, family: socket.AddressFamily) -> None:
        # IPPROTO_RAW: the packet brings its own IP header, on both families.
        self._sockets[version] = raw = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
        raw.setblocking(False)
        raw.setsockopt(socket.SOL_SOCKET, _SO_MARK, INJECTED_MARK)

    def send(self, packet: bytes) -> None:
        """Send one packet that starts with its IP header."""
        version = packet[0] >> 4
        destination = packet[16:20] if version == 4 else packet[24:40]
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        try:
            self._sockets[version].sendto(packet, (socket.inet_ntop(family, destination), 0))
        except OSError:
            self.failed += 1

    def close(self) -> None:
        for raw in self._sockets.values():
            raw.close()
