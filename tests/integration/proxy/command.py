"""The command `sidedoor proxy` as tests of its operation run it, and many flows through it that are checked by content.

A `Command` is one proxy, its workers and its admin process; its log is read as it comes, so that a test can wait for a
line instead of for some time. `Traffic` moves bytes on all of its flows, both ways, round after round, on a thread.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.integration.proxy.test_cli import PROXY, SECONDS

both = pytest.mark.parametrize("workers", [1, 2])
"""One process; and two workers with a supervisor and an admin process."""

CONNECT, BIND, UDP_ASSOCIATE = 1, 2, 3
BLOCK_BYTES = 1024


class Command:
    """A running `sidedoor proxy`. `settings` are those of its file, which `reload` writes anew."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes], workers: int) -> None:
        self.file = folder / "proxy.toml"
        self.admin_socket = folder / "admin.sock"
        self.workers = workers
        self.process = process
        self.port = 0
        self.admin_pid = 0
        self.log: list[dict[str, Any]] = []
        self.other: list[str] = []
        """Lines on stderr that are not the log's."""
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def listens(self) -> None:
        """Wait until it does."""
        with self._news:
            assert self._news.wait_for(lambda: self.port, SECONDS), self.other
        if self.workers > 1:
            until(lambda: len(descendants(self.process.pid)) == self.workers + 1)
            self.admin_pid = descendants(self.process.pid)[-1]

    def close(self) -> None:
        """Kill it. Its workers end, too, and with them its log."""
        self.process.kill()
        self._reader.join(SECONDS)
        assert not self._reader.is_alive()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                text = line.decode()
                if text.startswith("{"):
                    self.log.append(json.loads(text))
                else:
                    self.other.append(text)
                    if "listening on" in text:
                        self.port = int(text.split(",")[0].rpartition(":")[2])
                self._news.notify_all()

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Those of the log that are about `event`, so far."""
        with self._news:
            return [line for line in self.log if line["event"] == event]

    def logged(self, event: str, number: int = 1) -> dict[str, Any]:
        """The `number`th line about `event`, waited for."""

        def there() -> bool:
            return sum(line["event"] == event for line in self.log) >= number

        with self._news:
            assert self._news.wait_for(there, SECONDS), (event, self.log, self.other)
        return self.lines(event)[number - 1]

    def send(self, number: signal.Signals) -> None:
        """A signal to the process that was started."""
        self.process.send_signal(number)

    def reload(self, **settings: object) -> None:
        """Write `settings` to its file, send SIGHUP, and wait until all workers have them."""
        before = len(self.lines("reloaded"))
        self.write(**settings)
        self.send(signal.SIGHUP)
        self.logged("reloaded", before + self.workers)

    def write(self, **settings: object) -> None:
        """Write `settings` to its file, and those that `running` adds."""
        self.file.write_text(toml(**_defaults(self.file.parent) | settings))

    def drain(self) -> None:
        """Send SIGTERM, and wait until all workers drain."""
        self.send(signal.SIGTERM)
        self.logged("draining", self.workers)

    def ends(self, seconds: float = SECONDS) -> float:
        """Wait for its end, by itself, with exit code 0 and nothing left; how long that took."""
        children, began = descendants(self.process.pid), time.monotonic()
        assert self.process.wait(seconds) == 0
        took = time.monotonic() - began
        self._reader.join(SECONDS)
        assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
        assert not self.admin_socket.exists()
        with socket.create_server(("127.0.0.1", self.port)):
            pass
        return took

    def pids(self) -> list[int]:
        """The processes that serve clients."""
        if self.workers == 1:
            return [self.process.pid]
        found: list[int] = []

        def all_there() -> bool:
            found[:] = [pid for pid in descendants(self.process.pid) if pid != self.admin_pid]
            return len(found) == self.workers

        until(all_there)
        return found

    def admin(self, method: str, path: str) -> tuple[int, str]:
        """Status and body of a request to the admin process."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(SECONDS)
            sock.connect(str(self.admin_socket))
            connection = http.client.HTTPConnection("localhost")
            connection.sock = sock
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read().decode()

    def metrics(self) -> dict[str, float]:
        """What the admin process says is counted, without the prefix of all names."""
        status, text = self.admin("GET", "/metrics")
        assert status == 200
        rows = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
        return {name.removeprefix("sidedoor_proxy_"): float(value) for name, _, value in rows}

    def flows(self, **query: str) -> list[dict[str, Any]]:
        """What the admin process lists."""
        status, text = self.admin("GET", "/flows" + "".join(f"?{key}={value}" for key, value in query.items()))
        assert status == 200
        return list(json.loads(text))

    def access_log(self, lines: int) -> list[dict[str, Any]]:
        """The first `lines` of the access log, waited for; see `running`."""
        found: list[str] = []

        def there() -> bool:
            nonlocal found
            found = (self.file.parent / "access.jsonl").read_text().splitlines()
            return len(found) >= lines

        until(there)
        return [json.loads(line) for line in found[:lines]]

    def client(self, user: str = "", password: str = "") -> socket.socket:
        """A connection that has agreed on how to authenticate, and sent a user's name and password."""
        sock = socket.create_connection(("127.0.0.1", self.port), SECONDS)
        if user:
            sock.sendall(b"\x05\x01\x02" + credentials(user, password or "secret"))
        else:
            sock.sendall(b"\x05\x01\x00")
        return sock

    def request(
        self, target: tuple[str, int], user: str = "", password: str = "", command: int = CONNECT
    ) -> tuple[socket.socket, int]:
        """A request has been answered; the client's socket, and REP. -1: the user was refused."""
        sock = self.client(user, password)
        sock.sendall(requested(target, command))
        return sock, replied(sock, authenticated=bool(user))

    def reply(self, target: tuple[str, int], user: str = "", password: str = "") -> int:
        """What a client is told that goes away again, by a reset: no flow is left."""
        sock, code = self.request(target, user, password)
        abort(sock)
        return code

    def flow(self, target: socket.socket, user: str = "") -> tuple[socket.socket, socket.socket]:
        """A flow to the listening socket `target`, by its two ends."""
        near, code = self.request(target.getsockname()[:2], user)
        assert code == 0
        far = target.accept()[0]
        far.settimeout(SECONDS)
        return near, far


