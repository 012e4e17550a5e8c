"""What the peers are: their versions, as they or the system's packages say."""

from __future__ import annotations

import re
import subprocess

from lab.benchmarks.peers import Peer, find

_SECONDS = 10.0
_VERSION = re.compile(r"\d+\.\d+[\w.+~-]*")


def version(peer: Peer) -> str:
    """The peer's version; "" where it cannot be told. Raises nothing."""
    program = find(peer.programs[0])
    if not peer.version or program is None:
        return ""
    command = [program if word == "{}" else word for word in peer.version]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return parse(done.stdout + done.stderr)


def parse(said: str) -> str:
    """The first version number in what a program says of itself."""
    found = _VERSION.search(said)
    return found[0].rstrip(".-") if found else ""
