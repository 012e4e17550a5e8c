"""`sidedoor proxy --workers N`: one dies, the others go on, another takes its place."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxy import workers
from tests.integration.proxy.test_cli import SECONDS, refused, started

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(not workers.SUPPORTED, reason="no signal.sigtimedwait or SO_REUSEPORT here"),
]


def children(pid: int) -> set[int]:
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def connected(port: int, target_port: int) -> socket.socket:
    """A flow through the proxy, established."""
    sock = socket.create_connection(("127.0.0.1", port), SECONDS)
    sock.sendall(b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01" + target_port.to_bytes(2, "big"))
    answer = b""
    while len(answer) < 12 and (chunk := sock.recv(12 - len(answer))):
        answer += chunk
    assert answer[:4] == b"\x05\x00\x05\x00"
    return sock


def worker_of(sock: socket.socket, pids: set[int]) -> int:
    """Which of the workers has the other end of `sock`."""
    near, far = sock.getsockname()[1], sock.getpeername()[1]
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    [inode] = [row[9] for row in rows if row[1:3] == [f"0100007F:{far:04X}", f"0100007F:{near:04X}"]]
    for pid in pids:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if os.readlink(entry) == f"socket:[{inode}]":
                    return pid
    raise AssertionError("no worker has it")


@pytest.fixture
def target() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        listener.settimeout(SECONDS)
        yield listener


def test_a_killed_worker_takes_its_flows_with_it_and_is_replaced(target: socket.socket) -> None:
    with contextlib.ExitStack() as stack:
        process, port = stack.enter_context(started("--workers", "2"))
        while len(before := children(process.pid)) < 2:
            pass
        flows = []
        for _ in range(16):
            sock = stack.enter_context(connected(port, target.getsockname()[1]))
            flows.append((sock, stack.enter_context(target.accept()[0]), worker_of(sock, before)))
        victim = flows[0][2]
        assert {worker for _, _, worker in flows} == before, "the kernel shares connections out"

        os.kill(victim, signal.SIGKILL)
        killed = time.monotonic()
        while len(after := children(process.pid) - {victim}) < 2:
            assert time.monotonic() < killed + 1
        assert len(after & before) == 1
        for sock, far, worker in flows:
            for end in (sock, far):
                end.settimeout(1.0)
                if worker == victim:
                    with pytest.raises(ConnectionResetError):
                        end.recv(1)
            if worker != victim:
                sock.sendall(b"ping")
                assert far.recv(4) == b"ping"
        # A connection on either worker's queue is served: by the new one, too.
        for _ in range(8):
            connected(port, target.getsockname()[1]).close()
        process.send_signal(signal.SIGINT)  # SIGTERM would wait for the flows
        _, err = process.communicate(timeout=SECONDS)
        assert process.returncode == 0
        assert "worker_died" in err
        for pid in after:
            assert not Path(f"/proc/{pid}").exists()


class Download:
    """A flow that carries bulk all the time, sent and read by threads of its own."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.received = 0
        self.end: tuple[float, str] | None = None
        self._near, self._far = near, far
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._far.sendall(bytes(1 << 18))

    def _receive(self) -> None:
        how = "FIN"
        try:
            while data := self._near.recv(1 << 18):
                self.received += len(data)
        except OSError as error:
            how = type(error).__name__
        self.end = time.monotonic(), how

    def stop(self) -> None:
        for sock in (self._near, self._far):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(SECONDS)


def test_a_worker_killed_under_load(target: socket.socket) -> None:
    """The flows of the others go on; its own end at once, by a reset; a successor serves within a second."""
    with contextlib.ExitStack() as stack:
        process, port = stack.enter_context(started("--workers", "2"))
        while len(before := children(process.pid)) < 2:
            pass
        downloads: dict[int, list[Download]] = {pid: [] for pid in before}
        for _ in range(12):
            near = stack.enter_context(connected(port, target.getsockname()[1]))
            download = Download(near, stack.enter_context(target.accept()[0]))
            stack.callback(download.stop)
            downloads[worker_of(near, before)].append(download)
        assert all(downloads.values()), "the kernel shares connections out"
        for download in (flow for flows in downloads.values() for flow in flows):
            until(lambda download=download: download.received > 1 << 20)

        victim, survivor = before
        killed = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        until(lambda: len(children(process.pid) - {victim}) == 2)
        until(lambda: all(download.end for download in downloads[victim]))
        assert time.monotonic() - killed < 1.0
        assert {download.end[1] for download in downloads[victim] if download.end} == {"ConnectionResetError"}
        counts = [download.received for download in downloads[survivor]]
        for download, count in zip(downloads[survivor], counts, strict=True):
            until(lambda download=download, count=count: download.received > count + (1 << 20))
            assert download.end is None
        for _ in range(8):  # on either queue
            connected(port, target.getsockname()[1]).close()


def until(holds: Callable[[], object]) -> None:
    """Look until it does."""
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline
        os.sched_yield()


def test_workers_end_with_their_supervisor(target: socket.socket) -> None:
    with started("--workers", "2") as (process, port):
        while len(pids := children(process.pid)) < 2:
            pass
        with connected(port, target.getsockname()[1]) as sock:
            process.kill()
            process.wait(SECONDS)
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
        deadline = time.monotonic() + SECONDS
        while any(Path(f"/proc/{pid}").exists() for pid in pids):
            assert time.monotonic() < deadline


def test_somebody_elses_port_is_not_shared() -> None:
    with socket.socket() as busy:
        busy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        address = f"127.0.0.1:{busy.getsockname()[1]}"
        assert "already in use" in refused("--listen", address, "--workers", "2")


def test_signals_wait_until_a_worker_knows_what_to_do_with_them() -> None:
    script = (
        "import os, signal\n"
        "from proxy.workers import Place, let_in, supervise\n"
        "def work(number, alive):\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "    signal.signal(signal.SIGHUP, lambda *_: print('worker', number, 'reloads', flush=True))\n"
        "    signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
        "    let_in()\n"
        "    os.kill(os.getppid(), signal.SIGTERM)\n"
        "    signal.pause()\n"
        "supervise([Place('worker', work)])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=SECONDS, check=True)
    assert done.stdout == "worker 1 reloads\n"


def test_a_worker_that_dies_at_once_is_not_started_all_the_time() -> None:
    """In a process of its own: it forks and blocks signals."""
    script = (
        "import os, signal, time\n"
        "from proxy.workers import Place, bind_all, supervise\n"
        "def work(number, alive):\n"
        "    print('worker', number, flush=True)\n"
        "    if number == 3: os.kill(os.getppid(), signal.SIGTERM)\n"
        "    os._exit(3)\n"
        "supervise([Place('worker', work, bind_all(['127.0.0.1:0'], 1)[0])])\n"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=SECONDS, check=True)
    assert time.monotonic() - began >= 2 * workers.PAUSE_SECONDS
    assert [line for line in done.stdout.splitlines() if line.startswith("worker")] == [
        "worker 1",
        "worker 2",
        "worker 3",
    ]
