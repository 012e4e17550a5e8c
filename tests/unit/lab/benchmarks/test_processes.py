"""What /proc says about processes."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from lab.benchmarks import processes
from lab.benchmarks.processes import BenchError, busy_ticks, cpu_seconds, memory, running, tcp_pages, tree

GONE = 2**22 + 1

STAT = "cpu  100 20 30 4000 500 6 7 8 9 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n"
SOCKSTAT = "sockets: used 28\nTCP: inuse 1 orphan 6 tw 0 alloc 7 mem 117\nUDP: inuse 0 mem 3\n"


def test_cpu_time_of_this_process() -> None:
    before = cpu_seconds([os.getpid()])
    end = time.process_time() + 0.03
    while time.process_time() < end:
        pass
    assert 0.01 <= cpu_seconds([os.getpid()]) - before < 5


def test_no_process_and_a_gone_one_use_none() -> None:
    assert cpu_seconds([]) == 0
    assert cpu_seconds([GONE]) == 0


def test_a_parent_and_its_child_are_counted_once() -> None:
    with running([sys.executable, "-c", "import signal; signal.pause()"]) as process:
        assert process.pid in tree(os.getpid())
        assert len({*tree(os.getpid()), *tree(process.pid)}) == len(tree(os.getpid()))
    assert process.poll() is not None


def test_a_child_that_its_parent_leaves_behind_is_ended() -> None:
    code = "import subprocess, sys; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); p.wait()"
    with running([sys.executable, "-c", code], stdout=-1) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        assert child in tree(process.pid)
    # It may still be there as a zombie, for whoever inherited it.
    assert (processes._stat(child) or "X")[0] in "ZX"


def test_a_program_that_cannot_be_started(tmp_path: Path) -> None:
    script = tmp_path / "proxy"
    script.write_text("#!/nonexistent/python\n")
    script.chmod(0o755)
    with (
        pytest.raises(BenchError, match=r"proxy \(or its interpreter\) cannot be started: No such file"),
        running([str(script)]),
    ):
        pass


def test_memory_of_this_process() -> None:
    held = memory([os.getpid()])
    assert held.pss_bytes is not None
    assert held.pss_bytes > 1e6
    read, write = os.pipe()
    try:
        now = memory([os.getpid()])
    finally:
        os.close(read)
        os.close(write)
    assert held.descriptors is not None
    assert held.pipes is not None
    assert (now.descriptors, now.pipes) == (held.descriptors + 2, held.pipes + 1)


def test_memory_that_may_not_be_read_is_unknown() -> None:
    assert memory([GONE]).pss_bytes is None


def test_ticks_that_were_not_idle() -> None:
    assert busy_ticks(STAT) == 100 + 20 + 30 + 6 + 7 + 8


def test_pages_of_tcp() -> None:
    assert tcp_pages(SOCKSTAT) == 117
    assert tcp_pages("sockets: used 28\n") == 0
    assert processes.kernel_bytes() > 1e6


def test_the_last_line_of_a_traceback() -> None:
    assert processes.last_line(b"Traceback:\n  File x\nValueError: no route\n") == "ValueError: no route"
    assert processes.last_line(b"\n") == "it did not say why"
