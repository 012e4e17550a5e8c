"""A soak of the proxy, by hand: `python -m tests.integration.proxy.soak --seconds 600`. The tests run a short one.

A proxy with few descriptors, run by an ordinary user (as root: by nobody), carries flows of random sizes and paces that
end in every way there is: orderly, half-closed, reset by either end, abandoned, cut off in the handshake. Meanwhile a
second process of the same user takes all pipe pages and lets go of them, and bursts of silent clients take all
descriptors. Every byte is compared with what was sent. After each round, when all is quiet, nothing may be left: no
descriptor, pipe, task, session or flow; and the memory must have stopped growing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import json
import os
import random
import resource
import signal
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from proxy import log
from proxy.entrance import Entrance
from proxy.listeners import Acceptor, bind
from proxy.metrics import Shared
from proxy.relay import FastRelay, Limits
from proxy.relay.flow import prepare
from proxy.relay.pipes import Pipe, PipePool
from proxy.relay.poller import FlowLoop
from proxy.server import Server
from proxy.settings import ProxySettings
from sidedoor.events import discard

NOBODY = 65534
DESCRIPTORS = 400
PERIOD = 1_000_003
"""Prime, so that no read or pipe is a whole number of periods long: bytes that swapped places would not match."""
BLOCK = random.Random(1).randbytes(PERIOD) * 2
SETTINGS = ProxySettings(
    listen=("127.0.0.1:0",), handshake_seconds=2.0, connect_seconds=2.0, idle_seconds=4.0, half_close_seconds=2.0
)
ROUND_SECONDS = 10.0
GROWTH_BYTES = 1 << 20
"""How much a quiet proxy may have grown since it was warm; what an allocator keeps varies by less."""
STAYS = ("descriptors", "pipes", "tasks", "flows", "sessions", "watched")
"""What has to be as before when all is quiet."""
CONNECT = b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01"


# ---- the proxy ----


class Pool(PipePool):
    """Counts how often there was no pipe."""

    refusals = 0

    def take(self) -> Pipe | None:
        pipe = super().take()
        self.refusals += pipe is None
        return pipe


async def _serve(listeners: list[socket.socket], line: socket.socket) -> None:
    """The proxy; answers each byte on `line` with what there is in this process."""
    loop = asyncio.get_running_loop()
    limits = Limits(SETTINGS.idle_seconds, SETTINGS.half_close_seconds)
    pool = Pool()
    exhausted: Counter[int | None] = Counter()
    log.configure(verbose=False)
    shared = Shared(1)
    async with FastRelay(limits, pipes=pool) as relay, asyncio.TaskGroup() as names:
        server = Server(SETTINGS, discard, relay, names, shared, 0, 1)
        entrance = Entrance(server, SETTINGS.listeners[0])
        acceptor = Acceptor(
            listeners[0], relay.poller, entrance.accepted, lambda error: exhausted.update((error.errno,))
        )
        line.setblocking(False)
        while await loop.sock_recv(line, 1):
            report = {
                "descriptors": len(os.listdir("/proc/self/fd")) - 2 * len(pool._free),
                "pipes": pool._lent,
                "tasks": len(asyncio.all_tasks()),
                "flows": len(relay),
                "sessions": len(server._sessions),
                "watched": len(relay.poller.watchers),
                "exhausted": exhausted.total(),
                "no_pipes": pool.refusals,
                "bytes": int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
            }
            await loop.sock_sendall(line, json.dumps(report).encode() + b"\n")
        acceptor.close()
        server.close()
    shared.close()


def _ordinary_user() -> None:
    if not os.getuid():
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


@contextlib.contextmanager
def _proxy() -> Iterator[tuple[int, socket.socket]]:
    """Gives the port and the line to ask on."""
    listeners = [one.sock for one in bind([one.address for one in SETTINGS.listeners])]
    near, far = socket.socketpair()
    pid = os.fork()
    if not pid:
        near.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
        _ordinary_user()
        with asyncio.Runner(loop_factory=FlowLoop) as runner:  # as the command does
            runner.run(_serve(listeners, far))
        os._exit(0)
    far.close()
    with near:
        yield listeners[0].getsockname()[1], near
    listeners[0].close()
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        sys.exit("soak: the proxy failed")


@contextlib.contextmanager
def _hog() -> Iterator[None]:
    """A process that takes the pipe pages of the proxy's user for two seconds of four."""
    pid = os.fork()
    if not pid:
        _ordinary_user()
        while True:
            pipes: list[int] = []
            with contextlib.suppress(OSError):
                while True:
                    pipes += os.pipe()
                    fcntl.fcntl(pipes[-1], fcntl.F_SETPIPE_SZ, 1 << 20)
            time.sleep(2)
            for fd in pipes:
                os.close(fd)
            time.sleep(2)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


# ---- the flows ----


@dataclass
class Half:
    """One direction: `size` bytes of BLOCK from `seed` on, with pauses of both ends."""

    seed: int
    size: int
    writer_pause: float
    reader_pause: float
    received: int = 0
    ended: bool = False


