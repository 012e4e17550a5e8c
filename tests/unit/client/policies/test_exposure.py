from __future__ import annotations

from client.policies import Recollection
from client.policies.exposure import FAILED_SECONDS, Exposure


def exposure() -> Exposure:
    return Exposure(("a", "b", "c"))


def test_at_first_the_order_is_that_of_preference() -> None:
    assert exposure().order(0.0) == ["a", "b", "c"]
    assert exposure().order(0.0, without=["a"]) == ["b", "c"]


def test_what_was_shown_comes_before_what_was_not() -> None:
    seen = exposure()
    seen.dialed("c")
    seen.dialed("c")
    assert seen.order(0.0) == ["c", "a", "b"]


def test_of_those_shown_the_one_that_worked_last_comes_first() -> None:
    seen = exposure()
    for proxy in ("a", "b", "c"):
        seen.dialed(proxy)
    seen.worked("b")
    seen.worked("c")
    assert seen.order(0.0) == ["c", "b", "a"]


def test_what_failed_lately_comes_last_and_the_longest_ago_first() -> None:
    seen = exposure()
    seen.failed("a", 1.0)
    seen.failed("b", 2.0)
    assert seen.order(3.0) == ["c", "a", "b"]
    assert seen.order(1.0 + FAILED_SECONDS) == ["a", "c", "b"]
    seen.worked("b")
    assert seen.order(3.0) == ["b", "c", "a"]


def test_routes_without_a_proxy_are_none_of_its_business() -> None:
    seen = exposure()
    seen.dialed("direct")
    seen.worked("direct")
    seen.failed("direct", 0.0)
    assert seen == exposure()


def test_what_is_remembered_of_this_network_counts_and_what_was_seen_elsewhere_does_not() -> None:
    seen = exposure()
    seen.dialed("a")
    seen.failed("b", 4.0)
    seen.recall(Recollection({"direct": 0.1, "c": 0.1}, frozenset({"a", "direct"})), 5.0)
    assert seen.order(5.0) == ["c", "b", "a"]
