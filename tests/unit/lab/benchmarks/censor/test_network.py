"""The commands that make the hosts; that the hosts work is tests/lab/test_bench_censor.py."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from lab.benchmarks.censor import network
from lab.benchmarks.processes import BenchError


def test_a_command_on_a_host() -> None:
    assert network.on("router", ["nft", "list"]) == ["nsenter", "--net=/run/netns/router", "--", "nft", "list"]
    assert network.on("client", ["x"], [1, 2])[-4:] == ["taskset", "-c", "1,2", "x"]


def test_a_tool_that_fails_is_quoted() -> None:
    with pytest.raises(BenchError, match="no such device"):
        network.call(["sh", "-c", "echo no such device >&2; exit 1"])
    with pytest.raises(BenchError, match="exit status 3"):
        network.call(["sh"], "exit 3")
    with pytest.raises(BenchError, match="No such file"):
        network.call(["/no/such/program"])


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    seen: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        seen.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    return seen


def test_hosts_go_whatever_happens(calls: list[list[str]]) -> None:
    with pytest.raises(RuntimeError), network.hosts():
        raise RuntimeError
    assert calls[0][-1] == "0"
    assert calls[1:] == [["ip", "netns", "del", host] for host in ("client", "router", "wan", "server")]
    with network.hosts(far=True):
        assert calls[5][-1] == "1"


def test_a_program_that_does_not_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "on", lambda host, command, cpus: command)
    with pytest.raises(BenchError, match="does not serve on server: true"), network.serving("server", ["true"]):
        pytest.fail("it does")


def test_a_program_that_serves_until_its_input_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "on", lambda host, command, cpus: command)
    with network.serving("server", ["sh", "-c", "echo ready; read x"]):
        pass


def test_single_segments_end_with_the_context(calls: list[list[str]]) -> None:
    with network.single_segments():
        assert [call[-1] for call in calls] == ["1", "1"]
    assert [(call[2], call[-1]) for call in calls[2:]] == [("client", "65535"), ("server", "65535")]
