"""Lets address rules fail open: takes them out of the kernel when the censor dies without having done so itself.

The kernel enforces address rules without the censor. A small program waits at the end of a pipe that only this process
holds: it ends with the process, however that ends.
"""

from __future__ import annotations

import subprocess

# Not to be ended by the signal that ends the censor: it outlives the censor by one command.
_PROGRAM = """trap '' TERM INT HUP
read -r _ || exec "$@"
"""
_SECONDS = 5.0


class DeadHand:
    """Runs `command` when this process ends while it is armed."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def armed(self) -> bool:
        return self._process is not None

    def arm(self) -> None:
        """From now on. Does nothing when it is armed already."""
        if self._process is None:
            self._process = subprocess.Popen(
                ("sh", "-c", _PROGRAM, "sh", *self._command),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    def disarm(self) -> None:
        """The program ends without running the command. Does nothing when it is not armed."""
        if self._process is None:
            return
        process, self._process = self._process, None
        try:
            process.communicate(b"\n", timeout=_SECONDS)
        except subprocess.TimeoutExpired:  # it has been stopped, say
            process.kill()
            process.communicate()