def _slice(half: Half, at: int, size: int) -> bytes:
    begin = (half.seed + at) % PERIOD
    return BLOCK[begin : begin + size]


class Plan:
    """What happens in a flow."""

    def __init__(self, number: int, chance: random.Random) -> None:
        self.number = number
        self.ending = chance.choices(
            ["orderly", "client_reset", "target_reset", "client_close", "abandoned", "cut"], [60, 10, 10, 10, 3, 7]
        )[0]
        self.ends_at = chance.random()
        self.cut = chance.randrange(len(CONNECT) + 2)
        slow = chance.random() < 0.2
        self.up, self.down = (
            Half(
                chance.randrange(PERIOD),
                int(2 ** chance.uniform(0, 20 if slow else 23)),
                chance.choice([0, 0, 0.001]),
                0.01 if slow else 0,
            )
            for _ in range(2)
        )
        self.closes_first = chance.random() < 0.5
        self.early = chance.random() < 0.5
        self.target_done = asyncio.Event()


class Broken(Exception):
    """The proxy changed, lost or invented something."""


class Soak:
    """Both ends of all flows."""

    def __init__(self, port: int, seed: int) -> None:
        self.port = port
        self.chance = random.Random(seed)
        self.plans: dict[int, Plan] = {}
        self.outcomes: Counter[str] = Counter()
        self.compared_bytes = 0
        self._loop = asyncio.get_running_loop()
        self._number = 0

    async def round(self, seconds: float, flows: int) -> None:
        """Load for `seconds`, then until the last flow is over."""
        deadline = time.monotonic() + seconds
        with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
            listener.setblocking(False)
            async with asyncio.TaskGroup() as group:
                accepting = group.create_task(self._accept(listener, group), name="accept")
                async with asyncio.TaskGroup() as clients:
                    clients.create_task(self._bursts(deadline), name="bursts")
                    for number in range(flows):
                        clients.create_task(self._client(listener.getsockname()[1], deadline), name=f"client {number}")
                accepting.cancel()

    async def _bursts(self, deadline: float) -> None:
        """Silent clients that take all the descriptors there are."""
        while time.monotonic() < deadline:
            crowd = [socket.socket() for _ in range(DESCRIPTORS)]
            for sock in crowd:
                sock.setblocking(False)
                sock.connect_ex(("127.0.0.1", self.port))
            await asyncio.sleep(self.chance.uniform(0, 0.5))
            for sock in crowd:
                sock.close()
            await asyncio.sleep(self.chance.uniform(1, 3))

    async def _client(self, target_port: int, deadline: float) -> None:
        while time.monotonic() < deadline:
            self._number += 1
            plan = self.plans[self._number] = Plan(self._number, self.chance)
            sock = socket.socket()
            sock.setblocking(False)
            try:
                async with asyncio.timeout(60):
                    outcome = await self._flow(plan, sock, target_port)
            except ConnectionError:
                outcome = "refused"  # out of descriptors
            except TimeoutError:
                raise Broken(f"flow {plan.number} ({plan.ending}) hangs: {plan.up}, {plan.down}") from None
            finally:
                sock.close()
                self.plans.pop(plan.number, None)
            self.outcomes[outcome] += 1

    async def _flow(self, plan: Plan, sock: socket.socket, target_port: int) -> str:
        loop = self._loop
        await loop.sock_connect(sock, ("127.0.0.1", self.port))
        request = CONNECT + target_port.to_bytes(2, "big")
        header = struct.pack("!Q", plan.number)
        if plan.ending == "cut":
            await loop.sock_sendall(sock, request[: plan.cut])
            if plan.cut % 2:
                prepare(sock)
            return "cut"
        await loop.sock_sendall(sock, request + (header if plan.early else b""))
        answer = b""
        while len(answer) < 12:
            if not (chunk := await loop.sock_recv(sock, 12 - len(answer))):
                return "refused"
            answer += chunk
        if answer[:4] != b"\x05\x00\x05\x00":
            if answer[:4] == b"\x05\x00\x05\x01":
                return "refused"  # it had no descriptor for the connection to the target
            raise Broken(f"reply {answer!r}")
        if not plan.early:
            await loop.sock_sendall(sock, header)
        await self._end(plan, sock, plan.up, plan.down, ending=plan.ending, client=True)
        if plan.ending == "orderly":
            await plan.target_done.wait()
            for half in (plan.up, plan.down):
                if half.received != half.size or not half.ended:
                    raise Broken(f"flow {plan.number}: {half}")
        return plan.ending

    async def _accept(self, listener: socket.socket, group: asyncio.TaskGroup) -> None:
        while True:
            sock, _ = await self._loop.sock_accept(listener)
            group.create_task(self._target(sock), name="target")

    async def _target(self, sock: socket.socket) -> None:
        plan = None
        with sock, contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(60):
                header = b""
                while len(header) < 8:
                    if not (chunk := await self._loop.sock_recv(sock, 8 - len(header))):
                        return
                    header += chunk
                plan = self.plans.get(struct.unpack("!Q", header)[0])
                if plan is not None:
                    await self._end(plan, sock, plan.down, plan.up, ending=plan.ending, client=False)
        if plan is not None:
            plan.target_done.set()

    async def _end(self, plan: Plan, sock: socket.socket, out: Half, into: Half, *, ending: str, client: bool) -> None:
        """One end of a flow: sends `out`, receives `into`, and ends as planned."""
        cuts = ending in ("client_reset", "client_close") if client else ending == "target_reset"
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(self._read(sock, into), name="read")
            limit = int(out.size * plan.ends_at) if cuts or ending == "abandoned" else out.size
            try:
                await self._write(sock, out, limit)
            except ConnectionError:
                return  # the reader finds out as well, and what did not arrive is missed at the end
            if cuts:
                if ending != "client_close":
                    prepare(sock)
                reading.cancel()
                return
            if ending == "abandoned":
                return  # until the proxy has had enough
            if client is not plan.closes_first:
                while into.received < into.size:
                    await asyncio.sleep(0.005)
                    if reading.done():
                        break
            with contextlib.suppress(OSError):  # reset meanwhile
                sock.shutdown(socket.SHUT_WR)

    async def _write(self, sock: socket.socket, half: Half, limit: int) -> None:
        sent = 0
        while sent < limit:
            size = min(limit - sent, 1 << 18)
            await self._loop.sock_sendall(sock, _slice(half, sent, size))
            sent += size
            await asyncio.sleep(half.writer_pause)

    async def _read(self, sock: socket.socket, half: Half) -> None:
        while True:
            try:
                chunk = await self._loop.sock_recv(sock, 1 << 15 if half.reader_pause else 1 << 18)
            except ConnectionError:
                return
            if not chunk:
                half.ended = True
                return
            if chunk != _slice(half, half.received, len(chunk)):
                raise Broken(f"wrong bytes: {half}")
            half.received += len(chunk)
            self.compared_bytes += len(chunk)
            if half.received > half.size:
                raise Broken(f"more than was sent: {half}")
            if half.reader_pause:
                await asyncio.sleep(half.reader_pause)


