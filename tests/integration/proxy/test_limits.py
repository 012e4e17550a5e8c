"""Limits of users on the real command: exact over two workers that serve the same user at the same time."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.proxy.command import (
    UDP_ASSOCIATE,
    Command,
    abort,
    both,
    is_reset,
    receive,
    replied,
    requested,
    running,
)
from tests.integration.proxy.test_drain import bound

pytestmark = pytest.mark.alone

Flow = tuple[socket.socket, socket.socket]
DATA = bytes(1 << 16)


def limited(**limits: float) -> dict[str, Any]:
    """A user with limits, and one without."""
    return {"anna": {"password": "secret", **limits}, "bert": "secret"}


def spread(command: Command, target: socket.socket, stack: contextlib.ExitStack, each: int) -> list[Flow]:
    """Flows of anna's, at least so many on each worker."""
    flows: list[Flow] = []
    counts = [0] * command.workers
    while min(counts) < each:
        near, far = command.flow(target, "anna")
        flows.append((stack.enter_context(near), stack.enter_context(far)))
        if command.workers == 1:
            counts = [len(flows)]
        else:
            places = [flow["worker"] for flow in command.flows(user="anna")]
            counts = [places.count(place) for place in range(command.workers)]
    return flows


@both
def test_no_flow_more_than_the_limit_and_none_less(workers: int, target: socket.socket, tmp_path: Path) -> None:
    limit, clients, ended = 10, 60, 3
    with contextlib.ExitStack() as stack:
        command = stack.enter_context(running(tmp_path, workers, users=limited(max_flows=limit)))
        pending = [stack.enter_context(command.client("anna")) for _ in range(clients)]
        for sock in pending:
            sock.sendall(requested(target.getsockname()))
        replies = [replied(sock, authenticated=True) for sock in pending]
        assert sorted(replies) == [0] * limit + [2] * (clients - limit)
        assert command.reply(target.getsockname(), "bert") == 0, "others have limits of their own"
        lines = command.access_log(clients - limit + 1)
        refused = {line["reason"] for line in lines if line["user"] == "anna"}
        assert refused == {"10 flows are open, and that is the limit"}

        flowing = [sock for sock, reply in zip(pending, replies, strict=True) if reply == 0]
        for sock in flowing[:ended]:
            abort(sock)
        command.access_log(len(lines) + ended)
        again = [command.request(target.getsockname(), "anna") for _ in range(ended + 2)]
        for sock, _ in again:
            stack.enter_context(sock)
        assert [reply for _, reply in again] == [0] * ended + [2, 2]


def test_a_killed_worker_gives_its_flows_back(target: socket.socket, tmp_path: Path) -> None:
    limit = 24
    with contextlib.ExitStack() as stack:
        command = stack.enter_context(running(tmp_path, 2, users=limited(max_flows=limit)))
        flows = spread(command, target, stack, each=1)
        while len(flows) < limit:
            near, far = command.flow(target, "anna")
            flows.append((stack.enter_context(near), stack.enter_context(far)))
        assert command.reply(target.getsockname(), "anna") == 2
        lost = {int(flow["client"].rpartition(":")[2]) for flow in command.flows() if flow["worker"] == 0}
        os.kill(command.pids()[0], signal.SIGKILL)
        command.logged("worker_died")
        for near, far in flows:
            if near.getsockname()[1] in lost:
                assert is_reset(near)
                assert is_reset(far)
        again = [command.request(target.getsockname(), "anna") for _ in range(len(lost) + 1)]
        for sock, _ in again:
            stack.enter_context(sock)
        assert [reply for _, reply in again] == [0] * len(lost) + [2]
        assert command.metrics()['user_open_flows{user="anna"}'] == limit


