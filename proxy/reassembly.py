"""Puts the fragments of UDP datagrams together: RFC 1928 section 7. Sans-IO."""

from __future__ import annotations

from proxy.wire import LAST_FRAGMENT, Address, Datagram

LEAST_SECONDS = 5.0  # RFC 1928 section 7: the reassembly timer must be no less


class Reassembly:
    """The reassembly queue and timer of one client in one association.

    `seconds` is how long after its first fragment a sequence may take, `limit_bytes` how much data it may carry. Raises
    ValueError for a timer that the RFC forbids. Holds at most one sequence: the format has no way to tell two apart.
    """

    __slots__ = ("_began", "_data", "_highest", "_limit_bytes", "_seconds", "_target")

    def __init__(self, *, seconds: float = LEAST_SECONDS, limit_bytes: int = 65535) -> None:
        if not seconds >= LEAST_SECONDS:
            raise ValueError(f"reassembly timer of {seconds:g} s, expected {LEAST_SECONDS:g} s or more (RFC 1928)")
        self._seconds = seconds
        self._limit_bytes = limit_bytes
        self._data = bytearray()
        self._target: Address | None = None
        self._highest = 0
        self._began = 0.0

    def add(self, datagram: Datagram, now: float) -> Datagram | None:
        """The datagram that is whole with this one, with FRAG 0; None where there is none yet.

        `now` is in seconds, of a clock that does not go back. FRAG 0 stands alone. Fragment 1 begins a sequence, and
        each further one has to be the next. Whatever else comes abandons it: by the RFC a lower number, FRAG 0
        included, and the end of the time; another target; and a number that is no lower and not the next, for what is
        missing could only come as a lower one.
        """
        if datagram.fragment == 0:
            self._abandon()
            return datagram
        position = datagram.fragment & ~LAST_FRAGMENT
        if position == 1:
            self._abandon()
            self._target, self._began = datagram.target, now
        elif position != self._highest + 1 or datagram.target != self._target or now - self._began >= self._seconds:
            self._abandon()
            return None
        if len(self._data) + len(datagram.data) > self._limit_bytes:
            self._abandon()
            return None
        self._data += datagram.data
        self._highest = position
        if not datagram.fragment & LAST_FRAGMENT:
            return None
        whole = Datagram(0, datagram.target, bytes(self._data))
        self._abandon()
        return whole

    def _abandon(self) -> None:
        self._data.clear()
        self._target = None
        self._highest = 0
