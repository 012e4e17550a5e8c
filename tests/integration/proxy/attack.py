"""What the tests of the proxy's security have in common: every protocol's CONNECT, its answers, proxies to attack."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from proxy.exposition import exposition
from proxy.server import Server, serve
from proxy.settings import ProxySettings
from proxy.wire import Address, AddressType, Command, Request, write_request
from sidedoor.events import discard
from tests.integration.proxy.world import SECONDS

SUCCEEDED, DENIED, FAILED, MALFORMED, LOCKED = "succeeded", "denied", "failed", "malformed", "locked"
"""What an answer comes to: LOCKED where a log-in was wanted, or was wrong."""

Credentials = tuple[str, str] | None


def socks5(host: str, port: int, who: Credentials = None) -> bytes:
    """`host` as the address it is, where it is one."""
    return _log_in(who) + write_request(Request(Command.CONNECT, Address.of(host, port)))


def socks5_domain(host: str, port: int, who: Credentials = None) -> bytes:
    """`host` as a domain whatever it is."""
    return _log_in(who) + write_request(Request(Command.CONNECT, Address(AddressType.DOMAIN, host, port)))


def socks4(host: str, port: int, who: Credentials = None) -> bytes:
    """An IPv4 address."""
    return b"\x04\x01" + port.to_bytes(2, "big") + socket.inet_aton(host) + _socks4_user(who)


def socks4a(host: str, port: int, who: Credentials = None) -> bytes:
    """`host` as a domain."""
    return b"\x04\x01" + port.to_bytes(2, "big") + b"\0\0\0\x01" + _socks4_user(who) + host.encode() + b"\0"


def http(host: str, port: int, who: Credentials = None) -> bytes:
    """CONNECT; IPv6 in brackets."""
    authority = f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"
    fields = f"Host: {authority}\r\n"
    if who is not None:
        fields += f"Proxy-Authorization: Basic {b64encode(':'.join(who).encode()).decode()}\r\n"
    return f"CONNECT {authority} HTTP/1.1\r\n{fields}\r\n".encode()


def _log_in(who: Credentials) -> bytes:
    if who is None:
        return b"\x05\x01\x00"
    user, password = (part.encode() for part in who)
    return b"\x05\x01\x02\x01" + bytes((len(user),)) + user + bytes((len(password),)) + password


def _socks4_user(who: Credentials) -> bytes:
    return (":".join(who).encode() if who else b"") + b"\0"


PROTOCOLS: dict[str, Callable[[str, int, Credentials], bytes]] = {
    "socks5": socks5,
    "socks5 domain": socks5_domain,
    "socks4": socks4,
    "socks4a": socks4a,
    "http": http,
}


def outcome(answer: bytes) -> str:
    """What all that a proxy answered comes to."""
    if answer.startswith(b"HTTP/1.1 "):
        status = int(answer[9:12])
        named = {200: SUCCEEDED, 403: DENIED, 400: MALFORMED, 407: LOCKED}
        return named.get(status, FAILED)
    if answer.startswith(b"\0"):
        return {90: SUCCEEDED, 91: DENIED, 93: LOCKED}[answer[1]]  # SOCKS4 has one answer for all failures
    assert answer.startswith(b"\x05"), answer
    if answer[1] == 0xFF or answer[2:4] == b"\x01\x01":
        return LOCKED
    rest = answer[4:] if answer[1] == 2 else answer[2:]
    return {0: SUCCEEDED, 1: MALFORMED, 2: DENIED}.get(rest[1], FAILED)


async def ask(address: tuple[str, int], wire: bytes, *, source: str = "", hang_up: bool = False) -> bytes:
    """What is answered to `wire`: up to the end, or a whole success. `hang_up`: a FIN follows `wire`."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET) as sock:
        sock.setblocking(False)
        if source:
            sock.bind((source, 0))
        async with asyncio.timeout(SECONDS):
            await loop.sock_connect(sock, address)
            await loop.sock_sendall(sock, wire)
            if hang_up:
                sock.shutdown(socket.SHUT_WR)
            answer = b""
            while chunk := await loop.sock_recv(sock, 4096):
                answer += chunk
                if outcome_is_there(answer):
                    break
    return answer


def outcome_is_there(answer: bytes) -> bool:
    """Whether this is a whole success: no end follows one."""
    if answer.startswith(b"HTTP/1.1 200"):
        return answer.endswith(b"\r\n\r\n")
    if answer.startswith(b"\0"):
        return len(answer) >= 8
    rest = answer[4:] if answer[1:2] == b"\x02" else answer[2:]
    return len(rest) >= 10 and rest[1] == 0


