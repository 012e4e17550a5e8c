"""Ctrl-C while a command is still being imported."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

INTERRUPTED = 130
"""The exit code after Ctrl-C, as a shell has it: 128 + SIGINT."""


@contextlib.contextmanager
def quiet_interrupts() -> Iterator[None]:
    """SIGINT ends the process at once and without a traceback, while there is nothing to clean up yet.

    Whoever ignores it (what a script starts in the background) or handles it otherwise goes on doing so.
    """
    # Only the main thread may set handlers; elsewhere SIGINT is none of the caller's business.
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield
        return
    signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)  # An exception may come up in code that swallows or reports it, such as a finalizer.
