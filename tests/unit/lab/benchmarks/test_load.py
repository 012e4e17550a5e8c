"""The Python generator prints what the C one does."""

import json

from lab.benchmarks.generator import parse
from lab.benchmarks.load import Counts


def test_the_end_line() -> None:
    counts = Counts(bytes=1, messages=100, latencies=[n / 1000 for n in range(100)])
    counted = parse(counts.line(2.0, 7).encode())
    assert (counted.seconds, counted.bytes, counted.messages, counted.standing) == (2.0, 1, 100, 7)
    assert (counted.p50_seconds, counted.p99_seconds, counted.longest_seconds) == (0.05, 0.099, 0.099)


def test_without_messages_there_are_no_latencies() -> None:
    assert json.loads(Counts().line(1.0, 0))["p99_seconds"] == 0
