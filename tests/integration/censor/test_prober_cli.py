"""`sidedoor censor probe` as a program: what it prints, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from pathlib import Path

import pytest

from censor.prober.settings import PROBE_NAMES
from tests.integration.censor import servers
from tests.integration.proxy.test_upstream import free_port
from tests.integration.proxy.world import SECONDS, echo, running_proxy, target

FIRST = b"\x05\x01\x00"


async def probe(where: int | str, *options: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    server = f"127.0.0.1:{where}" if isinstance(where, int) else where
    arguments = ["-m", "sidedoor", "censor", "probe", server, "--timeout", "1", *options]
    environment = os.environ | {"COLUMNS": "200"}
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=-1, stderr=-1, env=environment)
    out, err = await asyncio.wait_for(process.communicate(), SECONDS)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_a_proxy_with_a_password_is_convicted(tmp_path: Path) -> None:
    recorded = tmp_path / "first"
    recorded.write_bytes(FIRST)
    async with running_proxy(users={"anna": "secret"}) as proxy:
        status, out, err = await probe(proxy.port, "--replay", str(recorded))
    assert (status, err) == (1, "")
    lines = [line.strip() for line in out.splitlines()]
    assert [line.split()[0] for line in lines[1:-1]] == list(PROBE_NAMES)
    assert lines[1].endswith("SOCKS5: no acceptable method")
    assert lines[-1] == "convicted: socks5-method, socks5-auth, socks4, http-proxy, replay"


async def test_as_json_in_the_order_asked_for() -> None:
    async with running_proxy() as proxy:
        options = ("--json", "--probe", "http-connect", "--probe", "socks5-no-auth", "--destination", "127.0.0.1:9")
        status, out, err = await probe(proxy.port, *options)
    assert (status, err) == (1, "")
    said = json.loads(out)
    assert (said["address"], said["port"]) == ("127.0.0.1", proxy.port)
    assert (said["convicted"], said["evidence"]) == (True, ["socks5-method"])
    assert [one["probe"] for one in said["probes"]] == ["http-connect", "socks5-no-auth"]
    socks = said["probes"][1]
    assert (socks["outcome"], socks["end"]) == ("answered_proxy", "prober")
    assert socks["received"].startswith("0500050500")
    assert socks["received_bytes"] == 12


async def test_an_echo_is_no_proxy() -> None:
    async with target(echo) as port:
        status, out, err = await probe(port)
    assert (status, err) == (0, "")
    assert out.splitlines()[-1].strip() == "nothing that convicts"
    assert "replay" not in out


async def test_what_a_server_says_is_shown_and_cannot_write_on_the_terminal() -> None:
    async def colourful(sock: socket.socket) -> None:
        await servers.hang_up(sock)
        await asyncio.get_running_loop().sock_sendall(sock, b"\x1b[31m[red]")

    async with target(colourful) as port:
        status, out, _ = await probe(port, "--probe", "tls")
    assert status == 0
    assert "'\\x1b[31m[red]'" in out


async def test_nobody_listens() -> None:
    port = free_port()
    said = f"sidedoor: 127.0.0.1:{port}: no connection (refused); is the server running?\n"
    assert await probe(port) == (2, "", said)


@pytest.mark.parametrize(
    ("where", "options", "message"),
    [
        ("127.0.0.1", [], "'127.0.0.1': expected HOST:PORT"),
        ("nobody.invalid:80", [], "nobody.invalid: cannot be resolved"),
        ("127.0.0.1:9", ["--probe", "replay"], "--probe replay needs --replay FILE"),
        ("127.0.0.1:9", ["--destination", "x"], "`destination`: 'x': expected HOST:PORT"),
        ("127.0.0.1:9", ["--probe", "socks6"], "socks6"),
    ],
)
async def test_a_wrong_call(where: str, options: list[str], message: str) -> None:
    status, out, err = await probe(where, *options)
    assert (status, out) == (2, "")
    assert message in err
