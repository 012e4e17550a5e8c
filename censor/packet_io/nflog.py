"""Copies of packets that a kernel rule logged (`nft ... log group N`), over raw netlink, in pure Python.

Unlike a queue the kernel waits for nobody here: it has dropped the packet already. linux/netfilter/nfnetlink_log.h.
"""

from __future__ import annotations

import struct
import time
from typing import NamedTuple

from censor.packet_io.netlink import HEADER_BYTES, NetfilterSocket, attribute, attributes

_SUBSYSTEM = 4
_MSG_PACKET, _MSG_CONFIG = range(2)
_CFG_CMD, _CFG_MODE, _CFG_QTHRESH, _CFG_FLAGS = 1, 2, 5, 6
_CMD_BIND = 1
_COPY_PACKET = 2
_FLAG_SEQUENCE = 1
_A_PAYLOAD, _A_PREFIX, _A_SEQUENCE = 9, 10, 12

_length_and_kind = struct.Struct("=IH")
_be32 = struct.Struct("!I")


class LoggedPacket(NamedTuple):
    """One packet that a rule logged. `t`: time.monotonic() when it was read."""

    prefix: str
    """The rule's log prefix."""
    payload: bytes
    """From the network header on, as far as the rule's `snaplen` and `copy_range_bytes` went."""
    t: float


class NfLog:
    """A bound log group of this network namespace. Raises UsageError: no permission, number in use. Use as a context.

    missed: packets that the kernel logged but could not hand over (gaps in its sequence numbers).
    """

    def __init__(self, group: int, *, copy_range_bytes: int = 256, receive_buffer_bytes: int = 4 << 20) -> None:
        self.missed = 0
        self._next = 0
        self._buffer = bytearray(0x20000)
        self._view = memoryview(self._buffer)
        self._socket = NetfilterSocket(receive_buffer_bytes)
        # A threshold of one packet: the kernel hands over each packet at once instead of after up to a second.
        bodies = (
            attribute(_CFG_CMD, bytes([_CMD_BIND])),
            attribute(_CFG_MODE, struct.pack("!IBx", copy_range_bytes, _COPY_PACKET)),
            attribute(_CFG_QTHRESH, _be32.pack(1)) + attribute(_CFG_FLAGS, struct.pack("!H", _FLAG_SEQUENCE)),
        )
        try:
            for body in bodies:
                self._socket.request(_SUBSYSTEM, _MSG_CONFIG, group, body, what=f"binding NFLOG group {group}")
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._view.release()
        self._socket.close()

    def __enter__(self) -> NfLog:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def read(self, limit: int = 64) -> list[LoggedPacket]:
        """The logged packets that wait, from at most `limit` datagrams (one packet each, at this threshold)."""
        packets = []
        for _ in range(limit):
            size = self._socket.receive_into(self._buffer)
            if not size:
                break
            position = 0
            while position + HEADER_BYTES <= size:
                length, kind = _length_and_kind.unpack_from(self._buffer, position)
                if kind == _SUBSYSTEM << 8 | _MSG_PACKET:
                    packets.append(self._packet(position + HEADER_BYTES, min(position + length, size)))
                position += max(length + 3 & ~3, HEADER_BYTES)
        return packets

    def _packet(self, start: int, end: int) -> LoggedPacket:
        t = time.monotonic()
        prefix, payload = "", b""
        for type_, first, last in attributes(self._view, start, end):
            if type_ == _A_PREFIX:
                prefix = bytes(self._view[first:last]).rstrip(b"\0").decode("utf-8", "replace")
            elif type_ == _A_PAYLOAD:
                payload = bytes(self._view[first:last])
            elif type_ == _A_SEQUENCE:
                (sequence,) = _be32.unpack_from(self._buffer, first)
                self.missed += (sequence - self._next) & 0xFFFFFFFF
                self._next = (sequence + 1) & 0xFFFFFFFF
        return LoggedPacket(prefix, payload, t)
