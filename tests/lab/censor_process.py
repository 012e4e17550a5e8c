"""A `sidedoor censor run` on the tests' router, a process as a user starts it."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.lab.censor_network import Events, Network

SIDEDOOR = (sys.executable, "-m", "sidedoor")


class CensorProcess:
    """`events`: those it has reported so far. `rules`: the file that it reads."""

    def __init__(self, process: asyncio.subprocess.Process, rules: Path, counts: Path) -> None:
        self.process, self.rules = process, rules
        self.events = Events()
        self.events.patience_seconds = 20.0
        self._counts = counts
        assert process.stdout is not None
        assert process.stderr is not None
        self._stdout, self._stderr = process.stdout, process.stderr

    async def follow(self) -> None:
        """Take what it reports, until it ends; nothing of it may wait in the pipe, for the censor would wait, too."""
        async for line in self._stdout:
            fields = json.loads(line)
            self.events(fields.pop("event"), **fields)

    async def reload(self, text: str, timeout: float = 20) -> None:
        """Have it read the rules and their lists again."""
        self.rules.write_text(text)
        self.process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(timeout):
            line = (await self._stderr.readline()).decode()
        assert "rules read again" in line

    async def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        async with asyncio.timeout(20):
            return await self.process.wait()

    async def counts(self) -> dict[str, Any]:
        """Have it end, and what it says it did."""
        assert await self.end(signal.SIGTERM) == 0
        found: dict[str, Any] = json.loads(self._counts.read_text())
        return found

    def rss_bytes(self) -> int:
        """Memory that it has now."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * 4096


@asynccontextmanager
async def censoring(network: Network, text: str, *options: str) -> AsyncIterator[CensorProcess]:
    """A censor with these rules (TOML), once the first of them is in force. At the end it is killed."""
    rules, counts = network.folder / "rules.toml", network.folder / "counts.json"
    rules.write_text(text)
    command = [*SIDEDOOR, "censor", "run", "--rules", str(rules), "--statistics", str(counts), *options]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    censor = CensorProcess(process, rules, counts)
    following = asyncio.create_task(censor.follow(), name="what the censor reports")
    try:
        await censor.events.first("rule_enforced")
        yield censor
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await following
