"""The process of one condition: `python -m lab.benchmarks.fallback.launch ENTRY CLIENTS JSON` starts its lab.

A process of its own, since a lab is asked to end by signals: SIGTERM, and it ends in order.
"""

from __future__ import annotations

import json
import sys

from lab import instance
from lab.topology import Crowd
from sidedoor.settings import UsageError


def command(entry: str, clients: int, order: dict[str, object]) -> list[str]:
    """What to run. entry: "module:function" of the lab; order: its arguments, as plain data."""
    return [sys.executable, "-m", __name__, entry, str(clients), json.dumps(order)]


def main(entry: str, clients: str, order: str) -> int:
    """The lab's exit status; 2 where the machine cannot."""
    try:
        return instance.run_crowd(entry, json.loads(order), Crowd(clients=int(clients)))
    except UsageError as error:
        print(f"sidedoor: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
