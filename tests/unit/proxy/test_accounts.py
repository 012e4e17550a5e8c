from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from proxy.accounts import GRANT_BYTES, Account
from proxy.ledger import DOWN, UP, Ledger
from proxy.relay.bucket import BURST_SECONDS, WAIT_SECONDS
from proxy.relay.flow import Meter
from proxy.settings import User

NOW = 1000.0
PLACES = 2


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    made = Ledger(PLACES)
    yield made
    made.close()


def account(ledger: Ledger, place: int = 0, **limits: float) -> Account:
    """Anna's, in the worker at `place`."""
    user = User(password="", **limits)  # type: ignore[arg-type]
    return Account("anna", user, ledger, ledger.slot_of("anna"), place)


def meters(of: Account) -> tuple[Meter, Meter]:
    found = of.meters()
    assert found is not None
    return found


def test_flows_are_counted_over_all_workers(ledger: Ledger) -> None:
    here, there = account(ledger, 0, max_flows=3), account(ledger, 1, max_flows=3)
    assert [one.enter() for one in (here, there, here)] == [None] * 3
    assert [one.enter() for one in (here, there)] == ["3 flows are open, and that is the limit"] * 2
    there.leave()
    assert here.enter() is None
    assert there.enter() is not None


def test_without_a_limit_flows_are_counted_too(ledger: Ledger) -> None:
    anna = account(ledger)
    for _ in range(5):
        assert anna.enter() is None
    assert ledger.flows(anna.slot) == 5


def test_another_limit_holds_for_flows_that_were_open_before(ledger: Ledger) -> None:
    """As after a reload: another account, the same slot."""
    before, after = account(ledger, max_flows=3), account(ledger, max_flows=1)
    assert before.enter() is None
    assert after.enter() == "1 flows are open, and that is the limit"
    before.leave()
    assert after.enter() is None


def test_only_flows_have_a_limit_nothing_is_metered(ledger: Ledger) -> None:
    assert account(ledger, max_flows=3).meters() is None
    assert account(ledger, rate_bytes_per_second=1.0).meters() is not None
    assert account(ledger, quota_bytes=1).meters() is not None


def test_a_rate_is_shared_by_all_flows_and_directions_have_one_each(ledger: Ledger) -> None:
    rate = 1_000_000.0
    (up, down), (other, _) = (meters(account(ledger, place, rate_bytes_per_second=rate)) for place in range(PLACES))
    burst = int(rate * BURST_SECONDS)
    assert up.available(NOW) == burst
    up.spend(burst - 10)
    assert other.available(NOW) == 10, "what was not spent is there for others"
    other.spend(10)
    assert up.available(NOW) == 0
    assert up.wait_seconds() == WAIT_SECONDS
    assert down.available(NOW) == burst
    down.spend(0)
    assert other.available(NOW + 0.05) == pytest.approx(rate * 0.05, abs=1)


def test_a_slow_rate_says_when_its_next_byte_may_go(ledger: Ledger) -> None:
    up, _ = meters(account(ledger, rate_bytes_per_second=2.0))
    assert up.available(NOW) == 1
    up.spend(1)
    assert up.available(NOW) == 0
    assert up.wait_seconds() == 0.5


def test_a_quota_is_used_to_its_last_byte_by_both_directions(ledger: Ledger) -> None:
    anna = account(ledger, quota_bytes=GRANT_BYTES + 100)
    up, down = meters(anna)
    assert up.available(NOW) == GRANT_BYTES
    up.spend(GRANT_BYTES)
    assert not anna.used_up()
    assert down.available(NOW) == 100
    down.spend(99)
    assert anna.enter() is None
    anna.leave()
    assert up.available(NOW) == 1
    up.spend(1)
    assert anna.used_up()
    assert anna.enter() == f"the quota of {GRANT_BYTES + 100} bytes is used up"
    assert ledger.flows(anna.slot) == 0


def test_a_flow_ends_by_its_quota_when_it_was_asked_for_twice(ledger: Ledger) -> None:
    """The first time what is missing may be another flow's reservation."""
    up, down = meters(account(ledger, quota_bytes=100))
    assert up.available(NOW) == 100
    assert down.available(NOW) == 0
    assert down.wait_seconds() == WAIT_SECONDS
    up.spend(40)
    assert down.available(NOW) == 60
    down.spend(60)
    assert down.available(NOW) == 0
    assert down.wait_seconds() == WAIT_SECONDS
    assert down.available(NOW) == 0
    assert down.wait_seconds() is None
    assert (up.available(NOW), up.wait_seconds(), up.available(NOW), up.wait_seconds()) == (0, WAIT_SECONDS, 0, None)


def test_a_quota_that_begins_anew_lets_flows_go_on(ledger: Ledger) -> None:
    anna = account(ledger, quota_bytes=100, quota_seconds=1e-9)
    up, _ = meters(anna)
    assert up.available(NOW) == 100
    up.spend(100)
    before = time.time()
    while time.time() == before:
        pass
    assert not anna.used_up()
    assert up.available(NOW) == 100


def test_a_rate_within_a_quota(ledger: Ledger) -> None:
    """What the rate holds back is no reason to end."""
    up, _ = meters(account(ledger, rate_bytes_per_second=1000.0, quota_bytes=1000))
    assert up.available(NOW) == 100
    up.spend(100)
    assert up.available(NOW) == 0
    assert up.wait_seconds() == WAIT_SECONDS
    assert up.available(NOW + 0.0625) == 62
    up.spend(62)
    assert ledger.used(ledger.slot_of("anna")) == 162


def test_directions_of_the_ledger_are_those_of_the_meters(ledger: Ledger) -> None:
    up, down = meters(account(ledger, rate_bytes_per_second=1000.0))
    slot = ledger.slot_of("anna")
    up.spend(up.available(NOW))
    assert ledger.take(slot, UP, 10, NOW, 1000.0, 0, 1.0) == 0
    assert ledger.take(slot, DOWN, 10, NOW, 1000.0, 0, 1.0) == 10
    assert down.available(NOW) == 90
