"""A program on a host of an interactive lab, at the end of a pipe."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from queue import Empty, Queue
from typing import Self

from sidedoor.api import Lab

PATIENCE_SECONDS = 15.0


class Program:
    """A program on a host of the lab that is told lines and says lines."""

    def __init__(self, lab: Lab, host: str, *command: str) -> None:
        enter = [sys.executable, "-m", "sidedoor", "lab", "exec", "--name", lab.name, host, "--"]
        self._process = subprocess.Popen(
            [*enter, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._lines: Queue[str] = Queue()
        self._reader = threading.Thread(target=self._read, name=f"what {command[0]} says")
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def until(self, *beginnings: str, within_seconds: float = PATIENCE_SECONDS) -> str | None:
        """The first further line that begins so; None when it does not come in time."""
        deadline = time.monotonic() + within_seconds
        try:
            while not (line := self._lines.get(timeout=max(0.0, deadline - time.monotonic()))).startswith(beginnings):
                pass
        except Empty:
            return None
        return line

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.terminate()
        self._process.wait(PATIENCE_SECONDS)
        self._reader.join(PATIENCE_SECONDS)
        self._process.stdin.close()
        self._process.stdout.close()