@contextlib.contextmanager
def running(folder: Path, workers: int = 1, **settings: object) -> Iterator[Command]:
    """`sidedoor proxy` with these settings, on a free port of 127.0.0.1 and with an access log in `folder`. Two workers
    have an admin process."""
    (folder / "proxy.toml").write_text(toml(**_defaults(folder) | settings))
    options = ["--workers", "2", "--admin", f"unix:{folder / 'admin.sock'}"] if workers == 2 else []
    with subprocess.Popen(
        [*PROXY, "--config", str(folder / "proxy.toml"), *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        command = Command(folder, process, workers)
        try:
            command.listens()
            yield command
        finally:
            command.close()


def _defaults(folder: Path) -> dict[str, object]:
    return {"listen": ["127.0.0.1:0"], "access_log": str(folder / "access.jsonl")}


def toml(**settings: object) -> str:
    """`settings` as TOML."""
    return "".join(f"{key} = {_value(value)}\n" for key, value in settings.items())


def _value(value: object) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key} = {_value(one)}' for key, one in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value)


def credentials(user: str, password: str) -> bytes:
    """RFC 1929 section 2."""
    return b"\x01" + b"".join(bytes((len(text),)) + text.encode() for text in (user, password))


def requested(target: tuple[str, int], command: int = CONNECT) -> bytes:
    """RFC 1928 section 4, for an IPv4 address."""
    return bytes((5, command, 0, 1)) + socket.inet_aton(target[0]) + target[1].to_bytes(2, "big")


def replied(sock: socket.socket, *, authenticated: bool = False) -> int:
    """REP, after the answers before it; -1 where the user was refused."""
    assert receive(sock, 2) == (b"\x05\x02" if authenticated else b"\x05\x00")
    if authenticated and receive(sock, 2) != b"\x01\x00":
        return -1
    return receive(sock, 10)[1]


def receive(sock: socket.socket, size: int) -> bytes:
    """`size` bytes, or fewer where the end comes first."""
    data = b""
    while len(data) < size and (chunk := sock.recv(size - len(data))):
        data += chunk
    return data


def abort(sock: socket.socket) -> None:
    """Close by a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def is_reset(sock: socket.socket) -> bool:
    """Whether the connection ends by a reset; what comes before is skipped."""
    try:
        while sock.recv(1 << 16):
            pass
    except ConnectionResetError:
        return True
    return False


def descendants(pid: int) -> list[int]:
    """The children of a process, in the order of their starts: workers first, then the admin process."""
    with contextlib.suppress(FileNotFoundError):
        return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    return []


def until(holds: Callable[[], object]) -> None:
    """Look until it does."""
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline
        os.sched_yield()


class Traffic:
    """Flows, each by its two ends. In each round every flow carries a block of its own up and another down."""

    def __init__(self, flows: Sequence[tuple[socket.socket, socket.socket]]) -> None:
        self.flows = flows
        self.rounds = 0
        self._stop = False
        self._failure: BaseException | None = None
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop = True
        self._thread.join(SECONDS)

    def goes_on(self, rounds: int = 2) -> None:
        """Wait for so many whole rounds from now on; every byte of them arrived as it was sent."""
        with self._news:
            goal = self.rounds + rounds + 1  # the one that is under way does not count
            assert self._news.wait_for(lambda: self._failure or self.rounds >= goal, SECONDS)
        if self._failure is not None:
            raise self._failure

    def finish(self) -> None:
        """Stop after the round that is under way, and end all flows in order: both ends see that and nothing else."""
        self._stop = True
        self._thread.join(SECONDS)
        if self._failure is not None:
            raise self._failure
        for near, far in self.flows:
            for one, other in ((near, far), (far, near)):
                one.shutdown(socket.SHUT_WR)
                assert other.recv(1) == b""

    def _run(self) -> None:
        try:
            while not self._stop:
                self._round()
                with self._news:
                    self.rounds += 1
                    self._news.notify_all()
        except BaseException as error:
            with self._news:
                self._failure = error
                self._news.notify_all()

    def _round(self) -> None:
        blocks = [
            [hashlib.sha256(f"{index} {way} {self.rounds}".encode()).digest() * (BLOCK_BYTES // 32) for way in "ud"]
            for index in range(len(self.flows))
        ]
        for (near, far), (up, down) in zip(self.flows, blocks, strict=True):
            near.sendall(up)
            far.sendall(down)
        for index, ((near, far), (up, down)) in enumerate(zip(self.flows, blocks, strict=True)):
            assert receive(far, BLOCK_BYTES) == up, f"flow {index}, round {self.rounds}"
            assert receive(near, BLOCK_BYTES) == down, f"flow {index}, round {self.rounds}"
