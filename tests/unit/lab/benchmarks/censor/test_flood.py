"""The packets of a flood, and what is said of it; that one is withstood is tests/lab/test_censor_flood.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from censor.packets import TCP, UDP, checksum_ok, parse
from lab.benchmarks.censor import flood
from lab.benchmarks.processes import BenchError

DESTINATION = "203.0.113.200"
QUEUES = "  100  23456    12 2 65531     0     0       12  1\n  101  23456    30 2 65531     0     0       12  1\n"


def test_each_packet_is_of_a_flow_of_its_own_and_right() -> None:
    sent = [packet for data in flood.packets(300, DESTINATION) if (packet := parse(data))]
    assert len({(packet.source, packet.source_port, packet.protocol) for packet in sent}) == 300
    assert {packet.protocol for packet in sent} == {TCP, UDP}
    assert all(checksum_ok(packet.data) and packet.length == len(packet.data) for packet in sent)
    assert len({packet.payload for packet in sent}) == 3


def test_when_all_addresses_have_been_used_the_port_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flood, "_ADDRESSES", 2)
    sent = [packet for data in flood.packets(4, DESTINATION) if (packet := parse(data))]
    assert [packet.source_port for packet in sent] == [20000, 20000, 20001, 20001]
    assert [packet.source for packet in sent[:2]] == [packet.source for packet in sent[2:]]


def test_what_waits_is_of_all_queues() -> None:
    assert flood.waiting(QUEUES) == 42
    assert flood.waiting("") == 0


def test_fewer_flows_where_it_is_to_be_short() -> None:
    assert [flood.flows(seconds) for seconds in (5.0, 1.0, 0.1, 0.0)] == [200_000, 200_000, 20_000, 1]
    assert flood.estimate(0.1) < flood.estimate(1.0) == flood.estimate(5.0)


def test_measured_and_failed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    routed: list[list[str]] = []
    said = ['print(\'{"flows": 5, "seconds": 2.0, "waited_seconds": 1.0}\')']
    monkeypatch.setattr(flood, "call", routed.append)
    monkeypatch.setattr(flood, "on", lambda host, command: [sys.executable, "-c", said[0]])
    assert flood.measure(tmp_path, 5) == flood.Sent(5, 2.0, 1.0)
    assert len(routed) == 2
    said[0] = "raise SystemExit('no route')"
    with pytest.raises(BenchError, match="flood: no route"):
        flood.measure(tmp_path, 5)

    def late(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("flood", 1.0)

    monkeypatch.setattr(subprocess, "run", late)
    with pytest.raises(BenchError, match="5 flows were not taken"):
        flood.measure(tmp_path, 5)
