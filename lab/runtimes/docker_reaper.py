"""Removes a Docker lab when its launcher has gone, however it went: the end of standard input is the sign.

Started by `lab.runtimes.docker.launch` in a session of its own. After an orderly end there is nothing left to remove.
"""

from __future__ import annotations

import signal
import sys

from lab.runtimes.docker import connect, remove


def main(lab: str) -> None:
    """Wait for the end of the lab called `lab`, then remove it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    remove(connect(), lab)


if __name__ == "__main__":
    main(sys.argv[1])
