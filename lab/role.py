"""One role: a process on one host of the lab, told over the control socket what to be.

`python -m lab.role NAME --control PATH` in a container, with `--wait SECONDS` where it may come up before the lab
does; on the netns runtime `main` is called in a forked child of the warmed process. The kinds of role are in
`lab.roles`.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import signal
import time
from pathlib import Path
from typing import Any

from lab.control import RoleControl
from lab.roles import KINDS
from lab.runtimes.linux import set_process_name

_RETRY_SECONDS = 0.1


async def run(name: str, control_path: str | Path, wait_seconds: float = 0.0) -> None:
    """Connect, become what the lab says, and go on until the lab hangs up, SIGTERM, or the role's own end."""
    control, kind, settings = await _connect(name, control_path, wait_seconds)
    module_name, _, function_name = KINDS[kind].partition(":")
    role = getattr(importlib.import_module(module_name), function_name)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    try:
        async with asyncio.TaskGroup() as group:
            working = group.create_task(role(settings, control), name=f"role {name}")
            commands = group.create_task(control.serve(), name="commands")
            stopping = group.create_task(stop.wait(), name="SIGTERM")
            await asyncio.wait({working, commands, stopping}, return_when=asyncio.FIRST_COMPLETED)
            for task in (working, commands, stopping):
                task.cancel()
    except BaseExceptionGroup as failures:
        # One failure ends a role; its own last line is what the lab quotes.
        raise _first(failures) from None
    finally:
        await control.close()


async def _connect(name: str, path: str | Path, wait_seconds: float) -> tuple[RoleControl, str, dict[str, Any]]:
    """Say hello, if need be again and again until the lab is there and wants this role. Raises OSError, EOFError."""
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            return await RoleControl.connect(path, name)
        except (FileNotFoundError, ConnectionError, EOFError):
            if time.monotonic() >= deadline:
                raise
        await asyncio.sleep(_RETRY_SECONDS)


def _first(error: BaseException) -> BaseException:
    """The failure itself, out of the groups that the role's own task groups put around it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def main(name: str, control_path: str | Path, wait_seconds: float = 0.0) -> None:
    """Run the role in this process until it ends. Raises what the role raised."""
    set_process_name(f"sd-{name}")
    asyncio.run(run(name, control_path, wait_seconds))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m lab.role", description=__doc__)
    parser.add_argument("name", help="the role's name, as the lab expects it")
    parser.add_argument("--control", required=True, help="the lab's control socket")
    parser.add_argument(
        "--wait", type=float, default=0.0, metavar="SECONDS", help="go on trying for so long until the lab answers"
    )
    arguments = parser.parse_args()
    main(arguments.name, arguments.control, arguments.wait)
