"""Silence after a connection is given up: what still arrives for its socket is dropped without an answer.

An aborted socket is gone; a segment that its peer sends again later would be answered by the kernel with an RST: one
packet on the path that was just left. So the socket's port is held for a while by a listener whose packet filter
(SO_ATTACH_FILTER, a classic BPF program of one instruction) drops everything. A listener has nothing to retransmit,
and the filter runs before TCP does. Linux only, and some hardened kernels refuse the filter to ordinary users (EPERM
was seen); elsewhere `QuietPorts` holds nothing.
"""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
import sys

HOLD_SECONDS = 64.0
"""Linux gives up a SYN-ACK after 1 + 2 + 4 + 8 + 16 + 32 s; this project's origin gives up data after 10 s."""

_SO_ATTACH_FILTER = 26  # include/uapi/asm-generic/socket.h; Python's socket module does not name it.
_DROP_ALL = struct.pack("HBBI", 0x06, 0, 0, 0)  # BPF_RET | BPF_K, 0: keep no byte.


def drop_arrivals(sock: socket.socket) -> None:
    """Drop every packet for `sock` from now on, before TCP sees it. Raises OSError."""
    program = ctypes.create_string_buffer(_DROP_ALL)
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(program)))


class QuietPorts:
    """The ports of connections that were given up. `close` releases all of them; then the kernel answers again."""

    def __init__(self, hold_seconds: float = HOLD_SECONDS) -> None:
        self._hold_seconds = hold_seconds
        self._held: dict[str, tuple[socket.socket, asyncio.TimerHandle]] = {}

    def hold(self, local: str) -> None:
        """Keep quiet on "address:port", to be called before its socket is closed (see `client.routes.tcp`).

        A port that cannot be had (a socket of others shares it, no descriptor is left) is not held.
        """
        if local in self._held or not sys.platform.startswith("linux"):
            return
        host, _, port = local.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        try:
            listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        except OSError:
            return
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            drop_arrivals(listener)
            listener.bind((host, int(port)))
            listener.listen(1)
        except OSError:
            listener.close()
            return
        timer = asyncio.get_running_loop().call_later(self._hold_seconds, self._release, local)
        self._held[local] = listener, timer

    def close(self) -> None:
        """Release everything."""
        for local in list(self._held):
            self._release(local)

    def _release(self, local: str) -> None:
        listener, timer = self._held.pop(local)
        timer.cancel()
        listener.close()
