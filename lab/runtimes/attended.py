"""The attended runtime: the hosts stand already, made by somebody else, and their roles come by themselves.

With `lab/docker/compose.yaml` that somebody is Docker Compose: every host is one of its services, runs its role with
`--wait`, and shares the folder that the lab's state folder lies in. Nothing is made here and nothing removed; a role's
process is known by its connection alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from lab.docker.container import STATE_IN_HOSTS
from lab.topology import Topology, standard


def launch(entry: str, state: Path, arguments: dict[str, Any]) -> int:
    """Run `entry` ("module:function") as the supervisor of the hosts that are there; returns its exit status.

    SIGINT, SIGTERM and SIGHUP ask it to end in order.
    """
    module_name, _, function_name = entry.partition(":")
    function: Callable[..., int] = getattr(import_module(module_name), function_name)
    with _stop_requests() as stop:
        return function(arguments, AttendedRuntime(standard(), state), state, stop)


@contextlib.contextmanager
def _stop_requests() -> Iterator[int]:
    """A descriptor that is at its end (readable) from the first signal on that asks this process to go."""
    read, write = os.pipe()
    writers = [write]

    def stop(*_: object) -> None:
        while writers:
            os.close(writers.pop())

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield read
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        stop()
        os.close(read)


class AttendedRuntime:
    """The hosts, which are looked after elsewhere."""

    name = "attended"

    def __init__(self, topology: Topology, state: Path) -> None:
        self.topology = topology
        self._state = state

    def path_in_host(self, path: Path) -> Path:
        """The hosts share the folder around the lab's: it outlives the lab, which makes and removes its own."""
        return STATE_IN_HOSTS / path.relative_to(self._state.parent)

    async def up(self) -> None:
        """They are up."""

    async def spawn(self, host: str, role: str, control: Path, log: Path) -> None:
        """Nothing to start: the role says hello when it comes. What it writes goes where its host's output goes."""
        log.write_text(f"what {role} writes is in the log of its host: docker compose logs {host}\n", encoding="utf-8")

    async def devices(self, host: str) -> dict[str, str]:
        """Unknown: nobody can be asked on the host. Raises OSError."""
        raise OSError(f"{host}: the interfaces of a host that somebody else made are not known")

    async def down(self) -> None:
        """Whoever made them takes them away."""
