"""The few system calls that Python 3.11 has no name for, and per-namespace sysctls."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWNET = 0x40000000

_MS_BIND = 4096
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_SIGKILL = 9

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """unshare(2): leave the namespaces named by `flags` for new ones. Raises OSError."""
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def setns(pid: int, kind: str) -> None:
    """setns(2): enter the namespace `kind` ("net", "mnt", "uts") that process `pid` is in. Raises OSError."""
    descriptor = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.setns(ctypes.c_int(descriptor), ctypes.c_int(0)), f"setns {kind} of {pid}")
    finally:
        os.close(descriptor)


def mount_tmpfs(target: str) -> None:
    """An empty tmpfs over `target`, in this mount namespace. Raises OSError."""
    _check(_libc.mount(b"tmpfs", target.encode(), b"tmpfs", ctypes.c_ulong(0), b"mode=755"), f"mount tmpfs on {target}")


def bind_mount(source: str, target: str) -> None:
    """`target` shows `source`, in this mount namespace. Raises OSError."""
    _check(
        _libc.mount(source.encode(), target.encode(), None, ctypes.c_ulong(_MS_BIND), None),
        f"bind {source} over {target}",
    )


def set_hostname(name: str) -> None:
    """sethostname(2), in this UTS namespace. Raises OSError."""
    _check(_libc.sethostname(name.encode(), ctypes.c_size_t(len(name))), "sethostname")


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends (PR_SET_PDEATHSIG)."""
    _libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)


def set_process_name(name: str) -> None:
    """What `ps` shows as this process's name; the kernel keeps 15 bytes."""
    _libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def set_sysctl(name: str, value: int | str) -> None:
    """Set `net.ipv4.ip_forward` and the like, of this network namespace. Raises OSError where it is not there."""
    Path("/proc/sys", *name.split(".")).write_text(f"{value}\n", encoding="ascii")
