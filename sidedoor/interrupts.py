"""Ctrl-C while a command is still being imported. Before this module is there (some 20 ms) Python itself starts."""

from __future__ import annotations

import os
import signal  # and no more: until SIGINT has its handler, Ctrl-C is a traceback

INTERRUPTED = 130
"""The exit code after Ctrl-C, as a shell has it: 128 + SIGINT."""


class QuietInterrupts:
    """A context in which SIGINT ends the process at once and without a traceback: there is nothing to clean up yet.

    Whoever ignores it (what a script starts in the background) or handles it otherwise goes on doing so, and so does
    another thread than the main one, which may set no handler.
    """

    def __init__(self) -> None:
        self._set = False

    def __enter__(self) -> None:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            try:
                signal.signal(signal.SIGINT, _end)
                self._set = True
            except ValueError:
                pass

    def __exit__(self, *_: object) -> None:
        if self._set:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, frame: object) -> None:
    os._exit(INTERRUPTED)  # An exception may come up in code that swallows or reports it, such as a finalizer.
