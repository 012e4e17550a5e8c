"""A censor is killed: what goes on and what stops is what `fail` and `strict` say; nothing of it outlives its lab."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from tests.lab.censor_network import SERVER, Network, echo, in_network
from tests.lab.censor_process import SIDEDOOR, CensorProcess, censoring
from tests.lab.machine_state import lab_processes, left_behind, snapshot
from tests.lab.test_censor_life import kernel_state

RULES = """
[censor]
{head}
[[rule]]
name = "name"
when = 'tls.sni under ["messenger.example"]'
actions = [{{ kind = "drop" }}]

[[rule]]
name = "addresses"
when = 'server.address in ["203.0.113.66"]'
actions = [{{ kind = "drop" }}]
"""
OPEN, CLOSED, STRICT = 'fail = "open"', 'fail = "closed"', 'fail = "closed"\nstrict = true'
UDP_PORT = 9999
_WAIT_SECONDS = 0.5

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Udp:
    """A socket of the client and its datagrams to the server's echo, which are one flow."""

    def __init__(self, network: Network) -> None:
        self._socket = network.socket("client", 4, socket.SOCK_DGRAM)
        self._socket.connect((SERVER[4], UDP_PORT))

    async def works(self) -> bool:
        self._socket.send(b"hello")
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                return await asyncio.get_running_loop().sock_recv(self._socket, 100) == b"hello"
        except TimeoutError:
            return False

    def close(self) -> None:
        self._socket.close()


class _Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self._transport.sendto(data, address)


@asynccontextmanager
async def _existing(network: Network, head: str) -> AsyncIterator[tuple[CensorProcess, Udp, Streams]]:
    """A censor with flows through it, one of each protocol."""
    await network.kernel("ip", "-n", "server", "addr", "add", "203.0.113.66/24", "dev", "eth0")
    server = network.socket("server", 4, socket.SOCK_DGRAM)
    server.bind((SERVER[4], UDP_PORT))
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(_Echo, sock=server)
    udp = Udp(network)
    try:
        async with censoring(network, RULES.format(head=head)) as censor:
            tcp = await network.connect("innocent.example")
            assert await echo(tcp) == b"hello\n"
            assert await udp.works()
            assert not await _pings(network, "203.0.113.66")
            with pytest.raises(TimeoutError):
                await network.connect("messenger.example", timeout=_WAIT_SECONDS)
            yield censor, udp, tcp
            tcp[1].close()
    finally:
        udp.close()
        transport.close()


async def _pings(network: Network, address: str) -> bool:
    return (await network.run("client", "ping", "-c1", "-W1", address))[0] == 0


async def _new_flows(network: Network) -> list[bool]:
    """Whether new flows get through: TLS for an innocent and for a blocked name, over both families; UDP; ICMP."""
    found = []
    for name in ("innocent.example", "messenger.example"):
        for version in (4, 6):
            try:
                _, writer = await network.connect(name, version, timeout=_WAIT_SECONDS)
                writer.close()
                found.append(True)
            except TimeoutError:
                found.append(False)
    udp = Udp(network)
    found.append(await udp.works())
    udp.close()
    for address in (SERVER[4], SERVER[6], "203.0.113.66"):
        found.append(await _pings(network, address))
    return found


@in_network
async def test_open_everything_goes_on(network: Network) -> None:
    async with _existing(network, OPEN) as (censor, udp, tcp):
        await censor.end(signal.SIGKILL)
        assert await echo(tcp) == b"hello\n"
        assert await udp.works()
        assert await _new_flows(network) == [True] * 8
        _clean()


@in_network
async def test_closed_existing_flows_go_on_and_no_new_one_does(network: Network) -> None:
    async with _existing(network, CLOSED) as (censor, udp, tcp):
        await censor.end(signal.SIGKILL)
        assert await _new_flows(network) == [False] * 8
        assert await echo(tcp) == b"hello\n"
        assert await udp.works()
        _clean()
        assert await _new_flows(network) == [True] * 8


@in_network
async def test_strict_nothing_goes_on(network: Network) -> None:
    async with _existing(network, STRICT) as (censor, udp, tcp):
        await censor.end(signal.SIGKILL)
        assert not await udp.works()
        with pytest.raises(TimeoutError):
            await echo(tcp, timeout=_WAIT_SECONDS)
        assert await _new_flows(network) == [False] * 8
        _clean()
        assert await udp.works()
        assert await _new_flows(network) == [True] * 8


def _clean() -> None:
    done = subprocess.run([*SIDEDOOR, "censor", "clean"], capture_output=True, text=True, timeout=10, check=True)
    assert done.stdout == "removed\n"
    assert "sidedoor" not in kernel_state().lower()


@pytest.mark.netns
@pytest.mark.parametrize("fail", ["open", "closed"])
def test_a_labs_censor_is_killed_and_the_lab_leaves_nothing(tmp_path: Path, fail: str) -> None:
    lab, rules = f"test-death-{fail}", tmp_path / "rules.toml"
    rules.write_text(RULES.format(head=f'fail = "{fail}"'))
    before, others = snapshot(), set(lab_processes())
    _sidedoor("lab", "up", "--name", lab)
    try:
        _sidedoor("lab", "censor", "apply", "--name", lab, str(rules))
        blocked = _curl(lab, "messenger.example")
        (censor,) = (pid for pid, name in set(lab_processes()) - others if name == "sd-censor" and _is_of(pid, lab))
        os.kill(censor, signal.SIGKILL)
        outcome = [_curl(lab, "messenger.example"), _curl(lab, "cdn.messenger.example.net")]
    finally:
        _sidedoor("lab", "down", "--name", lab)
    timed_out = 28
    assert blocked == timed_out
    assert outcome == ([0, 0] if fail == "open" else [timed_out, timed_out])
    assert left_behind(before, lab=lab) == {}


def _is_of(pid: int, lab: str) -> bool:
    return f"SIDEDOOR_LAB={lab}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


def _curl(lab: str, name: str) -> int:
    """The exit status of a request for a name whose address is known."""
    resolved = ["--resolve", f"{name}:443:203.0.113.10", "-sSk", "--max-time", "2", f"https://{name}/"]
    command = [*SIDEDOOR, "lab", "exec", "--name", lab, "client", "--", "curl", *resolved]
    return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode


def _sidedoor(*arguments: str) -> None:
    command = [sys.executable, "-m", "sidedoor", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