# ---- the run ----


async def _report(line: socket.socket) -> dict[str, int]:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(line, b"?")
    answer: dict[str, int] = json.loads(await loop.sock_recv(line, 4096))
    return answer


async def _quiet(line: socket.socket, baseline: dict[str, int]) -> dict[str, int]:
    """The report once nothing is left of the round; `Broken` if something stays."""
    deadline = time.monotonic() + SETTINGS.idle_seconds * 2 + 5
    while True:
        report = await _report(line)
        left = {name: count for name, count in report.items() if name in STAYS and count != baseline[name]}
        if not left:
            return report
        if time.monotonic() > deadline:
            raise Broken(f"left behind: {left}, at the start {baseline}")
        await asyncio.sleep(0.1)


async def _run(port: int, line: socket.socket, seconds: float, seed: int, flows: int) -> None:
    line.setblocking(False)
    soak = Soak(port, seed)
    await soak.round(0.2, 4)  # what is loaded and made once
    baseline = await _quiet(
        line,
        {"descriptors": (await _report(line))["descriptors"]}
        | dict.fromkeys(("pipes", "flows", "sessions"), 0)
        | {"tasks": 1, "watched": 1},  # the listening socket
    )
    sizes = []
    rounds = max(2, round(seconds / ROUND_SECONDS))
    for number in range(rounds):
        await soak.round(seconds / rounds, flows)
        report = await _quiet(line, baseline)
        sizes.append(report["bytes"])
        counts = ", ".join(f"{count} {name}" for name, count in sorted(soak.outcomes.items()))
        print(
            f"round {number + 1}/{rounds}: {soak.compared_bytes / 1e9:.2f} GB compared; {counts}; "
            f"out of descriptors {report['exhausted']} times, of pipes {report['no_pipes']} times; "
            f"{report['bytes'] / 1e6:.1f} MB, {report['descriptors']} descriptors, nothing left behind",
            flush=True,
        )
    warm = len(sizes) // 3
    if rounds >= 6 and max(sizes[-warm:]) > max(sizes[: 2 * warm]) + GROWTH_BYTES:
        raise Broken(f"the memory grows: {sizes}")
    if not (report["exhausted"] and report["no_pipes"]):
        raise Broken(f"descriptors and pipe pages never ran out, this was no soak: {report}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--flows", type=int, default=48, help="at a time")
    arguments = parser.parse_args()
    with _proxy() as (port, line), _hog():
        try:
            asyncio.run(_run(port, line, arguments.seconds, arguments.seed, arguments.flows))
        except* Broken as group:
            broken: BaseException = group
            while isinstance(broken, BaseExceptionGroup):
                broken = broken.exceptions[0]
            sys.exit(f"soak: {broken}")
    print("held")


if __name__ == "__main__":
    main()
