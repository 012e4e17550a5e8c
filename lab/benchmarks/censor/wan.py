"""The program on the host between router and server that delays what it forwards, until standard input ends."""

from __future__ import annotations

import sys

from lab.link import LinkSettings, run_link


def main(delay_seconds: str) -> None:
    """Print which way of delaying it is once packets are delayed."""
    run_link(LinkSettings(delay_seconds=float(delay_seconds)), lambda mode: print(mode, flush=True), stop=0)


if __name__ == "__main__":
    main(sys.argv[1])