@dataclass(slots=True)
class Attacked:
    """A proxy in the test's own loop."""

    server: Server
    addresses: list[tuple[str, int]]

    @property
    def address(self) -> tuple[str, int]:
        return self.addresses[0]

    @property
    def port(self) -> int:
        return self.addresses[0][1]

    def counted(self, name: str, **labels: str) -> float:
        """The sum of the samples of one metric that have these labels."""
        self.server.settle()
        return total(exposition(self.server.shared).decode(), name, **labels)


def total(text: str, name: str, **labels: str) -> float:
    """The sum of the samples of one metric that have these labels, in Prometheus' text."""
    assert f"\nsidedoor_proxy_{name}" in text, f"there is no metric {name}"
    found = 0.0
    for line in text.splitlines():
        match = re.fullmatch(r"sidedoor_proxy_(\w+)(?:\{(.*)\})? (\S+)", line)
        if match and match[1] == name and all(f'{key}="{value}"' in (match[2] or "") for key, value in labels.items()):
            found += float(match[3])
    return found


async def until(holds: Callable[[], object]) -> None:
    """Look, 100 times a second, until it does."""
    async with asyncio.timeout(SECONDS):
        while not holds():  # noqa: ASYNC110  # what is counted elsewhere sets no event
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def attacked(settings: ProxySettings) -> AsyncIterator[Attacked]:
    """The proxy of these settings."""
    ready: asyncio.Future[Attacked] = asyncio.get_running_loop().create_future()
    servers: list[Server] = []

    def listening(addresses: list[str]) -> None:
        places = [(one.rpartition(":")[0].strip("[]"), int(one.rpartition(":")[2])) for one in addresses]
        ready.set_result(Attacked(servers[0], places))

    task = asyncio.create_task(serve(settings, discard, ready=listening, started=servers.append), name="proxy")
    try:
        await asyncio.wait([task, ready], return_when=asyncio.FIRST_COMPLETED, timeout=SECONDS)
        if task.done():
            await task
        yield ready.result()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


COMMAND = [sys.executable, "-m", "sidedoor", "proxy"]


@dataclass(slots=True)
class Program:
    """`sidedoor proxy` as a program, its log in a file."""

    process: subprocess.Popen[bytes]
    err: Path
    out: Path
    addresses: list[tuple[str, int]]

    @property
    def address(self) -> tuple[str, int]:
        return self.addresses[0]

    def logged(self) -> list[dict[str, object]]:
        """The lines of the log that are whole."""
        lines = self.err.read_text().split("\n")[:-1]
        return [json.loads(line) for line in lines if line.startswith("{")]

    def until_logged(self, *events: str) -> dict[str, object]:
        """The last line about one of `events`, waited for."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            for line in reversed(self.logged()):
                if line["event"] in events:
                    return line
            time.sleep(0.02)
        raise AssertionError(f"none of {events} within {SECONDS} s; there is {self.err.read_text()!r}")

    def reload(self) -> None:
        self.process.send_signal(signal.SIGHUP)


@contextlib.contextmanager
def program(
    folder: Path, *arguments: str, pass_fds: tuple[int, ...] = (), prefix: list[str] | None = None
) -> Iterator[Program]:
    """The program, listening. `prefix` stands in front of its own command."""
    err, out = folder / "stderr", folder / "stdout"
    with err.open("wb") as err_file, out.open("wb") as out_file:
        process = subprocess.Popen(
            [*(prefix or []), *COMMAND, *arguments], stdout=out_file, stderr=err_file, pass_fds=pass_fds
        )
    try:
        deadline = time.monotonic() + SECONDS
        mark = "sidedoor proxy: listening on "
        while mark not in (text := err.read_text()) or not text.endswith("\n"):
            assert process.poll() is None, text
            assert time.monotonic() < deadline, text
            time.sleep(0.02)
        line = text[text.index(mark) + len(mark) :].partition("\n")[0]
        places = [(one.rpartition(":")[0].strip("[]"), int(one.rpartition(":")[2])) for one in line.split(", ")]
        yield Program(process, err, out, places)
    finally:
        process.terminate()
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def get(path: Path, url: str) -> str:
    """The answer of the admin endpoint."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(f"GET {url} HTTP/1.0\r\nHost: unix\r\n\r\n".encode())
        answer = (await reader.read()).decode()
    finally:
        writer.close()
        await writer.wait_closed()
    assert " 200 " in answer.partition("\r\n")[0]
    return answer


def family(pid: int) -> list[int]:
    """The process and those that it started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]
