"""How a censor begins and ends: reload, normal end, SIGKILL with fail-open and fail-closed, a successor, refusals."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.lab.censor_network import SERVER, Network, echo, in_network, tools_environment
from tests.lab.censor_queue import Datagrams

SIDEDOOR = (sys.executable, "-m", "sidedoor")
# As a kernel that was booted with ipv6.disable=1 answers.
_REFUSE_IPV6 = """
import errno, os, socket, sys
class Socket(socket.socket):
    def __init__(self, family=-1, *arguments, **options):
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        super().__init__(family, *arguments, **options)
socket.socket = Socket
from sidedoor.cli import main
main()
"""
WITHOUT_IPV6 = (sys.executable, "-c", _REFUSE_IPV6)
RULES = """[censor]
fail = "{fail}"
strict = {strict}
[[rule]]
name = "name"
action = "sni_rst"
domains = ["{domain}"]
existing_flows = "kill"
[[rule]]
name = "addresses"
action = "drop"
addresses = ["198.51.100.0/24"]
"""


class Running:
    """A `sidedoor censor run` on the router."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        assert process.stdout is not None
        assert process.stderr is not None
        self.stdout, self.stderr = process.stdout, process.stderr
        self._events: list[dict[str, Any]] = []

    async def event(self, wanted: str) -> dict[str, Any]:
        """The next event of that name; others, a hit within its rule's bracket say, are kept for later."""
        async with asyncio.timeout(10):
            while not (found := [one for one in self._events if one["event"] == wanted]):
                line = await self.stdout.readline()
                assert line, f"no {wanted}: {(await self.stderr.read()).decode()}"
                self._events.append(json.loads(line))
        self._events.remove(found[0])
        return found[0]

    async def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        async with asyncio.timeout(10):
            return await self.process.wait()


