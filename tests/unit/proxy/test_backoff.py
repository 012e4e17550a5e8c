import pytest

from proxy import backoff
from proxy.backoff import Backoff, place_of

SOURCE = "192.0.2.1"


def failures(number: int, *, now: float = 1000.0) -> Backoff:
    table = Backoff()
    for _ in range(number):
        table.failed(SOURCE, now)
    return table


@pytest.mark.parametrize(
    ("number", "pause"), [(0, 0), (1, 0), (5, 0), (6, 1), (7, 2), (8, 4), (14, 256), (15, 300), (16, 300), (5000, 300)]
)
def test_pauses_double_from_the_sixth_failure_on(number: int, pause: float) -> None:
    assert failures(number).refused_until(SOURCE, 1000.0) == (1000.0 + pause if pause else 0.0)


def test_a_pause_ends() -> None:
    table = failures(6)
    assert table.refused_until(SOURCE, 1000.9) == 1001.0
    assert table.refused_until(SOURCE, 1001.0) == 0.0
    table.failed(SOURCE, 1001.0)
    assert table.refused_until(SOURCE, 1001.0) == 1003.0


def test_a_success_clears() -> None:
    table = failures(9)
    table.succeeded(SOURCE)
    table.succeeded("192.0.2.2")  # never heard of
    table.failed(SOURCE, 1001.0)
    assert table.refused_until(SOURCE, 1001.0) == 0.0


def test_failures_are_forgotten() -> None:
    table = failures(20)
    table.failed(SOURCE, 1900.0)
    assert table.refused_until(SOURCE, 1900.0) == 2200.0
    table.failed(SOURCE, 2800.1)
    assert table.refused_until(SOURCE, 2800.1) == 0.0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8:0:0:ffff::1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("no address", "no address", True),
        ("no address", "another", False),
    ],
)
def test_what_counts_as_one_source(one: str, other: str, same: bool) -> None:
    assert (place_of(one) == place_of(other)) is same
    table = Backoff()
    for _ in range(6):
        table.failed(one, 0.0)
    assert bool(table.refused_until(other, 0.0)) is same


def test_the_table_is_bounded_and_forgets_the_oldest_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "SOURCES_MOST", 3)
    table = failures(6, now=0.0)
    table.failed("192.0.2.2", 0.0)
    table.failed("192.0.2.3", 0.0)
    table.failed(SOURCE, 0.0)
    table.failed("192.0.2.4", 0.0)  # in place of 192.0.2.2
    assert len(table) == 3
    assert table.refused_until(SOURCE, 0.0)
    for number in range(5, 8):
        table.failed(f"192.0.2.{number}", 0.0)
    assert len(table) == 3
    assert not table.refused_until(SOURCE, 0.0)
