"""System calls: what they refuse comes back as OSError that says what was tried."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from lab.runtimes import linux

NOBODY = 2**22 + 1  # above the kernel's largest PID


def test_the_process_name_is_cut_to_what_the_kernel_keeps() -> None:
    comm = Path("/proc/thread-self/comm")
    before = comm.read_text().strip()
    try:
        linux.set_process_name("sd@a-host-with-a-long-name")
        assert comm.read_text() == "sd@a-host-with-\n"
    finally:
        linux.set_process_name(before)


def test_refusals_say_what_was_tried() -> None:
    with pytest.raises(OSError, match="unshare: Invalid argument") as raised:
        linux.unshare(0x1)
    assert raised.value.errno == errno.EINVAL
    with pytest.raises(OSError, match=r"bind /nowhere/a over /nowhere/b: ") as raised:
        linux.bind_mount("/nowhere/a", "/nowhere/b")
    with pytest.raises(OSError, match="mount tmpfs on /nowhere: "):
        linux.mount_tmpfs("/nowhere")
    with pytest.raises(FileNotFoundError, match=f"/proc/{NOBODY}/ns/net"):
        linux.setns(NOBODY, "net")
    with pytest.raises(OSError, match=r"nosuch"):
        linux.set_sysctl("net.nosuch.thing", 1)


def test_flags_are_those_of_the_kernels_headers() -> None:
    assert (linux.CLONE_NEWNS, linux.CLONE_NEWUTS, linux.CLONE_NEWNET) == (0x20000, 0x4000000, 0x40000000)
