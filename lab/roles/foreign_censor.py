"""Any program in the censor's place, as a role: it stands on the censor's host, and blocks are commands run beside it.

Commands: `enforce` (rule, command) and `lift` (rule, command) run a program to its end; events tell of them as of
Sidedoor's rules. What all of these programs write goes where the role's output goes: `logs/runN-censor.log`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Sequence

import msgspec

from lab.control import RoleControl
from lab.runtimes.linux import die_with_parent

COMMAND_SECONDS = 20.0
"""A block's command is given up after this."""
_STOP_SECONDS = 3.0


class ForeignCensorSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """folder: where programs run. command: the censor's; None: there is none. ready_seconds: what it is given first."""

    folder: str
    command: tuple[str, ...] | None
    ready_seconds: float


class ProgramFailed(Exception):
    """A program could not be started, ended although it was to go on, or ended badly; the message says which, how."""


async def run(settings: dict[str, object], control: RoleControl) -> None:
    """Keep the program running until cancelled. Raises ProgramFailed where it ends by itself."""
    chosen = msgspec.convert(settings, ForeignCensorSettings)
    async with _standing(chosen) as ended:

        async def enforce(rule: str, command: list[str]) -> None:
            await _bracketed("rule_enforced", rule, command)

        async def lift(rule: str, command: list[str]) -> None:
            await _bracketed("rule_lifted", rule, command)

        async def _bracketed(event: str, rule: str, command: list[str]) -> None:
            before = time.monotonic()
            await complete(command, chosen.folder)
            control.emit(event, rule=rule, before=before, after=time.monotonic())

        control.on("enforce", enforce)
        control.on("lift", lift)
        control.emit("role_ready")
        raise ProgramFailed(await asyncio.shield(ended))  # which goes on when this is cancelled, until it is seen


@contextlib.asynccontextmanager
async def _standing(settings: ForeignCensorSettings) -> AsyncIterator[asyncio.Future[str]]:
    """The censor's program while it runs; the future has the words for its end. Raises ProgramFailed."""
    if settings.command is None:
        yield asyncio.get_running_loop().create_future()
        return
    process = await _start(settings.command, settings.folder)
    ended = asyncio.create_task(_end(process, settings.command), name="foreign censor")
    try:
        await asyncio.wait([ended], timeout=settings.ready_seconds)
        if ended.done():
            raise ProgramFailed(ended.result())
        yield ended
    finally:
        # The program is told, and what it has started goes when it has ended: it may need them to clean up.
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await asyncio.wait([ended], timeout=_STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await ended


async def _start(command: Sequence[str], folder: str) -> asyncio.subprocess.Process:
    """In a process group of its own, which ends with it."""
    try:
        return await asyncio.create_subprocess_exec(
            *command,
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
    except OSError as error:
        raise ProgramFailed(f"{command[0]} could not be started: {error.strerror}") from error


async def _end(process: asyncio.subprocess.Process, command: Sequence[str]) -> str:
    status = await process.wait()
    return f"{command[0]} was killed by signal {-status}" if status < 0 else f"{command[0]} ended with status {status}"


async def complete(command: Sequence[str], folder: str, seconds: float = COMMAND_SECONDS) -> None:
    """Run a command to its end; what it leaves in the background stays. Raises ProgramFailed: badly, or not in time."""
    process = await _start(command, folder)
    try:
        async with asyncio.timeout(seconds):
            said = await _end(process, command)
    except BaseException as error:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        if isinstance(error, TimeoutError):
            raise ProgramFailed(f"{' '.join(command)}: not done within {seconds:g} s") from None
        raise
    if process.returncode:
        raise ProgramFailed(f"{' '.join(command)}: {said}; its output is in the censor's log")
