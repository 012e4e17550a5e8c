"""Runs the kernel's own programs, `nft` and `iptables-restore`, with a script, and says what they had against it."""

from __future__ import annotations

import asyncio
import shutil
import subprocess

from censor.packet_io.netlink import KernelError
from sidedoor.settings import UsageError

_SECONDS = 20.0
# Where the programs are, and where an ordinary user's PATH on Debian does not look.
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


def located(tool: str) -> str | None:
    """Where the program is; None: nowhere."""
    return shutil.which(tool) or shutil.which(tool, path=_SBIN)


def located_command(command: tuple[str, ...]) -> tuple[str, ...]:
    """The command with the whole path of its program."""
    return (located(command[0]) or command[0], *command[1:])


def run(command: tuple[str, ...], script: str) -> str:
    """What a program that reads `script` prints. Raises UsageError: no permission; KernelError."""
    done = execute(command, script)
    check(command, done.returncode, done.stderr)
    return done.stdout.decode(errors="replace")


def execute(command: tuple[str, ...], script: str) -> subprocess.CompletedProcess[bytes]:
    """Run it, whatever it says; see `check` and `said`. Raises KernelError when it hangs."""
    try:
        return subprocess.run(
            located_command(command), input=script.encode(), capture_output=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise KernelError(f"{command[0]}: no answer within {_SECONDS:.0f} s") from error


async def run_async(command: tuple[str, ...], script: str) -> None:
    """Like `run`, beside other tasks and without what it prints. Cancelled, the program has ended."""
    process = await asyncio.create_subprocess_exec(
        *located_command(command), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        async with asyncio.timeout(_SECONDS):
            _, stderr = await process.communicate(script.encode())
    except BaseException as error:
        # A transaction that has begun may still commit: end the program and see it end, so that cleanup comes after.
        if process.returncode is None:
            process.kill()
        await process.wait()
        if isinstance(error, TimeoutError):
            raise KernelError(f"{command[0]}: no answer within {_SECONDS:.0f} s") from error
        raise
    check(command, process.returncode or 0, stderr)


def check(command: tuple[str, ...], status: int, stderr: bytes) -> None:
    """Raise UsageError or KernelError when a program has ended with another status than 0."""
    if not status:
        return
    text = said(stderr)
    if "not permitted" in text or "ermission denied" in text or "must be root" in text:
        raise UsageError(f"{command[0]}: not permitted; run as root, in a user namespace, or with NET_ADMIN")
    raise KernelError(f"{' '.join(command)} failed (exit {status}): {text}")


def said(stderr: bytes) -> str:
    """What it said, on one line."""
    return " ".join(stderr.decode(errors="replace").split())
