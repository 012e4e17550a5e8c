import json

import pytest

from lab.benchmarks import iperf
from lab.benchmarks.processes import BenchError


def test_what_the_receiving_end_counted() -> None:
    report = {"end": {"sum_sent": {}, "sum_received": {"bytes": 4000, "bits_per_second": 16000.0}}}
    assert iperf.parse(json.dumps(report).encode()) == (2000.0, 4000)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (b'{"error": "unable to connect"}', "unable to connect"),
        (b"[proxychains] can't load", "no result: .*can't load"),
        (b"{}", "no result"),
        (b'{"end": {"sum_received": {"bytes": 0, "bits_per_second": 0}}}', "no byte"),
    ],
)
def test_no_result(output: bytes, words: str) -> None:
    with pytest.raises(BenchError, match=words):
        iperf.parse(output)


def test_missing_programs_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iperf, "find", lambda program: None)
    assert iperf.missing() == "iperf3 and proxychains4 not found (apt-get install iperf3 proxychains4)"
