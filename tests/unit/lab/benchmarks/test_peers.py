import os
import time
from pathlib import Path

from lab.benchmarks.peers import PEERS, Peer, Running


def test_commands_listen_on_loopback_only(tmp_path: Path) -> None:
    for peer in PEERS:
        command = " ".join(peer.command("/bin/program", 40000, tmp_path))
        settings = "".join(path.read_text() for path in tmp_path.iterdir())
        assert "127.0.0.1" in command + settings
        assert "40000" in command + settings


def test_a_program_that_is_not_installed() -> None:
    assert Peer("x", "no-such-program", "x", lambda *_: []).find() is None


def test_cpu_time_of_this_process() -> None:
    before = Running(1, os.getpid()).cpu_seconds()
    end = time.process_time() + 0.03
    while time.process_time() < end:
        pass
    assert 0.01 <= Running(1, os.getpid()).cpu_seconds() - before < 5


def test_no_process_and_a_gone_one_use_none() -> None:
    assert Running(0, 0).cpu_seconds() == 0
    assert Running(1, 2**22 + 1).cpu_seconds() == 0
