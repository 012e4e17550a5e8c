"""Random conversations with a proxy over real sockets: `python -m tests.integration.proxy.fuzz --seconds 600 --seed 7`.

What is said is a valid conversation of one of the protocols in which a few bytes were changed, left out, doubled or put
in, cut into segments anywhere, and ended anywhere: by a FIN, by a reset, or by silence. The proxy is a program of its
own. Afterwards its log has no mistake of its own in it, and when all is quiet nothing is left: no handshake, flow, or
descriptor, and the user's flows are counted as none. The seed decides what is said; the kernel, how it arrives.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import click

from client.certificates import write_self_signed
from tests.integration.proxy.attack import (
    SUCCEEDED,
    Program,
    ask,
    family,
    get,
    http,
    outcome,
    program,
    socks4,
    socks4a,
    socks5,
    total,
)
from tests.integration.proxy.slowloris import HELLO, open_descriptors
from tests.integration.proxy.world import SECONDS, echo, target

WHO = "anna", "right"
MOST_FLOWS = 500
AT_ONCE = 40
RESET = struct.pack("ii", 1, 0)
MISTAKES = ("session_failed", "Traceback", "exception", "_failed_", "never retrieved", "a watched connection failed")
PLAIN, TLS, BALANCER = range(3)
Maker = Callable[[random.Random, int], bytes]


def _associate(rng: random.Random, port: int) -> bytes:
    return socks5("127.0.0.1", port, WHO)[:-9] + b"\x03\0\x01" + bytes(6)


def _bind(rng: random.Random, port: int) -> bytes:
    return socks5("127.0.0.1", port, WHO)[:-9] + b"\x02\0\x01\x7f\0\0\x01" + port.to_bytes(2, "big")


CONVERSATIONS: list[tuple[int, Maker]] = [
    (PLAIN, lambda rng, port: socks5("127.0.0.1", port, WHO)),
    (PLAIN, lambda rng, port: socks5("::1", port, WHO)),
    (PLAIN, lambda rng, port: socks5("localhost", port, WHO)),
    (PLAIN, lambda rng, port: socks5("127.0.0.1", port, ("anna", "wrong"))),
    (PLAIN, lambda rng, port: http("127.0.0.1", port, WHO)),
    (PLAIN, lambda rng, port: http("localhost", port)),
    (PLAIN, lambda rng, port: socks4("127.0.0.1", port)),
    (PLAIN, lambda rng, port: socks4a("localhost", port)),
    (PLAIN, _associate),
    (PLAIN, _bind),
    (PLAIN, lambda rng, port: rng.randbytes(rng.randrange(300))),
    (TLS, lambda rng, port: HELLO),
    (BALANCER, lambda rng, port: b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + socks5("127.0.0.1", port, WHO)),
    (
        BALANCER,
        lambda rng, port: b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(8) + b"\0\1\0\2" + http("127.0.0.1", port, WHO),
    ),
]


def mutated(rng: random.Random, wire: bytes) -> bytes:
    """`wire` with up to four changes; with none in one case of three."""
    data = bytearray(wire)
    for _ in range(rng.choice((0, 0, 1, 1, 2, 4))):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0:
                data[at : at + 1] = bytes((rng.randrange(256),))
            case 1:
                del data[at : at + rng.randrange(1, 8)]
            case 2:
                data[at:at] = rng.randbytes(rng.randrange(1, 8))
            case 3:
                data[at:at] = data[at : at + rng.randrange(1, 64)]
            case 4:
                data[at : at + 1] = rng.choice((b"\0", b"\xff", b"\r", b"\n", b"\x7f", b"%"))
            case _:
                del data[at:]
    return bytes(data)


def segments(rng: random.Random, data: bytes) -> list[bytes]:
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice((0, 0, 1, 3, 9))))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


async def converse(running: Program, rng: random.Random, ports: list[int], seen: Counter[str]) -> None:
    """One conversation."""
    loop = asyncio.get_running_loop()
    listener, make = rng.choice(CONVERSATIONS)
    said = mutated(rng, make(rng, rng.choice(ports)))
    if rng.random() < 0.5:
        said += rng.randbytes(rng.randrange(20_000))
    with socket.socket() as sock:
        sock.setblocking(False)
        try:
            async with asyncio.timeout(SECONDS):
                await _connect(sock, running.addresses[listener if rng.random() < 0.95 else TLS])
                for segment in segments(rng, said):
                    await loop.sock_sendall(sock, segment)
                    if rng.random() < 0.5:
                        await asyncio.sleep(rng.choice((0, 0.001, 0.01)))
                    if rng.random() < 0.1:
                        break
                answer = await _end(sock, rng)
            seen["answered" if answer else "silent"] += 1
            with contextlib.suppress(KeyError, ValueError, IndexError, AssertionError):
                seen[outcome(answer)] += 1
                if outcome(answer) == SUCCEEDED and answer[4:6] == b"\x05\x00":
                    _datagrams(rng, answer[7:])
        except (OSError, TimeoutError) as error:
            seen[type(error).__name__] += 1


async def _connect(sock: socket.socket, address: tuple[str, int]) -> None:
    await asyncio.get_running_loop().sock_connect(sock, address)


async def _end(sock: socket.socket, rng: random.Random) -> bytes:
    loop, answer = asyncio.get_running_loop(), b""
    how = rng.randrange(4)
    if how == 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    elif how == 1:
        sock.shutdown(socket.SHUT_WR)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(rng.choice((0.01, 0.1, 0.5))):
            while chunk := await loop.sock_recv(sock, 65536):
                answer += chunk
    return answer


def _datagrams(rng: random.Random, bound: bytes) -> None:
    """To where an association may be, or a flow was: datagrams, mutated."""
    host, port = socket.inet_ntoa(bound[1:5]), int.from_bytes(bound[5:7], "big")
    if host.startswith("127.") and port:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
            for _ in range(5):
                sock.sendto(mutated(rng, b"\0\0\0\x01\x7f\0\0\x01\0\x09" + rng.randbytes(40)), (host, port))


async def fuzz(running: Program, admin: Path, seconds: float, seed: int) -> dict[str, object]:
    """Conversations for so many seconds, then a look at what is left."""
    seen: Counter[str] = Counter()
    pid = running.process.pid
    async with target(echo) as port:
        with socket.socket() as dead:
            dead.bind(("127.0.0.1", 0))
            ports = [port, port, dead.getsockname()[1]]
            await _warm(running, admin, port)
            before = [open_descriptors(one) for one in family(pid)]
            await _many(running, ports, seconds, seed, seen)
        left = await _quiet(admin, pid, before)
        together = await _fill(running, port)
    log = running.err.read_text()
    return {
        "conversations": sum(seen[key] for key in ("answered", "silent")),
        "seen": dict(seen.most_common()),
        "mistakes": sorted({mark for mark in MISTAKES if mark in log}),
        "left": left,
        "flows_at_once": together,
        "seed": seed,
    }


async def _many(running: Program, ports: list[int], seconds: float, seed: int, seen: Counter[str]) -> None:
    ends = time.monotonic() + seconds

    async def one(number: int) -> None:
        rng = random.Random(f"{seed} {number}")
        while time.monotonic() < ends:
            await converse(running, rng, ports, seen)

    async with asyncio.TaskGroup() as group:
        for number in range(AT_ONCE):
            group.create_task(one(number), name=f"conversations {number}")


async def _warm(running: Program, admin: Path, port: int) -> None:
    """What is opened once and kept is open from here on, also in the admin process, which starts after the listeners
    are ready."""
    await get(admin, "/metrics")
    for host in ("127.0.0.1", "localhost"):
        await ask(running.address, socks5(host, port, WHO))
    await asyncio.sleep(0.3)


async def _quiet(admin: Path, pid: int, before: list[int]) -> dict[str, float]:
    """What is left when nothing changes any more."""
    left: dict[str, float] = {}
    ends = time.monotonic() + 3 * SECONDS
    while time.monotonic() < ends:
        text = await get(admin, "/metrics")
        left = {name: total(text, name) for name in ("open_flows", "open_handshakes")}
        left["descriptors"] = sum(open_descriptors(one) for one in family(pid)) - sum(before)
        if not any(left.values()):
            break
        await asyncio.sleep(0.2)
    return left


async def _fill(running: Program, port: int) -> int:
    """How many flows the user may have at once now: all of MOST_FLOWS, if none was lost count of."""
    loop = asyncio.get_running_loop()
    flows = 0
    with contextlib.ExitStack() as stack:
        for _ in range(MOST_FLOWS + 1):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            await loop.sock_connect(sock, running.address)
            await loop.sock_sendall(sock, socks5("127.0.0.1", port, WHO))
            answer = b""
            while len(answer) < 14:
                answer += await asyncio.wait_for(loop.sock_recv(sock, 14 - len(answer)), SECONDS)
            flows += answer[5] == 0
    return flows


def run(folder: Path, seconds: float, seed: int) -> dict[str, object]:
    """Fuzz a proxy of its own."""
    files = write_self_signed(folder, ["proxy.example"])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
        nobody.bind(("127.0.0.1", 0))
        config = folder / "proxy.toml"
        # Whatever a changed address or name is, nothing leaves this host.
        config.write_text(
            f"""
            listen = [
              "127.0.0.1:0",
              {{address = "127.0.0.4:0", certificate = "{files.certificate}", key = "{files.key}"}},
              {{address = "127.0.0.5:0", proxy_protocol_from = ["127.0.0.0/8"]}},
            ]
            users.anna = {{password = "right", max_flows = {MOST_FLOWS}}}
            resolver = {{kind = "dns", servers = ["127.0.0.1:{nobody.getsockname()[1]}"], timeout_seconds = 0.2}}
            handshake_seconds = 1.0
            connect_seconds = 1.0
            bind_seconds = 1.0
            idle_seconds = 2.0
            half_close_seconds = 1.0
            access_log = "{folder}/access.log"
            [udp]
            idle_seconds = 1.0
            [[rules]]
            action = "allow"
            destinations = ["127.0.0.0/8", "::1"]
            [[rules]]
            action = "deny"
            """
        )
        admin = folder / "admin"
        with program(folder, "--config", str(config), "--verbose", "--admin", f"unix:{admin}") as running:
            return asyncio.run(fuzz(running, admin, seconds, seed))


def faults(found: dict[str, object]) -> list[str]:
    """What should not be."""
    left = found["left"]
    assert isinstance(left, dict)
    wrong = [f"left: {name} {number:g}" for name, number in left.items() if number]
    wrong += [f"in the log: {mark}" for mark in found["mistakes"]]  # type: ignore[attr-defined]
    if found["flows_at_once"] != MOST_FLOWS:
        wrong.append(f"{found['flows_at_once']} flows at once, expected {MOST_FLOWS}")
    return wrong


@click.command()
@click.option("--seconds", default=60.0)
@click.option("--seed", type=int, help="Default: another one each time.")
def main(seconds: float, seed: int | None) -> None:
    """Fuzz a proxy of its own; exit code 1 for what should not be."""
    with tempfile.TemporaryDirectory() as folder:
        found = run(Path(folder), seconds, random.randrange(1 << 32) if seed is None else seed)
        click.echo(json.dumps(found))
        if wrong := faults(found):
            click.echo((Path(folder) / "stderr").read_text()[-5000:], err=True)
            sys.exit("; ".join(wrong))


if __name__ == "__main__":
    main()
