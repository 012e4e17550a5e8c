"""Sans-IO: what a censor on the way does with IP fragments, whose transport header only the first one has.

The driver holds each fragment's packet (in a queue, undecided) under a token of its own until a `Ruling` names it.
Conntrack puts fragments together before a censor sees them, and must be kept off them (nft `notrack` in prerouting at
priority -450).
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

from censor.overlaps import Overlap, Pieces, put
from censor.packets.checksums import with_ip_header
from censor.packets.fragmentation import piece_of
from censor.packets.headers import Packet

# By IP version: bytes of the shortest header, and of the longest packet.
_HEADER_BYTES = {4: 20, 6: 40}
_PACKET_BYTES_MAX = {4: 0xFFFF, 6: 0xFFFF + 40}
_Key = tuple[bytes, bytes, int, int]


class FragmentPolicy(enum.Enum):
    """What becomes of fragments."""

    PASS = "pass"
    """Each is judged by itself: later ones have no ports and no names."""
    DROP = "drop"
    REASSEMBLE = "reassemble"
    """All of a datagram wait until it is whole; it is judged, and the judgement goes for all of them."""
    HOLD = "hold"
    """All wait until the last has come; then each is judged by itself, and leaves with the first one's TTL (TSPU)."""


@dataclass(frozen=True, slots=True)
class FragmentSettings:
    """Of REASSEMBLE and HOLD, all but `policy`.

    overlap: which copy of a byte counts that came twice; None: all of the datagram is dropped (RFC 5722; the TSPU).
    limit_fragments: of one datagram; with one more all are dropped. 45 is the TSPU's (Xue et al., IMC 2022).
    limit_datagrams, limit_bytes: of all that wait; beyond, the oldest datagram is dropped.
    timeout_seconds: from a datagram's first fragment on.
    """

    policy: FragmentPolicy = FragmentPolicy.REASSEMBLE
    overlap: Overlap | None = None
    limit_fragments: int = 45
    limit_datagrams: int = 1024
    limit_bytes: int = 4 << 20
    timeout_seconds: float = 30.0


class Released(NamedTuple):
    """A held packet that goes on, if the judgement is that it may."""

    token: int
    packet: Packet
    replacement: bytes | None = None
    """The bytes that go on in its place; None: its own."""


class Ruling(NamedTuple):
    """What has become of packets; those that are named nowhere wait on.

    whole: the datagram (IP header on, no fragment any more) that is to be judged for all of `released`; None: each is
    judged by itself.
    dropped: tokens of packets that go nowhere.
    """

    released: tuple[Released, ...] = ()
    whole: bytes | None = None
    dropped: tuple[int, ...] = ()


class _Datagram:
    """One datagram's fragments. Without any it is dead: whatever else comes of it is dropped."""

    __slots__ = ("end", "fragments", "header", "pieces", "size", "t")

    def __init__(self, t: float) -> None:
        self.t = t
        self.fragments: list[Released] = []
        self.pieces: Pieces = []
        self.header: bytes | None = None  # of the first fragment
        self.end: int | None = None  # bytes of the whole, known from the last fragment
        self.size = 0

    def has(self, packet: Packet, piece: bytes) -> bool:
        """Whether it is a copy of one that waits: the network's doing, and no overlap (RFC 8200, section 4.5)."""
        place = packet.fragment_offset, packet.more_fragments
        return any(
            (held.packet.fragment_offset, held.packet.more_fragments) == place and piece_of(held.packet)[1] == piece
            for held in self.fragments
        )

    @property
    def reach(self) -> int:
        """Where the furthest byte ends."""
        return self.pieces[-1][0] + len(self.pieces[-1][1]) if self.pieces else 0

    def overlaps(self, start: int, end: int) -> bool:
        return any(first < end and start < first + len(piece) for first, piece in self.pieces)

    def set_end(self, end: int, *, last: bool) -> bool:
        """A fragment up to `end` is there. False: the whole cannot end where two of them say."""
        if not last:
            return self.end is None or end <= self.end
        if self.end is None and self.reach <= end:
            self.end = end
        return self.end == end

    @property
    def complete(self) -> bool:
        """Pieces are disjoint and lie within the whole, so that only their number of bytes matters."""
        return self.end is not None and sum(len(piece) for _, piece in self.pieces) == self.end


