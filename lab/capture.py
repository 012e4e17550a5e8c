"""Captures: every packet on a host's interfaces into pcap files, without tcpdump and without root.

tcpdump drops its privileges at start, which fails in a user namespace. This reads AF_PACKET's memory-mapped ring
(TPACKET_V3, Documentation/networking/packet_mmap.rst) instead of calling recv per packet: the ring is not bound by
`rmem_max`, which an ordinary user cannot raise and three GSO packets fill.

Files are `HOST-LOGICAL.pcap`, nanosecond pcap (magic 0xa1b23c4d), link type Ethernet; timestamps are CLOCK_REALTIME as
the kernel took them. Packets are what the host saw: up to 64 KB with segmentation offload, checksums perhaps partial.
`HOST.json` beside them says how many packets each file holds and how many the kernel had to drop.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import socket
import struct
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import msgspec

from sidedoor.events import Emit

_SOL_PACKET = 263
_PACKET_RX_RING = 5
_PACKET_STATISTICS = 6
_PACKET_VERSION = 10
_PACKET_IGNORE_OUTGOING = 23
_TPACKET_V3 = 2
_ETH_P_ALL = 3
_SO_RCVBUFFORCE = 33

# A block is handed over when it is full or this old; one must hold the largest packet (64 KB) and its header.
_BLOCK_BYTES = 128 * 1024
_BLOCK_COUNT = 64
_BLOCK_MILLISECONDS = 20
_BLOCKS_PER_CALL = 16  # then the loop's other work gets its turn

_BLOCK_HEADER = struct.Struct("=8xIII")  # tpacket_hdr_v1: block_status, num_pkts, offset_to_first_pkt
_BLOCK_STATUS = struct.Struct("=I")
_BLOCK_STATUS_AT = 8
_PACKET_HEADER = struct.Struct("=IIIII4xH")  # tpacket3_hdr: next offset, seconds, nanoseconds, snaplen, length, mac
_STATISTICS = struct.Struct("=III")
_FILE_HEADER = struct.Struct("<IHHiIII")
_RECORD_HEADER = struct.Struct("<IIII")
_MAGIC_NANOSECONDS = 0xA1B23C4D
_LINKTYPE_ETHERNET = 1


class CaptureSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where to capture and where to. `interfaces`: logical name (part of the file's name) -> device name."""

    folder: str
    host: str
    interfaces: dict[str, str]
    snaplen: int = 65535  # bytes kept of a packet; TLS records are needed whole for decryption


class InterfaceStats(msgspec.Struct, frozen=True):
    """What one file holds, and how many packets the kernel dropped because the ring was full."""

    packets: int
    dropped: int


class _Ring:
    """One interface's socket, its mapped ring and the file that the packets go to."""

    def __init__(self, device: str, path: Path, snaplen: int) -> None:
        self.packets = 0
        self.dropped = 0
        self._snaplen = snaplen
        self._block = 0
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        try:
            self._memory = self._map(device)
            self._view = memoryview(self._memory)
            self._file: BinaryIO = path.open("wb", buffering=0)
        except BaseException:
            self.socket.close()
            raise
        self._file.write(_FILE_HEADER.pack(_MAGIC_NANOSECONDS, 2, 4, 0, 0, snaplen, _LINKTYPE_ETHERNET))

    def _map(self, device: str) -> mmap.mmap:
        self.socket.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V3)
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 16 * 1024 * 1024)
        except PermissionError:
            pass  # in a user namespace; the ring does not need it
        size = _BLOCK_BYTES * _BLOCK_COUNT
        # tpacket_req3: block size and count, frame size and count, block life, no private area, no features.
        request = struct.pack("=7I", _BLOCK_BYTES, _BLOCK_COUNT, _BLOCK_BYTES, _BLOCK_COUNT, _BLOCK_MILLISECONDS, 0, 0)
        self.socket.setsockopt(_SOL_PACKET, _PACKET_RX_RING, request)
        if device == "lo":  # where each packet goes out and comes in
            self.socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        memory = mmap.mmap(self.socket.fileno(), size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self.socket.bind((device, _ETH_P_ALL))
        return memory

    def drain(self, blocks: int = _BLOCK_COUNT) -> None:
        """Write the packets of up to `blocks` blocks that the kernel has handed over, and give them back."""
        for _ in range(blocks):
            at = self._block * _BLOCK_BYTES
            status, count, first = _BLOCK_HEADER.unpack_from(self._view, at)
            if not status & 1:  # TP_STATUS_USER
                return
            self._write(at + first, count)
            _BLOCK_STATUS.pack_into(self._view, at + _BLOCK_STATUS_AT, 0)
            self._block = (self._block + 1) % _BLOCK_COUNT

    def _write(self, at: int, count: int) -> None:
        view, snaplen = self._view, self._snaplen
        parts: list[bytes | memoryview] = []
        for _ in range(count):
            step, seconds, nanoseconds, kept, length, mac = _PACKET_HEADER.unpack_from(view, at)
            kept = min(kept, snaplen)
            parts.append(_RECORD_HEADER.pack(seconds, nanoseconds, kept, length))
            parts.append(view[at + mac : at + mac + kept])
            at += step
        data = memoryview(b"".join(parts))
        self.packets += count
        while data:
            data = data[self._file.write(data) or 0 :]

    def stats(self) -> InterfaceStats:
        """The counts so far. Reading the kernel's count sets it to zero, hence the sum kept here."""
        if self.socket.fileno() >= 0:
            self.dropped += _STATISTICS.unpack(self.socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 12))[1]
        return InterfaceStats(packets=self.packets, dropped=self.dropped)

    def close(self) -> None:
        self.stats()
        self._view.release()
        self._memory.close()
        self.socket.close()
        self._file.close()


