from lab.benchmarks.conformance.outcome import Outcome


def test_outcomes_are_written_as_words() -> None:
    assert list(map(str, Outcome)) == ["pass", "fail", "not offered", "crashed", "not tested"]