class Fragments:
    """The fragments that wait.

    evicted, expired: datagrams that were dropped for want of room, and for want of a fragment in time.
    """

    def __init__(self, settings: FragmentSettings) -> None:
        self.settings = settings
        self.evicted = 0
        self.expired = 0
        self._datagrams: OrderedDict[_Key, _Datagram] = OrderedDict()
        self._bytes = 0

    @property
    def bytes_held(self) -> int:
        """Of all fragments that wait, IP headers included."""
        return self._bytes

    def add(self, packet: Packet, token: int, t: float) -> Ruling:
        """Take in a fragment (`packet.fragmented`), copied whole, at time `t` (monotonic seconds)."""
        policy = self.settings.policy
        if policy is FragmentPolicy.PASS:
            return Ruling((Released(token, packet),))
        if policy is FragmentPolicy.DROP:
            return Ruling(dropped=(token,))
        dropped = self.expire(t)
        header, piece = piece_of(packet)
        if _malformed(packet, piece):
            return Ruling(dropped=(*dropped, token))
        key = (packet.source, packet.destination, packet.ip_id, packet.protocol if packet.version == 4 else 0)
        datagram = self._datagrams.get(key)
        if datagram is None:
            datagram = self._datagrams[key] = _Datagram(t)
        elif not datagram.fragments or datagram.has(packet, piece):
            return Ruling(dropped=(*dropped, token))
        self._take(datagram, packet, token, header)
        if not self._fits(datagram, packet, piece):
            return Ruling(dropped=(*dropped, *self._kill(datagram)))
        if datagram.complete:
            del self._datagrams[key]
            self._bytes -= datagram.size
            return self._release(datagram, dropped)
        return Ruling(dropped=(*dropped, *self._evict()))

    def expire(self, t: float) -> tuple[int, ...]:
        """Forget the datagrams that were not completed in time; the tokens of their fragments, to be dropped."""
        tokens: list[int] = []
        while self._datagrams:
            key, datagram = next(iter(self._datagrams.items()))
            if t - datagram.t < self.settings.timeout_seconds:
                break
            self.expired += bool(datagram.fragments)
            tokens += self._forget(key)
        return tuple(tokens)

    def _take(self, datagram: _Datagram, packet: Packet, token: int, header: bytes) -> None:
        datagram.fragments.append(Released(token, packet))
        datagram.size += len(packet.data)
        self._bytes += len(packet.data)
        if not packet.fragment_offset and datagram.header is None:
            datagram.header = header

    def _fits(self, datagram: _Datagram, packet: Packet, piece: bytes) -> bool:
        """Add a fragment's bytes to its datagram. False: it contradicts the others, or is one too many."""
        settings, start = self.settings, packet.fragment_offset
        end = start + len(piece)
        if len(datagram.fragments) > settings.limit_fragments:
            return False
        header_bytes = len(datagram.header) if datagram.header else _HEADER_BYTES[packet.version]
        if header_bytes + max(end, datagram.reach) > _PACKET_BYTES_MAX[packet.version]:
            return False
        if not datagram.set_end(end, last=not packet.more_fragments):
            return False
        if settings.overlap is None and datagram.overlaps(start, end):
            return False
        datagram.pieces = put(datagram.pieces, start, piece, settings.overlap or Overlap.FIRST)
        return True

    def _release(self, datagram: _Datagram, dropped: tuple[int, ...]) -> Ruling:
        if self.settings.policy is FragmentPolicy.HOLD:
            return Ruling(_with_first_ttl(datagram.fragments), None, dropped)
        assert datagram.header is not None  # complete, so the first one is there
        whole = with_ip_header(datagram.header, b"".join(piece for _, piece in datagram.pieces))
        return Ruling(tuple(datagram.fragments), whole, dropped)

    def _kill(self, datagram: _Datagram) -> list[int]:
        """Drop what is there of a datagram, and what may yet come of it."""
        tokens = [fragment.token for fragment in datagram.fragments]
        self._bytes -= datagram.size
        datagram.size = 0
        datagram.fragments, datagram.pieces = [], []
        return tokens

    def _forget(self, key: _Key) -> list[int]:
        return self._kill(self._datagrams.pop(key))

    def _evict(self) -> list[int]:
        """Tokens of the oldest datagrams, as many as have no room."""
        tokens: list[int] = []
        settings = self.settings
        while len(self._datagrams) > settings.limit_datagrams or self._bytes > settings.limit_bytes:
            key, datagram = next(iter(self._datagrams.items()))
            self.evicted += bool(datagram.fragments)
            tokens += self._forget(key)
        return tokens


def _malformed(packet: Packet, piece: bytes) -> bool:
    """Fragments of no use to anybody: empty, ragged (RFC 8200, section 4.5), copied in part."""
    ragged = packet.more_fragments and len(piece) % 8 > 0
    return not piece or ragged or len(packet.data) < packet.length


def _with_first_ttl(fragments: list[Released]) -> tuple[Released, ...]:
    """In the order they came, with the TTL (hop limit) of the datagram's first one."""
    ttl = next(held.packet.ttl for held in fragments if not held.packet.fragment_offset)
    return tuple(
        held if held.packet.ttl == ttl else held._replace(replacement=_with_ttl(held.packet, ttl)) for held in fragments
    )


def _with_ttl(packet: Packet, ttl: int) -> bytes:
    data, at = packet.data, 8 if packet.version == 4 else 7
    changed = data[:at] + bytes((ttl,)) + data[at + 1 :]
    return with_ip_header(changed[: packet.header_bytes], changed[packet.header_bytes : packet.length])
