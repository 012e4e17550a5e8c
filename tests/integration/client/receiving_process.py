"""An application that has each message exactly once, as a process that tests kill: SETTINGS.json LOG.

Each line of LOG is a delivery's position and its body, in one write. After a death the last line says what was taken.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import msgspec

from client.delivery import Delivery
from client.receiver import run_receiver
from client.settings import ReceiverSettings
from sidedoor.events import discard


def main() -> None:
    """Receive until killed."""
    settings = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=ReceiverSettings)
    log = os.open(sys.argv[2], os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    lines = Path(sys.argv[2]).read_bytes().splitlines()

    def show(delivery: Delivery) -> None:
        os.write(log, b"%d %s\n" % (delivery.position, delivery.body))

    asyncio.run(run_receiver(settings, discard, show=show, taken=int(lines[-1].split()[0]) if lines else 0))


if __name__ == "__main__":
    main()
