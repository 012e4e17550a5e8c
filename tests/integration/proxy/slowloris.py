"""Clients that begin a handshake and do not go on: `python -m tests.integration.proxy.slowloris --clients 5000`.

They stop at every stage there is, some of them trickling, all from 127.0.0.2. Meanwhile clients on 127.0.0.3 are
served, and timed. Afterwards all of it has to be gone. Printed as JSON: milliseconds, bytes and numbers of descriptors.
A program of its own, since both ends of all connections are in this machine, and a process has a limit to them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import statistics
import tempfile
import time
from pathlib import Path

import click

from client.certificates import write_self_signed
from tests.integration.proxy.attack import FAILED, Program, ask, outcome, program, socks5
from tests.integration.proxy.world import SECONDS

ATTACKER, OTHERS = "127.0.0.2", "127.0.0.3"
HANDSHAKE_SECONDS = 6.0
TRICKLE_SECONDS = 0.5
SAMPLES = 20
PLAIN, TLS, BALANCER = range(3)
"""The listeners."""
AT_ONCE = 500


def client_hello() -> bytes:
    """What a TLS client says first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="proxy.example")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


HELLO = client_hello()
HEAD = b"CONNECT proxy.example:80 HTTP/1.1\r\nHost: "
STAGES: dict[str, tuple[int, bytes]] = {
    "nothing": (PLAIN, b""),
    "one byte": (PLAIN, b"\x05"),
    "greeting": (PLAIN, b"\x05\x01\x00"),
    "half a request": (PLAIN, b"\x05\x01\x00\x05\x01\x00\x03\xff"),
    "half a SOCKS4 request": (PLAIN, b"\x04\x01\x00\x50\x7f\x00\x00\x01user"),
    "half a head, trickling": (PLAIN, HEAD),
    "TLS: nothing": (TLS, b""),
    "TLS: half a hello": (TLS, HELLO[: len(HELLO) // 2]),
    "TLS: a hello": (TLS, HELLO),
    "half a PROXY header": (BALANCER, b"PROXY TCP4 192.0.2.1 "),
    "half a binary PROXY header": (BALANCER, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00"),
}


async def attack(running: Program, clients: int) -> dict[str, object]:
    """All stages at once, in equal parts."""
    pid = running.process.pid
    quiet = await times(running.address)
    resident, descriptors = resident_bytes(pid), open_descriptors(pid)
    began = time.monotonic()
    held = await hold(running, clients)
    opened_seconds = time.monotonic() - began
    trickling = asyncio.create_task(trickle([sock for sock, stage in held if "trickling" in stage]), name="trickle")
    busy = await times(running.address)
    most, held_descriptors = resident_bytes(pid), open_descriptors(pid)
    cut_off = await gone([sock for sock, _ in held], HANDSHAKE_SECONDS + 3)
    gone_seconds = time.monotonic() - began
    trickling.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await trickling
    for sock, _ in held:
        sock.close()
    async with asyncio.timeout(SECONDS):
        while open_descriptors(pid) > descriptors:  # noqa: ASYNC110  # it is another process
            await asyncio.sleep(0.05)
    return {
        "clients": len(held),
        "opened_seconds": round(opened_seconds, 2),
        "without": figures(quiet),
        "with": figures(busy),
        "after": figures(await times(running.address)),
        "descriptors": held_descriptors - descriptors,
        "bytes_per_client": (most - resident) // max(1, len(held)),
        "resident_bytes": most,
        "cut_off": cut_off,
        "gone_seconds": round(gone_seconds, 2),
        "left": open_descriptors(pid) - descriptors,
        "faults": sum(line["event"] == "session_failed" for line in running.logged()),
        "log_lines": len(running.logged()),
    }


async def hold(running: Program, clients: int) -> list[tuple[socket.socket, str]]:
    """Connections that have said as much as their stage."""
    held: list[tuple[socket.socket, str]] = []
    names = list(STAGES)
    for first in range(0, clients, AT_ONCE):
        stages = [names[number % len(names)] for number in range(first, min(clients, first + AT_ONCE))]
        held += await asyncio.gather(*(_half_open(running, stage) for stage in stages))
    return held


async def _half_open(running: Program, stage: str) -> tuple[socket.socket, str]:
    listener, said = STAGES[stage]
    loop = asyncio.get_running_loop()
    sock = socket.socket()
    sock.setblocking(False)
    sock.bind((ATTACKER, 0))
    await loop.sock_connect(sock, running.addresses[listener])
    with contextlib.suppress(ConnectionError):  # dropped already, to make room
        sock.send(said)
    return sock, stage


async def trickle(socks: list[socket.socket]) -> None:
    """A byte of a head now and then."""
    while True:
        for sock in socks:
            with contextlib.suppress(OSError):
                sock.send(b"a")
        await asyncio.sleep(TRICKLE_SECONDS)


async def times(address: tuple[str, int]) -> list[float]:
    """How long clients wait from connecting to the answer; 127.0.0.1 refuses the connection itself."""
    found = []
    for _ in range(SAMPLES):
        began = time.perf_counter()
        answer = await ask(address, socks5("127.0.0.1", 1), source=OTHERS)
        found.append(time.perf_counter() - began)
        if outcome(answer) != FAILED:
            raise AssertionError(f"not served: {answer!r}")
        await asyncio.sleep(0.01)
    return found


async def gone(socks: list[socket.socket], seconds: float) -> int:
    """How many of them the proxy has closed within so many seconds."""
    ends = time.monotonic() + seconds
    open_ = set(socks)
    while open_ and time.monotonic() < ends:
        open_ -= {sock for sock in open_ if _is_closed(sock)}
        await asyncio.sleep(0.1)
    return len(socks) - len(open_)


def _is_closed(sock: socket.socket) -> bool:
    try:
        return not sock.recv(65536)
    except BlockingIOError:
        return False
    except OSError:
        return True


def figures(seconds: list[float]) -> dict[str, float]:
    """In milliseconds."""
    return {"median": round(statistics.median(seconds) * 1000, 2), "most": round(max(seconds) * 1000, 2)}


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def open_descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@click.command()
@click.option("--clients", default=5000)
@click.option("--max-handshakes", default=1024, help="The proxy's setting.")
def main(clients: int, max_handshakes: int) -> None:
    """Attack a proxy of its own, and measure."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        files = write_self_signed(folder, ["proxy.example"])
        config = folder / "proxy.toml"
        config.write_text(
            f"""
            listen = [
              "127.0.0.1:0",
              {{address = "127.0.0.4:0", certificate = "{files.certificate}", key = "{files.key}"}},
              {{address = "127.0.0.5:0", proxy_protocol_from = ["127.0.0.0/8"]}},
            ]
            open = true
            inside = "allow"
            handshake_seconds = {HANDSHAKE_SECONDS}
            max_handshakes = {max_handshakes}
            """
        )
        with program(folder, "--config", str(config)) as running:
            click.echo(json.dumps(asyncio.run(attack(running, clients))))


if __name__ == "__main__":
    main()
