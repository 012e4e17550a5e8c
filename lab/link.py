"""The wan's delay: every packet that this host forwards, IPv4 and IPv6, leaves `delay_seconds` after it came.

With `jitter_seconds` it is up to so much more or less, evenly drawn for each packet; between two addresses a packet
never overtakes another. With `loss` that share of the packets never leaves, each way and each drawn by itself.

Two ways, the same to the hosts behind it:

- netem, where the kernel has it: a queueing discipline on every interface of this host, nothing runs in user space.
  For delay alone: netem lets jittered packets overtake each other, loses super-packets whole, and is not seeded;
- else in user space, on any kernel that can run the lab: the host's FORWARD chains hand each packet to an NFQUEUE, and
  its verdict is held back. Only packet ids are copied (and addresses, for jitter), packets stay in the kernel, and a
  whole batch is released by one message. If the process dies the link is cut, not fast. Packets are GSO super-packets
  of up to 64 KB; with loss the kernel takes them apart first, so that one that is lost is one of the wire's.

A packet passes the host once in each direction, so a round trip takes twice the delay longer. Packets that more than
`HELD_LIMIT_PACKETS` wait in front of are dropped, as a full router drops them.
"""

from __future__ import annotations

import asyncio
import ctypes
import heapq
import os
import random
import select
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

import msgspec

from censor.packet_io.nfqueue import CopyMode, NfQueue, QueuedPacket, QueueSettings, Verdict
from sidedoor.settings import UsageError

Mode = Literal["netem", "user"]

HELD_LIMIT_PACKETS = 16384  # must exceed packet rate x delay: 100,000 packets/s for 0.16 s
_PR_SET_TIMERSLACK = 29
_HEADER_BYTES = 40


class LinkSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """delay_seconds: one way. mode: "auto" is netem where the kernel has it. queue_number: of the user-space link.

    jitter_seconds: at most the delay. loss: a share from 0 to 1. seed: of what is drawn for both.
    """

    delay_seconds: Annotated[float, msgspec.Meta(ge=0)] = 0.02
    jitter_seconds: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    loss: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    seed: int = 0
    mode: Literal["auto", "netem", "user"] = "auto"
    queue_number: int = 0

    def __post_init__(self) -> None:
        if self.jitter_seconds > self.delay_seconds:
            raise ValueError(f"`jitter_seconds` ({self.jitter_seconds:g}) is more than `delay_seconds`")
        if self.mode == "netem" and self.draws:
            raise ValueError('`mode` = "netem" is for delay alone: `loss` and `jitter_seconds` need "auto" or "user"')

    @property
    def draws(self) -> bool:
        """Whether packets fare differently from each other."""
        return self.loss > 0 or self.jitter_seconds > 0


class HeldPackets:
    """The packets whose verdict is held back, first in, first out. Pure: ids and seconds in, ids and seconds out."""

    def __init__(self, delay_seconds: float) -> None:
        self._delay_seconds = delay_seconds
        self._batches: deque[tuple[float, int]] = deque()  # (when it is due, its last packet id)

    def hold(self, last_id: int, t: float) -> None:
        """Keep the packets up to and including `last_id`, which came at `t` (monotonic seconds)."""
        self._batches.append((t + self._delay_seconds, last_id))

    def due(self, now: float) -> int | None:
        """The last id that is to go now, and no longer held; None: none is due."""
        last_id = None
        while self._batches and self._batches[0][0] <= now:
            last_id = self._batches.popleft()[1]
        return last_id

    def wait_seconds(self, now: float) -> float | None:
        """How long until the next is due; None: nothing is held."""
        return max(0.0, self._batches[0][0] - now) if self._batches else None


class JitteredPackets:
    """The packets whose verdict is held back for times of their own. Pure, as HeldPackets.

    `drawn` gives numbers from 0 to 1, one for each packet.
    """

    def __init__(self, delay_seconds: float, jitter_seconds: float, drawn: Callable[[], float]) -> None:
        self._least_seconds = delay_seconds - jitter_seconds
        self._span_seconds = 2 * jitter_seconds
        self._drawn = drawn
        self._waiting: list[tuple[float, int]] = []  # a heap: (when it is due, packet id)
        self._last_due: dict[bytes, float] = {}

    def hold(self, id_: int, ends: bytes, t: float) -> None:
        """Keep a packet that came at `t` (monotonic seconds); it is due behind those before it with the same `ends`."""
        due = max(t + self._least_seconds + self._span_seconds * self._drawn(), self._last_due.get(ends, 0.0))
        self._last_due[ends] = due
        heapq.heappush(self._waiting, (due, id_))

    def due(self, now: float) -> list[int]:
        """The ids that are to go now, in this order, and no longer held."""
        ids = []
        while self._waiting and self._waiting[0][0] <= now:
            ids.append(heapq.heappop(self._waiting)[1])
        return ids

    def wait_seconds(self, now: float) -> float | None:
        """How long until the next is due; None: nothing is held."""
        return max(0.0, self._waiting[0][0] - now) if self._waiting else None


def ends_of(packet: bytes) -> bytes:
    """Source and destination address out of an IP packet's first 40 bytes."""
    return packet[12:20] if packet[:1] < b"\x60" else packet[8:40]