@asynccontextmanager
async def running(
    network: Network,
    *,
    fail: str = "open",
    strict: bool = False,
    domain: str = "messenger.example",
    command: tuple[str, ...] = SIDEDOOR,
    options: tuple[str, ...] = (),
) -> AsyncIterator[Running]:
    path = network.folder / "rules.toml"
    path.write_text(RULES.format(fail=fail, strict=str(strict).lower(), domain=domain))
    process = await asyncio.create_subprocess_exec(
        *command, "censor", "run", "--rules", str(path), *options, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        censor = Running(process)
        await censor.event("rule_enforced")
        await censor.event("rule_enforced")
        yield censor
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def kernel_state() -> str:
    commands = (["nft", "list", "tables"], ["iptables-save"], ["ip6tables-save"])
    environment = tools_environment()
    return "".join(
        subprocess.run(one, env=environment, capture_output=True, text=True, check=True).stdout for one in commands
    )


@in_network
async def test_normal_end_leaves_nothing(network: Network) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        async with running(network) as censor:
            assert "table inet sidedoor" in kernel_state()
            assert "SIDEDOOR-FORWARD" in kernel_state()
            assert await censor.end(number) == 0
        assert "sidedoor" not in kernel_state().lower()
        assert await network.fetch("messenger.example") == b"hello\n"


@in_network
async def test_reload_keeps_flows_and_survives_a_bad_file(network: Network) -> None:
    async with running(network, domain="other.example") as censor:
        flow, innocent = await network.connect("messenger.example"), await network.connect("innocent.example")
        path = network.folder / "rules.toml"
        path.write_text("[[rule]]\nname = 1")
        censor.process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(5):
            line = (await censor.stderr.readline()).decode()
        assert "rules not changed" in line
        assert "rules.toml: key `rule[0].name`" in line
        assert await echo(flow) == b"hello\n"

        path.write_text(RULES.format(fail="open", strict="false", domain="messenger.example"))
        censor.process.send_signal(signal.SIGHUP)
        assert (await censor.event("rule_enforced"))["rule"] == "name"
        with pytest.raises(ConnectionResetError):
            await echo(flow)
        assert await echo(innocent) == b"hello\n"
        assert (await censor.event("censor_hit"))["name"] == "messenger.example"
        innocent[1].close()


@in_network
async def test_killed_censor_that_fails_open_lets_new_flows_pass(network: Network) -> None:
    async with running(network, fail="open") as censor:
        with pytest.raises(ConnectionResetError):
            await network.fetch("messenger.example")
        await censor.end(signal.SIGKILL)
        for version in (4, 6):
            assert await network.fetch("messenger.example", version) == b"hello\n"
        assert (await network.run("client", "dig", "+short", "+tries=1", "messenger.example"))[1] == "203.0.113.10\n"
        assert any("table inet sidedoor" not in kernel_state() for _ in range(200))  # the address rules go too
        _clean()


@in_network
async def test_killed_censor_that_fails_closed_stops_new_flows(network: Network) -> None:
    async with running(network, fail="closed") as censor:
        flow = await network.connect("innocent.example")
        assert await echo(flow) == b"hello\n"
        await censor.end(signal.SIGKILL)
        for version in (4, 6):
            with pytest.raises(TimeoutError):
                await network.connect("innocent.example", version, timeout=1)
        assert (await network.run("client", "dig", "+time=1", "+tries=1", "messenger.example"))[0] == 9
        assert await echo(flow) == b"hello\n"
        assert "table inet sidedoor" in kernel_state()
        _clean()
        assert await network.fetch("innocent.example") == b"hello\n"
        flow[1].close()


async def refused(network: Network, version: int) -> None:
    """A connection from the client to a port of the server without a listener, which no rule concerns."""
    connection = network.socket("client", version)
    try:
        async with asyncio.timeout(0.5):
            await asyncio.get_running_loop().sock_connect(connection, (SERVER[version], 2222))
    finally:
        connection.close()


async def answers(network: Network, version: int) -> bool:
    """Whether the server answers a ping."""
    return (await network.run("client", "ping", f"-{version}", "-c1", "-W1", SERVER[version]))[0] == 0


@in_network
async def test_what_no_rule_concerns_stops_with_a_censor_that_fails_closed(network: Network) -> None:
    """Existing flows go on; new ones of TCP, UDP and ICMP do not begin."""
    for version in (4, 6):
        assert await answers(network, version)
        async with running(network, fail="closed") as censor:
            flow, datagrams = await network.connect("innocent.example", version), Datagrams(network, version)
            await datagrams.both()
            with pytest.raises(ConnectionRefusedError):
                await refused(network, version)
            assert await answers(network, version)
            await censor.end(signal.SIGKILL)
            assert await echo(flow) == b"hello\n"
            await datagrams.both()
            new = Datagrams(network, version, port=9998)
            for attempt in (new.there(), refused(network, version), network.connect("x", version, timeout=0.5)):
                with pytest.raises(TimeoutError):
                    await attempt
            assert not await answers(network, version)
            _clean()
            assert await new.there() == b"there"
            assert await answers(network, version)
            flow[1].close()
            for one in (datagrams, new):
                one.close()


@in_network
async def test_everything_stops_with_a_censor_that_is_strict(network: Network) -> None:
    async with running(network, fail="closed", strict=True) as censor:
        flow, datagrams = await network.connect("innocent.example"), Datagrams(network)
        await datagrams.both()
        await censor.end(signal.SIGKILL)
        for attempt in (datagrams.there(), datagrams.back(), echo(flow, timeout=0.5), refused(network, 4)):
            with pytest.raises(TimeoutError):
                await attempt
        assert not await answers(network, 4)
        _clean()
        assert await datagrams.there() == b"there"
        flow[1].close()
        datagrams.close()


@in_network
async def test_a_successor_takes_over(network: Network) -> None:
    async with running(network, domain="other.example", fail="closed") as censor:
        flow = await network.connect("messenger.example")
        await censor.end(signal.SIGKILL)
    async with running(network) as censor:
        assert kernel_state().count("-A FORWARD -j SIDEDOOR-FORWARD") == 2
        assert await echo(flow) == b"hello\n"  # opened before its time: it cannot know the name
        with pytest.raises(ConnectionResetError):
            await network.fetch("messenger.example")
        flow[1].close()
        assert await censor.end(signal.SIGTERM) == 0
    assert "sidedoor" not in kernel_state().lower()


@in_network
async def test_a_host_without_ipv6_is_censored_on_ipv4(network: Network) -> None:
    async with running(network, command=WITHOUT_IPV6) as censor:
        line = (await censor.stderr.readline()).decode()
        assert "IPv4 only" in line
        assert "this host has no IPv6" in line
        assert "SIDEDOOR" not in await network.kernel("ip6tables-save")
        with pytest.raises(ConnectionResetError):
            await network.fetch("messenger.example")
        assert await network.fetch("innocent.example") == b"hello\n"
        assert await censor.end(signal.SIGTERM) == 0
        assert await censor.stderr.read() == b""
    assert "sidedoor" not in kernel_state().lower()


@in_network
async def test_refusals_are_one_line_and_exit_2(network: Network) -> None:
    run = (*SIDEDOOR, "censor", "run", "--rules", str(network.folder / "rules.toml"))
    async with running(network):
        assert "binding NFQUEUE 100: refused; another process has this number" in _refusal(run)
        with pytest.raises(ConnectionResetError):  # the first one goes on
            await network.fetch("messenger.example")
    assert "NET_ADMIN" in _refusal(("setpriv", "--bounding-set", "-all", *run))


def _refusal(command: tuple[str, ...]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    return done.stderr


def _clean() -> None:
    for said in ("removed\n", "nothing to remove\n"):
        done = subprocess.run([*SIDEDOOR, "censor", "clean"], capture_output=True, text=True, timeout=10, check=True)
        assert done.stdout == said
    assert "sidedoor" not in kernel_state().lower()
