"""5,000 clients that begin and do not go on (`slowloris`), and one among them that is slow and means it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import select
import socket
import subprocess
import sys

import pytest

from proxy.settings import Listener, ProxySettings
from tests.integration.proxy.attack import attacked, socks5
from tests.integration.proxy.slowloris import HANDSHAKE_SECONDS
from tests.integration.proxy.world import SECONDS, echo, receive, receive_all, target

CLIENTS = 5000

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(
        sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8 without further ado, and /proc"
    ),
]


@pytest.mark.parametrize("most", [1024, CLIENTS + 1000], ids=["the default", "room for all"])
def test_others_are_served_at_once_and_nothing_is_left(most: int) -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 3 * CLIENTS:
        pytest.skip(f"the limit of descriptors (ulimit -Hn) is below {3 * CLIENTS}")
    command = [sys.executable, "-m", "tests.integration.proxy.slowloris"]
    options = ["--clients", str(CLIENTS), "--max-handshakes", str(most)]
    done = subprocess.run(
        ["sh", "-c", 'ulimit -n "$(ulimit -Hn)" && exec "$@"', "sh", *command, *options],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["with"]["most"] < 1000, found
    assert found["bytes_per_client"] < 32768, found
    assert (found["clients"], found["cut_off"], found["left"], found["faults"]) == (CLIENTS, CLIENTS, 0, 0)
    assert found["gone_seconds"] < found["opened_seconds"] + HANDSHAKE_SECONDS + 3, found
    assert found["log_lines"] < 20, "a flood fills no log"


async def test_a_slow_client_is_not_the_one_that_makes_room() -> None:
    """Who floods is: here with ten times as many connections as there is room for between two bytes of the other."""
    loop = asyncio.get_running_loop()
    async with target(echo) as port, attacked(ProxySettings(listen=("127.0.0.1:0",), max_handshakes=8)) as proxy:
        with contextlib.ExitStack() as stack, socket.socket() as slow:
            slow.setblocking(False)
            slow.bind(("127.0.0.3", 0))
            await loop.sock_connect(slow, proxy.address)
            wire = socks5("127.0.0.1", port)
            for index in range(len(wire)):
                for _ in range(80 if index % 4 == 0 else 0):
                    sock = stack.enter_context(socket.socket())
                    sock.setblocking(False)
                    sock.bind(("127.0.0.2", 0))
                    await loop.sock_connect(sock, proxy.address)
                await loop.sock_sendall(slow, wire[index : index + 1])
            assert (await asyncio.wait_for(receive(slow, 12), SECONDS))[3:4] == b"\x00"
            assert proxy.counted("handshake_failures_total", reason="dropped") > 200


@pytest.mark.parametrize(
    "said", [b"\x05", b"\x05\x01\x00", b"\x05\x01\x00\x05\x01", b"\x04\x01", b"CONNECT x:80 HTTP/1.1\r\n", b"C" * 4096]
)
@pytest.mark.parametrize("header", [b"", b"PROXY TCP4 192.0.2.1 ", b"PROXY UNKNOWN\r\n"], ids=["", "half", "whole"])
async def test_who_hangs_up_with_the_last_byte_is_not_waited_for(said: bytes, header: bytes) -> None:
    """The end was reported together with the bytes in front of it, and once only."""
    listener = Listener(address="127.0.0.1:0", proxy_protocol_from=("127.0.0.0/8",) if header else ())
    settings = ProxySettings(listen=(listener,), open=True, handshake_seconds=10 * SECONDS)
    wire = header if header.endswith(b" ") else header + said
    async with attacked(settings) as proxy:
        with socket.socket() as sock:
            sock.setblocking(False)
            sock.connect_ex(proxy.address)  # the proxy does not run before the end is there, too
            while not select.select([], [sock], [], SECONDS)[1]:
                pass
            sock.send(wire)
            sock.shutdown(socket.SHUT_WR)
            assert await receive_all(sock) in (b"", b"\x05\x00")
