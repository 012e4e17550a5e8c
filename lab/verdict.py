"""Whether a run showed what its scenario expects. Pure: results in, failures in words out."""

from __future__ import annotations

from collections.abc import Iterator

from lab.measurement.summary import Run
from lab.scenario import Expectations


def failures(expect: Expectations, run: Run, *, switches: int) -> Iterator[str]:
    """What did not hold, each as a line for a person. `switches`: how often the sender changed its route.

    Nothing is expected of a run that was cut short: only its problems are told.
    """
    yield from run.problems
    if run.outcome != "completed":
        return
    for block in run.blocks:
        if expect.recovered and not block.recovered:
            yield f"block {block.name}: not recovered within {_seconds(block.censored_at_seconds)}"
        if expect.recovered is False and block.recovered:
            yield f"block {block.name}: recovered, expected that it would not"
        failed_back = block.failback_seconds is not None
        if expect.failed_back and not failed_back:
            waited = _seconds(block.failback_censored_at_seconds)
            yield f"block {block.name}: not back on the direct path within {waited}"
        if expect.failed_back is False and failed_back:
            yield f"block {block.name}: back on the direct path, expected that it would not be"
        if expect.hits_at_least is not None and block.hits < expect.hits_at_least:
            yield f"block {block.name}: {block.hits} packets hit, expected at least {expect.hits_at_least}"
    counts = (
        ("lost", run.messages.lost, expect.lost),
        ("duplicated_application", run.messages.duplicated_application, expect.duplicated_application),
        ("switches", switches, expect.switches),
        ("leaks", run.leaks.packets, expect.leaks),
        ("plaintext", run.leaks.plaintext, expect.plaintext),
    )
    for name, found, expected in counts:
        if expected is not None and found != expected:
            yield f"{name}: {'unknown' if found is None else found}, expected {expected}"
    if expect.messages_at_least is not None and run.messages.sent < expect.messages_at_least:
        yield f"messages sent: {run.messages.sent}, expected at least {expect.messages_at_least}"


def _seconds(value: float | None) -> str:
    return "the time given" if value is None else f"{value:.1f} s"
