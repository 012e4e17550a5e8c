"""Floods: of bytes, of datagrams, of connections, from one source. Others are served meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import statistics
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.proxy.attack import DENIED, FAILED, ask, http, outcome, program, socks5
from tests.integration.proxy.world import SECONDS

ATTACKER, OTHERS = "127.0.0.2", "127.0.0.3"
FLOOD_SECONDS = 1.5
HEAD_BYTES = 16 * 1024
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: closing is a reset, and the port can be used again at once: a minute's TIME_WAIT would use up all."""

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8 without further ado"),
]


def connections(address: tuple[str, int], over: threading.Event) -> int:
    """Connects and lets go, with a word and without, as fast as one thread can."""
    number = 0
    while not over.is_set():
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.settimeout(SECONDS)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            sock.bind((ATTACKER, 0))
            sock.connect(address)
            if number % 2:
                sock.sendall(b"\x05\x01\x00\x05")
        number += 1
    return number


def requests(address: tuple[str, int], over: threading.Event) -> int:
    """The same with whole requests, which are refused."""
    number = 0
    while not over.is_set():
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.settimeout(SECONDS)
            sock.bind((ATTACKER, 0))
            sock.connect(address)
            sock.sendall(socks5("127.0.0.1", 1))
            while sock.recv(100):
                pass
        number += 1
    return number


def heads(address: tuple[str, int], over: threading.Event) -> int:
    """Heads of 16 KiB, a byte at a time."""
    number = 0
    head = http("127.0.0.1", 1)[:-2] + b"X-Padding: " + b"a" * HEAD_BYTES
    while not over.is_set():
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.settimeout(SECONDS)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.bind((ATTACKER, 0))
            sock.connect(address)
            for index in range(HEAD_BYTES):
                sock.send(head[index : index + 1])
                if over.is_set():
                    break
            number += 1
    return number


def datagrams(address: tuple[str, int], over: threading.Event) -> int:
    """An association, and datagrams that go nowhere as fast as one thread can send them."""
    with socket.socket() as control, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        control.settimeout(SECONDS)
        for one in (control, sock):
            one.bind((ATTACKER, 0))
        control.connect(address)
        control.sendall(b"\x05\x01\x00\x05\x03\x00\x01" + bytes(6))
        said = b""
        while len(said) < 12:
            said += control.recv(12)
        place = socket.inet_ntoa(said[6:10]), int.from_bytes(said[10:12], "big")
        number = 0
        while not over.is_set():
            sock.sendto(b"\0\0\0\x01\x7f\0\0\x01\0\x01" + bytes(100), place)
            number += 1
    return number


@contextlib.contextmanager
def flooding(flood: Callable[[tuple[str, int], threading.Event], int], address: tuple[str, int]) -> Iterator[list[int]]:
    """Gives how many there were, at the end."""
    over, numbers = threading.Event(), list[int]()
    thread = threading.Thread(target=lambda: numbers.append(flood(address, over)))
    thread.start()
    try:
        yield numbers
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("flood", [connections, requests, heads, datagrams])
async def test_others_are_served(flood: Callable[[tuple[str, int], threading.Event], int], tmp_path: Path) -> None:
    """Most of them at once. Where connections come faster than a worker can take them, some 10,000 a second, the queue
    of the kernel is full at times, and a client's SYN gets lost: the next one comes after a second."""
    config = tmp_path / "proxy.toml"
    config.write_text('listen = ["127.0.0.1:0"]\ninside = "allow"\n')
    with program(tmp_path, "--config", str(config)) as running:
        seconds: list[float] = []
        with flooding(flood, running.address) as numbers:
            ends = time.monotonic() + FLOOD_SECONDS
            while time.monotonic() < ends:
                began = time.perf_counter()
                assert outcome(await ask(running.address, socks5("127.0.0.1", 1), source=OTHERS)) == FAILED
                seconds.append(time.perf_counter() - began)
                await asyncio.sleep(0.01)
        median, most = (round(1000 * value, 1) for value in (statistics.median(seconds), max(seconds)))
        print(f"{flood.__name__}: {numbers[0]}; others waited {median} ms, {most} ms at most")
        assert max(seconds) < 4.0, "two SYNs were lost"
        assert statistics.median(seconds) < 0.1
        assert numbers[0] > 0
        assert not [line for line in running.logged() if line["event"] == "session_failed"]


async def test_a_head_of_16_kib_byte_by_byte_is_refused_at_its_limit(tmp_path: Path) -> None:
    with program(tmp_path, "--listen", "127.0.0.1:0") as running, socket.socket() as sock:
        sock.settimeout(SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect(running.address)
        for byte in (http("127.0.0.1", 1)[:-2] + b"X-Padding: ").ljust(HEAD_BYTES, b"a"):
            sock.send(bytes((byte,)))
        assert sock.recv(100).startswith(b"HTTP/1.1 431 ")


async def test_a_head_of_just_under_16_kib_byte_by_byte_is_served(tmp_path: Path) -> None:
    config = tmp_path / "proxy.toml"
    config.write_text('listen = ["127.0.0.1:0"]\ninside = "deny"\n')
    head = (http("127.0.0.1", 1)[:-2] + b"X-Padding: ").ljust(HEAD_BYTES - 4, b"a") + b"\r\n\r\n"
    with program(tmp_path, "--config", str(config)) as running, socket.socket() as sock:
        sock.settimeout(SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect(running.address)
        for byte in head:
            sock.send(bytes((byte,)))
        assert outcome(sock.recv(1000)) == DENIED
