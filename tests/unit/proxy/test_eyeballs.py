import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.eyeballs import ATTEMPT_DELAY_SECONDS, Schedule, interleave


@pytest.mark.parametrize(
    ("given_order", "tried"),
    [
        ("", ""),
        ("6a", "6a"),
        ("6a 6b 4a 4b", "6a 4a 6b 4b"),
        ("4a 6a 6b 6c", "4a 6a 6b 6c"),
        ("6a 6b 6c 4a", "6a 4a 6b 6c"),
        ("4a 4b 4c 6a 6b", "4a 6a 4b 6b 4c"),
    ],
)
def test_families_take_turns(given_order: str, tried: str) -> None:
    addresses = [(one[0], one) for one in given_order.split()]
    assert " ".join(one for _, one in interleave(addresses)) == tried


@given(st.lists(st.tuples(st.sampled_from("46"), st.integers())))
def test_nothing_is_lost_and_a_family_keeps_its_order(addresses: list[tuple[str, int]]) -> None:
    tried = interleave(addresses)
    for family in "46":
        assert [one for one in tried if one[0] == family] == [one for one in addresses if one[0] == family]


def test_one_more_attempt_each_delay() -> None:
    schedule = Schedule(3, 10.0)
    assert schedule.due == 10.0
    assert schedule.begin(10.0) == 0
    assert schedule.due == 10.0 + ATTEMPT_DELAY_SECONDS
    assert schedule.begin(11.0) == 1
    assert schedule.due == 11.0 + ATTEMPT_DELAY_SECONDS
    assert schedule.begin(12.0) == 2
    assert schedule.due is None


def test_a_failure_starts_the_next_one_at_once() -> None:
    schedule = Schedule(2, 10.0)
    schedule.begin(10.0)
    schedule.failed(10.1)
    assert schedule.due == 10.1
    schedule.begin(10.1)
    schedule.failed(10.2)
    assert schedule.due is None


def test_without_addresses_nothing_is_due() -> None:
    assert Schedule(0, 10.0).due is None