def run_link(settings: LinkSettings, ready: Callable[[Mode], None], stop: int) -> None:
    """Delay what this host forwards until the descriptor `stop` becomes readable (or is hung up).

    `ready` is called with the mode once packets are delayed. Blocks: give it a thread or process of its own. Raises
    UsageError where the mode that was asked for is not possible here.
    """
    if settings.mode == "netem" or (settings.mode == "auto" and not settings.draws and has_netem()):
        with _netem(settings.delay_seconds):
            ready("netem")
            select.select([stop], [], [])
        return
    with NfQueue(_queue_settings(settings)) as queue, _forwarded_to_queue(settings.queue_number):
        ready("user")
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)  # nanoseconds; of this thread
        drawn = random.Random(settings.seed).random
        if settings.jitter_seconds:
            jittered = JitteredPackets(settings.delay_seconds, settings.jitter_seconds, drawn)
            _hold_each(queue, jittered, _Loss(settings.loss, drawn), stop)
        else:
            _hold_batches(queue, HeldPackets(settings.delay_seconds), _Loss(settings.loss, drawn), stop)


async def serve_link(settings: LinkSettings, ready: Callable[[Mode], None]) -> None:
    """`run_link` in a thread of its own until this is cancelled; `ready` is called in the event loop."""
    loop = asyncio.get_running_loop()
    stop = os.eventfd(0, os.EFD_CLOEXEC)

    def report(mode: Mode) -> None:
        loop.call_soon_threadsafe(ready, mode)

    link = loop.run_in_executor(None, run_link, settings, report, stop)
    try:
        await asyncio.shield(link)
    except asyncio.CancelledError:
        os.eventfd_write(stop, 1)
        await link  # milliseconds: what is held goes, rules and queue are removed
        raise
    finally:
        os.close(stop)


def has_netem() -> bool:
    """Whether netem can be used in this network namespace; tried on its loopback interface, which no delay is for."""
    try:
        _run("tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1us")
    except UsageError:
        return False
    _run("tc", "qdisc", "del", "dev", "lo", "root")
    return True


def _queue_settings(settings: LinkSettings) -> QueueSettings:
    # Not fail-open: packets that overtake the held ones would look like a network that reorders.
    return QueueSettings(
        number=settings.queue_number,
        copy_mode=CopyMode.PACKET if settings.jitter_seconds else CopyMode.META,
        copy_range_bytes=_HEADER_BYTES,
        gso=not settings.loss,
        maxlen_packets=HELD_LIMIT_PACKETS,
        fail_open=False,
    )


class _Loss:
    """Drops what is lost, at once: it holds back nothing."""

    def __init__(self, loss: float, drawn: Callable[[], float]) -> None:
        self._loss = loss
        self._drawn = drawn

    def survivors(self, queue: NfQueue, packets: list[QueuedPacket]) -> list[QueuedPacket]:
        """Those of the packets that are not lost."""
        if not self._loss:
            return packets
        kept = []
        for packet in packets:
            if self._drawn() < self._loss:
                queue.add_verdict(packet.id, Verdict.DROP)
            else:
                kept.append(packet)
        queue.flush()
        return kept


def _hold_batches(queue: NfQueue, held: HeldPackets, loss: _Loss, stop: int) -> None:
    """The loop. `select` because its timeout is in microseconds; epoll's and asyncio's are in milliseconds."""
    watched, monotonic = [queue.fileno(), stop], time.monotonic
    while True:
        readable, _, _ = select.select(watched, [], [], held.wait_seconds(monotonic()))
        if stop in readable:
            break
        if readable and (packets := loss.survivors(queue, queue.read())):
            held.hold(packets[-1].id, packets[-1].t)
        if (last_id := held.due(monotonic())) is not None:
            queue.verdict_batch(last_id, Verdict.ACCEPT)
    if (last_id := held.due(float("inf"))) is not None:
        queue.verdict_batch(last_id, Verdict.ACCEPT)


def _hold_each(queue: NfQueue, held: JitteredPackets, loss: _Loss, stop: int) -> None:
    """The loop where packets between different addresses overtake each other."""
    watched, monotonic = [queue.fileno(), stop], time.monotonic
    stopping = False
    while not stopping:
        readable, _, _ = select.select(watched, [], [], held.wait_seconds(monotonic()))
        stopping = stop in readable
        if queue.fileno() in readable:
            for packet in loss.survivors(queue, queue.read()):
                held.hold(packet.id, ends_of(packet.payload), packet.t)
        for id_ in held.due(float("inf") if stopping else monotonic()):
            queue.add_verdict(id_, Verdict.ACCEPT)
        queue.flush()


@contextmanager
def _forwarded_to_queue(number: int) -> Iterator[None]:
    """The rules that hand every forwarded packet, of both families, to NFQUEUE `number`."""
    rule = ["FORWARD", "-j", "NFQUEUE", "--queue-num", str(number)]
    added: list[str] = []
    try:
        for program in ("iptables", "ip6tables"):
            _run(program, "-w", "-A", *rule)
            added.append(program)
        yield
    finally:
        for program in added:
            _run(program, "-w", "-D", *rule)


@contextmanager
def _netem(delay_seconds: float) -> Iterator[None]:
    """netem on every interface of this host. Its limit is in packets, GSO super-packets or not."""
    discipline = ["root", "netem", "delay", f"{delay_seconds * 1e6:.0f}us", "limit", str(HELD_LIMIT_PACKETS)]
    delayed: list[str] = []
    try:
        for device in _devices():
            _run("tc", "qdisc", "replace", "dev", device, *discipline)
            delayed.append(device)
        yield
    finally:
        for device in delayed:
            _run("tc", "qdisc", "del", "dev", device, "root")


def _devices() -> list[str]:
    return [name for _, name in socket.if_nameindex() if name != "lo"]


def _run(*command: str) -> None:
    """Raises UsageError with what the program said."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise UsageError(f"the wan link needs the program {command[0]}: see sidedoor doctor") from error
    if done.returncode:
        said = (done.stderr.strip() or "no message").splitlines()[-1]
        raise UsageError(f"the wan link: {' '.join(command)} failed: {said}")