class Flood:
    """Sends on a flow for as long as it takes it, and counts what arrives."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.received = 0
        self._source, self._sink = source, sink
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._source.sendall(DATA)

    def _receive(self) -> None:
        with contextlib.suppress(OSError):
            while size := len(self._sink.recv(1 << 16)):
                self.received += size

    def join(self) -> None:
        for thread in self._threads:
            thread.join()


@both
def test_a_rate_is_kept_in_both_directions(workers: int, target: socket.socket, tmp_path: Path) -> None:
    """All flows together, over a second and a half, within a tenth."""
    rate, seconds = 3_000_000, 1.5
    with contextlib.ExitStack() as stack:
        command = stack.enter_context(running(tmp_path, workers, users=limited(rate_bytes_per_second=rate)))
        flows = spread(command, target, stack, each=2)
        up = [Flood(near, far) for near, far in flows]
        down = [Flood(far, near) for near, far in flows]

        def received() -> tuple[float, int, int]:
            return time.monotonic(), sum(flood.received for flood in up), sum(flood.received for flood in down)

        while min(received()[1:]) < rate / 2:  # the burst is over
            time.sleep(0.01)
        began, up_before, down_before = received()
        time.sleep(seconds)
        ended, up_after, down_after = received()
        for near, far in flows:
            for sock in (near, far):
                with contextlib.suppress(OSError):  # the end of one may have ended the other
                    sock.shutdown(socket.SHUT_RDWR)
        for flood in up + down:
            flood.join()
        for count in (up_after - up_before, down_after - down_before):
            assert count / (ended - began) == pytest.approx(rate, rel=0.1)


@both
def test_a_quota_is_used_to_its_last_byte_and_outlives_a_restart(
    workers: int, target: socket.socket, tmp_path: Path
) -> None:
    quota = 5_000_000
    settings: dict[str, Any] = {
        "users": limited(quota_bytes=quota, quota_seconds=3600),
        "state": str(tmp_path / "state"),
    }
    with contextlib.ExitStack() as stack:
        command = stack.enter_context(running(tmp_path, workers, **settings))
        flows = spread(command, target, stack, each=2)
        floods = [Flood(*ends) for near, far in flows for ends in ((near, far), (far, near))]
        for flood in floods:
            flood.join()  # all of them end by a reset
        closed = command.access_log(len(flows))
        assert {line["reason"] for line in closed} == {"quota"}
        assert sum(line["bytes_up"] + line["bytes_down"] for line in closed) == quota
        assert 0 < sum(flood.received for flood in floods) <= quota
        for _ in range(4):
            assert command.reply(target.getsockname(), "anna") == 2
        assert command.access_log(len(flows) + 4)[-1]["reason"] == f"the quota of {quota} bytes is used up"
        near, far = command.flow(target, "bert")
        with near, far:
            near.sendall(DATA)
            assert receive(far, len(DATA)) == DATA
        if workers == 2:
            metrics = command.metrics()
            assert metrics['user_quota_used_bytes{user="anna"}'] == quota
            directions = (f'user_bytes_total{{direction="{way}",user="anna"}}' for way in ("up", "down"))
            assert sum(metrics[name] for name in directions) == quota
        command.send(signal.SIGINT)
        command.ends()

    with running(tmp_path, workers, **settings) as command:
        assert command.reply(target.getsockname(), "anna") == 2
        # More of it: the same quota goes on.
        settings["users"] = limited(quota_bytes=quota + 10, quota_seconds=3600)
        command.reload(**settings)
        near, far = command.flow(target, "anna")
        with near, far:
            near.sendall(b"0123456789")
            assert receive(far, 10) == b"0123456789"
            near.sendall(b"x")
            assert is_reset(far)


@both
def test_datagrams_count(workers: int, target: socket.socket, tmp_path: Path) -> None:
    """An association is a flow, and its data is what is charged; what does not fit is dropped, and nothing is left."""
    users = limited(max_flows=1, quota_bytes=1000)
    with contextlib.ExitStack() as stack:
        command = stack.enter_context(running(tmp_path, workers, users=users))
        control = stack.enter_context(command.client("anna"))
        control.sendall(requested(("0.0.0.0", 0), UDP_ASSOCIATE))
        relay = bound(control, authenticated=True)
        assert command.reply(target.getsockname(), "anna") == 2
        near, far = (stack.enter_context(socket.socket(type=socket.SOCK_DGRAM)) for _ in range(2))
        for sock in (near, far):
            sock.bind(("127.0.0.1", 0))
            sock.settimeout(20.0)
        header = b"\0\0\0\x01" + socket.inet_aton("127.0.0.1") + far.getsockname()[1].to_bytes(2, "big")
        near.sendto(header + bytes(600), relay)
        data, outlet = far.recvfrom(2000)
        assert len(data) == 600
        far.sendto(bytes(500), outlet)  # 400 are left
        far.sendto(bytes(400), outlet)
        assert len(near.recv(2000)) == len(header) + 400
        if workers == 2:
            metrics = command.metrics()
            assert metrics['user_bytes_total{direction="up",user="anna"}'] == 600
            assert metrics['user_bytes_total{direction="down",user="anna"}'] == 400
            assert metrics['datagrams_dropped_total{reason="limit"}'] == 1
        near.sendto(header + b"x", relay)
        near.sendto(header + b"x", relay)
        assert is_reset(control)
        [_, closed] = command.access_log(2)
        assert (closed["command"], closed["reason"]) == ("udp_associate", "quota")
        assert (closed["bytes_up"], closed["bytes_down"]) == (600, 400)
