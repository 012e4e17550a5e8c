"""Packets that the kernel holds for a verdict (NFQUEUE), over raw netlink, in pure Python.

Synchronous and never blocking: register `fileno()` with select, epoll or asyncio's add_reader, call `read()` when it is
readable, and answer every packet with `verdict()`, all up to one with `verdict_batch()`, or each of many with
`add_verdict()` and `flush()`. The kernel acts on a verdict before `verdict`, `verdict_batch` or `flush` returns.
linux/netfilter/nfnetlink_queue.h.

With GSO (the default) a "packet" may be a super-packet of up to 64 KB with a partial checksum, which is what makes
10 Gbit/s through Python possible.
"""

from __future__ import annotations

import enum
import struct
import time
from dataclasses import dataclass
from typing import NamedTuple

from censor.packet_io.netlink import HEADER_BYTES, NLMSG_ERROR, NetfilterSocket, attribute, message

_SUBSYSTEM = 3
_MSG_PACKET, _MSG_VERDICT, _MSG_CONFIG, _MSG_VERDICT_BATCH = range(4)
_CFG_CMD, _CFG_PARAMS, _CFG_QUEUE_MAXLEN, _CFG_MASK, _CFG_FLAGS = range(1, 6)
_CMD_BIND = 1
_FLAG_FAIL_OPEN, _FLAG_GSO = 1, 4
_A_PACKET_HDR, _A_VERDICT_HDR, _A_MARK = 1, 2, 3
_A_INDEV, _A_OUTDEV, _A_PAYLOAD, _A_CAP_LEN, _A_SKB_INFO = 5, 6, 10, 13, 14
_SKB_CHECKSUM_NOT_READY, _SKB_GSO = 1, 2

_kind = struct.Struct("=4xH")
_attribute = struct.Struct("=HH")
# What this kernel's messages begin with: PACKET_HDR, and behind it INDEV and OUTDEV in the forward hook.
_start = struct.Struct("!4sIHxx4sI4sI")
_START_HEADERS = tuple(_attribute.pack(length, type_) for length, type_ in ((11, 1), (8, _A_INDEV), (8, _A_OUTDEV)))
_START_END = HEADER_BYTES + _start.size
_packet_header = struct.Struct("!IHB")
_be32 = struct.Struct("!I")
_verdict = struct.Struct("!24sII")
_verdict_with_mark = struct.Struct("!24sII4sI")
_MARK_HEADER = _attribute.pack(8, _A_MARK)
_MAX_PAYLOAD_BYTES = 0xFFFF - 4


class Verdict(enum.IntEnum):
    """What the kernel does with a held packet. REPEAT: runs through the same hook again (with its new mark)."""

    DROP = 0
    ACCEPT = 1
    REPEAT = 4


class CopyMode(enum.IntEnum):
    """How much of a packet comes to user space: META none, PACKET the first `copy_range_bytes`."""

    META = 1
    PACKET = 2


class QueuedPacket(NamedTuple):
    """One packet that waits for its verdict."""

    id: int
    payload: bytes
    """From the network header on; the first `copy_range_bytes`, empty in META mode."""
    hw_protocol: int
    """EtherType: 0x0800 IPv4, 0x86dd IPv6."""
    indev: int
    """Interface index it came in by (0: none)."""
    outdev: int
    """Interface index it will leave by (0: not routed yet)."""
    mark: int
    length: int
    """Bytes from the network header on, even where fewer were copied; 0 (unknown) in META mode."""
    t: float
    """time.monotonic() when it was read."""
    info: int = 0
    """NFQA_SKB_INFO."""

    @property
    def checksum_ready(self) -> bool:
        """False: the checksum of TCP or UDP is left to the network card, so the one in `payload` is partial."""
        return not self.info & _SKB_CHECKSUM_NOT_READY

    @property
    def gso(self) -> bool:
        """Whether this is a super-packet, which leaves as several."""
        return bool(self.info & _SKB_GSO)


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """How a queue is bound.

    fail_open: when the queue or the socket buffer is full, packets pass unseen instead of being dropped. (That packets
    pass when *no* process is bound is the iptables rule's `--queue-bypass`.)
    """

    number: int
    copy_mode: CopyMode = CopyMode.PACKET
    copy_range_bytes: int = _MAX_PAYLOAD_BYTES
    maxlen_packets: int = 8192
    gso: bool = True
    fail_open: bool = True
    receive_buffer_bytes: int = 32 << 20


