"""What every relay takes and reports."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from socket import SocketType
from typing import Protocol, Self

from proxy.relay.poller import Poller


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a flow may stay without a byte in either direction, in seconds, and how fast it may be."""

    idle_seconds: float
    half_close_seconds: float
    """The same once one direction has ended: nobody may be left who would close it."""
    rate_bytes_per_second: float = 0
    """The most that each direction of a flow carries; 0: as much as it can."""

    @property
    def look_seconds(self) -> float:
        """When to look at a flow first: it may be over the shorter limit."""
        return min(self.idle_seconds, self.half_close_seconds)

    @property
    def sweep_seconds(self) -> float:
        """How often to look for flows that are over their limit: a quarter of it, at most 5 s."""
        return min(self.idle_seconds / 4, self.half_close_seconds / 4, 5.0)


class Reason(StrEnum):
    """Why a flow ended."""

    EOF = "eof"
    CLIENT_RESET = "client_reset"
    TARGET_RESET = "target_reset"
    IDLE = "idle"
    HALF_CLOSED = "half_closed"
    QUOTA = "quota"
    CLOSED = "closed"
    """By the operator."""
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Ended:
    """A flow that is over: bytes delivered to the target (up) and to the client (down)."""

    bytes_up: int
    bytes_down: int
    reason: Reason
    spliced: bool = field(default=False, compare=False)
    """Whether bytes went by splice at some time, in either direction."""


class Meter(Protocol):
    """Says how much one direction of a flow may carry now. `Bucket` is one; a user's limits are others."""

    def available(self, now: float) -> int:
        """How many bytes may go at `now` (monotonic seconds); `spend` follows before it is asked again."""

    def spend(self, size_bytes: int) -> None:
        """So many of what was available last have gone."""

    def wait_seconds(self) -> float | None:
        """Where nothing was available: how long to wait before asking again; None: that is of no use, end the flow."""


class Carried(Protocol):
    """A flow that a relay carries."""

    @property
    def moved(self) -> tuple[int, int]:
        """Bytes delivered to the target (up) and to the client (down) so far."""

    def stop(self, reason: Reason) -> None:
        """End it by a reset on both sides."""


class Relay(Protocol):
    """Carries flows while its context is entered; leaving it resets the flows that are left."""

    limits: Limits
    """Can be replaced; idle flows learn of it at their next look, rates hold for new flows."""

    @property
    def poller(self) -> Poller:
        """What waits for sockets that are no flow yet."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...

    def add(
        self,
        client: SocketType,
        target: SocketType,
        early_data: bytes,
        ended: Callable[[Ended], object],
        meters: tuple[Meter, Meter] | None = None,
    ) -> Carried:
        """Carry a flow between two connected, non-blocking, `prepare`d sockets, which the relay closes. `early_data`
        goes to the target first. `ended` is called once, when both sockets are closed; it must not raise, and may be
        called before this returns. `meters` bound what goes up and what goes down, beside the limits of the relay."""

    def __len__(self) -> int:
        """Flows now being carried."""


_CONGESTION: int | None = getattr(socket, "TCP_CONGESTION", None)
_LINGER_RESET = struct.pack("ii", 1, 0)
_LINGER_OFF = struct.pack("ii", 0, 0)


def prepare(sock: SocketType, host: str = "") -> None:
    """Make closing `sock` a reset from here on, even when the process is killed: a stream that was cut off must not
    look complete. And let small messages go out at once.

    `host` is the address of its peer, or the one it will listen on. To peers on this host's loopback it sends with
    Reno, which every Linux has and allows to everybody: BBR, where that is the system's default, spreads bytes over
    time for a path that is not there, which costs a fifth of the rate (docs/performance.md).
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if _CONGESTION is not None and is_loopback(host):
        with contextlib.suppress(OSError):  # not allowed here: the default will do
            sock.setsockopt(socket.IPPROTO_TCP, _CONGESTION, b"reno")


def is_loopback(host: str) -> bool:
    """Whether the address `host` is one of this host's loopback (RFC 1122 3.2.1.3, RFC 4291 2.5.3)."""
    return host.startswith("127.") or host == "::1"


def close_orderly(sock: SocketType) -> None:
    """Close with a FIN behind all bytes, not with the reset of `prepare`."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_OFF)
    except OSError:
        pass  # already reset by the peer
    sock.close()
