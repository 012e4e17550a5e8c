"""The wan's delay: every packet that this host forwards, IPv4 and IPv6, leaves `delay_seconds` after it came.

Two ways, the same to the hosts behind it:

- netem, where the kernel has it: a queueing discipline on every interface of this host, nothing runs in user space;
- else in user space, on any kernel that can run the lab: the host's FORWARD chains hand each packet to an NFQUEUE, and
  its verdict is held back. Only packet ids are copied, packets stay in the kernel (GSO super-packets of up to 64 KB),
  the order is kept, and a whole batch is released by one message. If the process dies the link is cut, not fast.

A packet passes the host once in each direction, so a round trip takes twice the delay longer. Packets that more than
`HELD_LIMIT_PACKETS` wait in front of are dropped, as a full router drops them.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import select
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import msgspec

from censor.packet_io.nfqueue import CopyMode, NfQueue, QueueSettings, Verdict
from sidedoor.settings import UsageError

Mode = Literal["netem", "user"]

HELD_LIMIT_PACKETS = 16384  # must exceed packet rate x delay: 100,000 packets/s for 0.16 s
_PR_SET_TIMERSLACK = 29


class LinkSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """delay_seconds: one way. mode: "auto" is netem where the kernel has it. queue_number: of the user-space link."""

    delay_seconds: float = 0.02
    mode: Literal["auto", "netem", "user"] = "auto"
    queue_number: int = 0


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


def run_link(settings: LinkSettings, ready: Callable[[Mode], None], stop: int) -> None:
    """Delay what this host forwards until the descriptor `stop` becomes readable (or is hung up).

    `ready` is called with the mode once packets are delayed. Blocks: give it a thread or process of its own. Raises
    UsageError where the mode that was asked for is not possible here.
    """
    if settings.mode == "netem" or (settings.mode == "auto" and has_netem()):
        with _netem(settings.delay_seconds):
            ready("netem")
            select.select([stop], [], [])
        return
    with NfQueue(_queue_settings(settings)) as queue, _forwarded_to_queue(settings.queue_number):
        ready("user")
        _hold_verdicts(queue, HeldPackets(settings.delay_seconds), stop)


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
        copy_mode=CopyMode.META,
        maxlen_packets=HELD_LIMIT_PACKETS,
        fail_open=False,
    )


def _hold_verdicts(queue: NfQueue, held: HeldPackets, stop: int) -> None:
    """The loop. `select` because its timeout is in microseconds; epoll's and asyncio's are in milliseconds."""
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)  # nanoseconds; of this thread
    watched, monotonic = [queue.fileno(), stop], time.monotonic
    while True:
        readable, _, _ = select.select(watched, [], [], held.wait_seconds(monotonic()))
        if stop in readable:
            break
        if readable and (packets := queue.read()):
            held.hold(packets[-1].id, packets[-1].t)
        if (last_id := held.due(monotonic())) is not None:
            queue.verdict_batch(last_id, Verdict.ACCEPT)
    if (last_id := held.due(float("inf"))) is not None:
        queue.verdict_batch(last_id, Verdict.ACCEPT)


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