class NfQueue:
    """A bound NFQUEUE of this network namespace. Raises UsageError: no permission, number in use. Use as a context.

    missed: packets the kernel could not hand over (gaps in the ids): they passed unseen (fail_open) or were dropped.
    failed_verdicts: verdicts for packets that no longer waited.
    """

    def __init__(self, settings: QueueSettings) -> None:
        self.settings = settings
        self.missed = 0
        self.failed_verdicts = 0
        self._last_id = 0
        self._buffer = bytearray(0x10000 + 4096)
        self._view = memoryview(self._buffer)
        self._pending: list[bytes] = []
        types = (_MSG_VERDICT, _MSG_VERDICT_BATCH)
        self._prefixes = {type_: _prefix(settings.number, type_, 0) for type_ in types}
        self._prefixes_with_mark = {type_: _prefix(settings.number, type_, 8) for type_ in types}
        self._socket = NetfilterSocket(settings.receive_buffer_bytes)
        try:
            self._configure()
        except BaseException:
            self._socket.close()
            raise

    def _configure(self) -> None:
        settings = self.settings
        what = f"binding NFQUEUE {settings.number}"
        flags = settings.gso * _FLAG_GSO | settings.fail_open * _FLAG_FAIL_OPEN
        copy_range = min(settings.copy_range_bytes, _MAX_PAYLOAD_BYTES)
        for body in (
            attribute(_CFG_CMD, struct.pack("!BxH", _CMD_BIND, 0)),
            attribute(_CFG_QUEUE_MAXLEN, _be32.pack(settings.maxlen_packets))
            + attribute(_CFG_FLAGS, _be32.pack(flags))
            + attribute(_CFG_MASK, _be32.pack(_FLAG_GSO | _FLAG_FAIL_OPEN)),
            # Last: without copy parameters no packet is delivered that `request` would have to throw away.
            attribute(_CFG_PARAMS, struct.pack("!IB", copy_range, settings.copy_mode)),
        ):
            self._socket.request(_SUBSYSTEM, _MSG_CONFIG, settings.number, body, what=what)

    @property
    def receive_buffer_bytes(self) -> int:
        """What the kernel granted; see NetfilterSocket."""
        return self._socket.receive_buffer_bytes

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        """Unbind. Packets that still wait are dropped by the kernel."""
        self._view.release()
        self._socket.close()

    def __enter__(self) -> NfQueue:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def read(self, limit: int = 64) -> list[QueuedPacket]:
        """The packets that wait, at most `limit` in one call; empty when there is none."""
        packets = []
        receive, buffer = self._socket.receive_into, self._buffer
        for _ in range(limit):
            size = receive(buffer)
            if not size:
                break
            (kind,) = _kind.unpack_from(buffer)
            if kind == _SUBSYSTEM << 8 | _MSG_PACKET:
                packets.append(self._packet(size))
            elif kind == NLMSG_ERROR:
                self.failed_verdicts += 1
        return packets

    def _packet(self, size: int) -> QueuedPacket:
        t = time.monotonic()
        buffer = self._buffer
        id_ = hw_protocol = indev = outdev = mark = length = info = 0
        payload = b""
        position = HEADER_BYTES
        if size >= _START_END:
            first, id_, hw_protocol, second, indev, third, outdev = _start.unpack_from(buffer, HEADER_BYTES)
            if (first, second, third) == _START_HEADERS:
                position = _START_END
            else:
                id_ = hw_protocol = indev = outdev = 0
        while position + 4 <= size:
            bytes_, type_ = _attribute.unpack_from(buffer, position)
            start = position + 4
            end = position + bytes_
            if bytes_ < 4 or end > size:
                break
            if type_ == _A_PAYLOAD:
                payload = bytes(self._view[start:end])
            elif type_ == _A_MARK:
                (mark,) = _be32.unpack_from(buffer, start)
            elif type_ == _A_SKB_INFO:
                (info,) = _be32.unpack_from(buffer, start)
            elif type_ == _A_CAP_LEN:
                (length,) = _be32.unpack_from(buffer, start)
            elif type_ == _A_PACKET_HDR:
                id_, hw_protocol, _hook = _packet_header.unpack_from(buffer, start)
            elif type_ == _A_INDEV:
                (indev,) = _be32.unpack_from(buffer, start)
            elif type_ == _A_OUTDEV:
                (outdev,) = _be32.unpack_from(buffer, start)
            position = end + 3 & ~3
        if id_ != self._last_id + 1:
            self.missed += (id_ - self._last_id - 1) & 0xFFFFFFFF
        self._last_id = id_
        return QueuedPacket(id_, payload, hw_protocol, indev, outdev, mark, length or len(payload), t, info)

    def configure(self, *, copy_range_bytes: int, gso: bool, fail_open: bool) -> None:
        """Change how the packets that come from now on are delivered; see QueueSettings. Raises OSError."""
        flags = attribute(_CFG_FLAGS, _be32.pack(gso * _FLAG_GSO | fail_open * _FLAG_FAIL_OPEN))
        mask = attribute(_CFG_MASK, _be32.pack(_FLAG_GSO | _FLAG_FAIL_OPEN))
        self._socket.send(message(_SUBSYSTEM, _MSG_CONFIG, self.settings.number, flags + mask))
        copy_range = min(copy_range_bytes, _MAX_PAYLOAD_BYTES)
        parameters = attribute(_CFG_PARAMS, struct.pack("!IB", copy_range, self.settings.copy_mode))
        self._socket.send(message(_SUBSYSTEM, _MSG_CONFIG, self.settings.number, parameters))

    def verdict(self, id_: int, verdict: Verdict, mark: int | None = None) -> None:
        """Release packet `id_`; with `mark`, its packet mark (NFQA_MARK) is set first."""
        self._socket.send(self._message(_MSG_VERDICT, id_, verdict, mark))

    def verdict_batch(self, last_id: int, verdict: Verdict, mark: int | None = None) -> None:
        """Release every waiting packet whose id is not above `last_id`."""
        self._socket.send(self._message(_MSG_VERDICT_BATCH, last_id, verdict, mark))

    def add_verdict(self, id_: int, verdict: Verdict, mark: int | None = None) -> None:
        """Like `verdict`, but kept until the next `flush`: many in one call are cheaper."""
        self._pending.append(self._message(_MSG_VERDICT, id_, verdict, mark))

    def flush(self) -> None:
        """Give the verdicts that were kept, in their order."""
        if self._pending:
            self._socket.send(b"".join(self._pending))
            self._pending.clear()

    def _message(self, type_: int, id_: int, verdict: int, mark: int | None) -> bytes:
        if mark is None:
            return _verdict.pack(self._prefixes[type_], verdict, id_)
        return _verdict_with_mark.pack(self._prefixes_with_mark[type_], verdict, id_, _MARK_HEADER, mark)


def _prefix(number: int, type_: int, more_bytes: int) -> bytes:
    """What a verdict message begins with, up to the value of VERDICT_HDR; `more_bytes` come behind that."""
    return message(_SUBSYSTEM, type_, number, attribute(_A_VERDICT_HDR, bytes(8)) + bytes(more_bytes))[
        : HEADER_BYTES + 4
    ]
