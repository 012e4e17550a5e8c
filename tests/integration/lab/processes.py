"""A runtime whose hosts are all this machine: roles are processes of `python -m lab.role` on loopback."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from lab.topology import Topology, standard


class Process:
    """One role's process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    async def wait(self) -> int:
        return await self._process.wait()

    def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()


class ProcessRuntime:
    """Spawns `[program..., ROLE, --control, PATH]`; `processes` are all that it ever spawned."""

    name = "processes"

    def __init__(self, program: tuple[str, ...] = ("-m", "lab.role")) -> None:
        self.topology: Topology = standard()
        self.processes: list[Process] = []
        self.spawned = asyncio.Event()
        self._program = program

    async def up(self) -> None: ...

    async def down(self) -> None: ...

    async def devices(self, host: str) -> dict[str, str]:
        return {}

    def path_in_host(self, path: Path) -> Path:
        return path

    async def spawn(self, host: str, role: str, control: Path, log: Path) -> Process:
        with open(log, "ab") as stream:
            process = await asyncio.create_subprocess_exec(
                sys.executable, *self._program, role, "--control", str(control), stdout=stream, stderr=stream
            )
        self.processes.append(Process(process))
        self.spawned.set()
        return self.processes[-1]
