"""16 MB and messages beside them, over three forced switches, by the command line in an interactive lab."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.deployment import CLIENT
from lab.routes import PROXY_PASSWORD, PROXY_USER
from lab.topology import ORIGIN_NAME, standard
from sidedoor.api import Lab
from tests.lab.host_program import Program

pytestmark = pytest.mark.netns

NAME = "test-attachments"
FILE_BYTES = 16 << 20
DELAY_SECONDS = "0.05"
DIRECT = standard().names[ORIGIN_NAME]


def blocked(*addresses: str) -> str:
    return f'[[rule]]\nname = "some"\naddresses = {json.dumps(addresses)}\naction = "drop"\n'


@pytest.fixture
def lab() -> Iterator[Lab]:
    command = [sys.executable, "-m", "sidedoor", "lab", "up", "--name", NAME, "--delay", DELAY_SECONDS]
    up = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert up.returncode == 0, up.stderr
    lab = Lab.find(NAME)
    yield lab
    lab.down()


class Sender:
    """The sending end and what it reports."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self.events: list[dict[str, Any]] = []

    def until(self, *wanted: str, least_bytes: int = 0) -> None:
        while True:
            line = self._program.until("{", within_seconds=30)
            assert line is not None, f"no {wanted} after {self.events[-3:]}"
            event = json.loads(line)
            self.events.append(event)
            if event["event"] in wanted and event.get("sent", 0) >= least_bytes:
                return

    @property
    def route(self) -> str:
        """The one in use."""
        switches = [event["new"] for event in self.events if event["event"] in ("route_switched", "failed_back")]
        return switches[-1] if switches else "direct"

    @property
    def sent(self) -> bool:
        return any(event["event"] == "attachment_sent" for event in self.events)


def key(file: Path) -> str:
    command = [sys.executable, "-m", "sidedoor", "client", "key", "--file", str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.split()[-1]


def test_bit_for_bit_over_three_forced_switches(lab: Lab, tmp_path: Path) -> None:
    attachment, folder = tmp_path / "film", tmp_path / "received"
    attachment.write_bytes(os.urandom(FILE_BYTES))
    keys = {name: key(tmp_path / f"{name}.key") for name in ("alice", "bob")}

    def end(command: str, name: str, peer: str) -> list[str]:
        options = ["--name", name, "--origin", ORIGIN_NAME, "--ca-file", lab.status()["ca_file"]]
        options += ["--key", str(tmp_path / f"{name}.key"), "--peer-key", keys[peer], "--events", "-"]
        return [sys.executable, "-m", "sidedoor", "client", command, *options]

    topology = standard()
    first, second = (topology.host(name).addresses() for name in ("proxy1", "proxy2"))
    proxies = [f"--proxy=proxy1={first[0]}:1080", f"--proxy=proxy2={PROXY_USER}:{PROXY_PASSWORD}@{second[0]}:1080"]
    addresses = {"direct": DIRECT, "proxy1": first, "proxy2": second}
    sending = ["--peer", "bob", "--attach", str(attachment), "--count", "150", "--interval", "0.1", "--timeout", "60"]
    with (
        Program(lab, "receiver", *end("receive", "bob", "alice"), "--attachments", str(folder)),
        Program(lab, CLIENT, *end("send", "alice", "bob"), *sending, *proxies) as program,
    ):
        sender = Sender(program)
        for number, free in enumerate(("proxy1", "proxy2", "direct"), 1):
            sender.until("attachment_progress", least_bytes=FILE_BYTES * number // 8)
            lab.apply(blocked(*(one for name, some in addresses.items() if name != free for one in some)))
            while sender.route != free:
                sender.until("route_switched", "failed_back")
        assert not sender.sent, "all three while it was under way"
        sender.until("attachment_sent")
        (received,) = [file for file in folder.iterdir() if file.suffix != ".part"]
    expected = hashlib.sha256(attachment.read_bytes()).digest()
    assert hashlib.sha256(received.read_bytes()).digest() == expected
    latencies = sorted(e["latency_seconds"] for e in sender.events if e["event"] == "message_acked")
    print(f"messages: {len(latencies)}, latency p50 {latencies[len(latencies) // 2]:.3f} s,", end=" ")
    print(f"p95 {latencies[len(latencies) * 95 // 100]:.3f} s, most {latencies[-1]:.3f} s")
    assert len(latencies) > 50
    assert latencies[len(latencies) // 2] < 0.5, "behind the attachment's window at most, never behind the file"
