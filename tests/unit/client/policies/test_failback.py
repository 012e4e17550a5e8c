from __future__ import annotations

from client.policies.failback import Failback


def test_so_many_in_a_row() -> None:
    failback = Failback(least=2, most=16, settle_seconds=5.0)
    assert not failback.succeeded()
    failback.failed()
    assert not failback.succeeded()
    assert failback.succeeded()


def test_a_hasty_return_doubles_what_is_needed_up_to_the_most_and_a_lasting_one_forgives() -> None:
    failback = Failback(least=2, most=8, settle_seconds=5.0)
    needed = []
    now = 0.0
    for lasted in (1.0, 1.0, 1.0, 10.0):
        failback.returned(now)
        failback.direct_bad(now + lasted)
        now += 100.0
        needed.append(failback.needed)
    assert needed == [4, 8, 8, 2]


def test_the_first_failure_of_the_direct_path_is_no_failed_return() -> None:
    failback = Failback(least=2, most=8, settle_seconds=5.0)
    failback.direct_bad(0.1)
    assert failback.needed == 2