class Capture:
    """Captures one host's interfaces from `start` to `stop`; also an asynchronous context manager.

    It must be used in a process inside the host's network namespace. `start` raises OSError (PermissionError without
    CAP_NET_RAW, ENODEV for a device that is not there). Everything that passes after `start` returns is captured.
    """

    def __init__(self, settings: CaptureSettings) -> None:
        self.settings = settings
        self._rings: dict[str, _Ring] = {}
        self._final: dict[str, InterfaceStats] | None = None

    def path(self, logical: str) -> Path:
        """The pcap file of the interface with that logical name."""
        return Path(self.settings.folder) / f"{self.settings.host}-{logical}.pcap"

    def start(self) -> None:
        """Bind all interfaces and begin; needs a running event loop."""
        loop = asyncio.get_running_loop()
        Path(self.settings.folder).mkdir(parents=True, exist_ok=True)
        try:
            for logical, device in self.settings.interfaces.items():
                ring = _Ring(device, self.path(logical), self.settings.snaplen)
                self._rings[logical] = ring
                loop.add_reader(ring.socket, ring.drain, _BLOCKS_PER_CALL)
        except BaseException:
            self._close()
            raise

    async def flush(self) -> None:
        """Return when every packet seen before the call is in its file.

        The kernel hands a block that is not full over only when its time is up, so this waits for that time.
        """
        await asyncio.sleep(3 * _BLOCK_MILLISECONDS / 1000)
        self._drain()

    async def stop(self) -> dict[str, InterfaceStats]:
        """Flush, close, write `HOST.json`; returns the counts by logical name. Safe to call twice."""
        if self._final is None:
            try:
                await self.flush()
            finally:
                self._drain()
                self._final = self.stats()
                self._close()
                target = Path(self.settings.folder) / f"{self.settings.host}.json"
                target.write_bytes(msgspec.json.encode(self._final))
        return self._final

    def stats(self) -> dict[str, InterfaceStats]:
        """Packets written and packets dropped by the kernel so far, by logical name."""
        return self._final or {logical: ring.stats() for logical, ring in self._rings.items()}

    async def __aenter__(self) -> Capture:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _drain(self) -> None:
        for ring in self._rings.values():
            ring.drain()

    def _close(self) -> None:
        for ring in self._rings.values():
            asyncio.get_running_loop().remove_reader(ring.socket)
            ring.close()
        self._rings = {}


async def run_capture(settings: CaptureSettings, emit: Emit) -> None:
    """Capture until cancelled. Emits `role_ready` once all interfaces are bound, `capture_ended` with the counts."""
    capture = Capture(settings)
    capture.start()
    emit("role_ready")
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        stats = await capture.stop()
        emit(
            "capture_ended",
            host=settings.host,
            packets=sum(s.packets for s in stats.values()),
            dropped=sum(s.dropped for s in stats.values()),
        )


def dropped_packets(folder: str | Path, *, hosts: str = "*") -> int | None:
    """Packets that the captures in `folder` dropped, over the hosts that match the pattern; None where none matches."""
    files = [path for path in Path(folder).glob(f"{hosts}.json") if os.path.getsize(path)]
    if not files:
        return None
    counts = [msgspec.json.decode(path.read_bytes(), type=dict[str, InterfaceStats]) for path in files]
    return sum(stats.dropped for count in counts for stats in count.values())
