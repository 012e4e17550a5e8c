"""What the kernel knows of a TCP connection: Linux's TCP_INFO (tcp(7); struct tcp_info in linux/tcp.h)."""

from __future__ import annotations

import asyncio.trsock
import socket
import struct
import sys

_LAST_ACK_RECEIVED = struct.Struct("=56xI")  # tcpi_last_ack_recv, in milliseconds


def quiet_seconds(sock: socket.socket | asyncio.trsock.TransportSocket) -> float | None:
    """How long ago the last acknowledgement came in; None on other systems and for a closed socket."""
    if sys.platform != "linux":
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_ACK_RECEIVED.size)
    except OSError:
        return None
    return float(_LAST_ACK_RECEIVED.unpack(info)[0]) / 1000
