"""Events: what the parts report, and the JSON lines they become.

Every part takes an `Emit`: a callable `emit(event, **fields)`. A part that runs alone writes its events to a file or
nowhere; in a lab each role's events go to the lab process, which puts them into the run's `events.jsonl`.

A line: `{"t": SECONDS, "source": WHO, "event": WHAT, ...the event's own fields}`. A part's `t` is CLOCK_MONOTONIC, in
seconds (`time.monotonic()`), which all processes on one machine share, network namespaces and containers included; the
lab subtracts the run's start. The vocabulary of events is in docs/events.md.
"""

from __future__ import annotations

import time
from typing import Any, BinaryIO, Protocol

import msgspec

_encoder = msgspec.json.Encoder()


class Emit(Protocol):
    """Reports one event. `t` (CLOCK_MONOTONIC seconds) may be among the fields where the moment is known better."""

    def __call__(self, event: str, /, **fields: Any) -> None: ...


def discard(event: str, /, **fields: Any) -> None:
    """The Emit that reports to nobody."""


def encode(source: str, event: str, fields: dict[str, Any]) -> bytes:
    """One event as a line of JSON with its line feed; `t` is now unless it is among `fields`."""
    t = fields.pop("t", None)
    return (
        _encoder.encode({"t": time.monotonic() if t is None else t, "source": source, "event": event} | fields) + b"\n"
    )


class EventWriter:
    """An Emit that writes JSON lines of one source to a binary stream, flushed line by line."""

    def __init__(self, source: str, stream: BinaryIO) -> None:
        self._source = source
        self._stream = stream

    def __call__(self, event: str, /, **fields: Any) -> None:
        self._stream.write(encode(self._source, event, fields))
        self._stream.flush()
