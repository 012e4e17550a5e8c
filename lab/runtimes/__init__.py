"""Where a lab's hosts live: `netns` (network namespaces, the default), `docker` (containers), and `attended` (made by
somebody else, who starts the roles too).

All have the same topology (`lab.topology`) and speak the same interface, `Runtime`; the supervisor knows no other.
A runtime owns what it made: `down` leaves no namespace, container, network, rule or process behind, whatever state
the lab is in.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from lab.topology import Topology

INTERRUPTED = 130
AT_ONCE = "sidedoor: interrupted again: ended at once, without results"
"""What is said when a lab is asked a second time to end, and its exit status."""


class RoleProcess(Protocol):
    """A spawned role's process, as its runtime sees it."""

    async def wait(self) -> int:
        """Its exit status: 0 and up, or minus the number of the signal that ended it."""
        ...

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        ...


class Runtime(Protocol):
    """What the supervisor needs of a runtime."""

    name: str
    topology: Topology

    async def up(self) -> None:
        """Make hosts and networks stand. Raises OSError, UsageError."""
        ...

    async def spawn(self, host: str, role: str, control: Path, log: Path) -> RoleProcess | None:
        """Start `lab.role` NAME on `host`, its output appended to `log`. Both paths are the lab process's own.

        None where the role comes by itself: its connection is then all that is known of its process.
        """
        ...

    async def devices(self, host: str) -> dict[str, str]:
        """The host's interfaces: network name -> device name."""
        ...

    def path_in_host(self, path: Path) -> Path:
        """Where a host sees the lab process's `path` (below the state folder or the run folder)."""
        ...

    async def down(self) -> None:
        """Remove all of it. May be called in any state, more than once."""
        ...
