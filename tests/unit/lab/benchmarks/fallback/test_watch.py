"""How a client is doing, told from its events."""

from __future__ import annotations

from typing import Any

from lab.benchmarks.fallback.watch import ArmWatch

ADDRESS = "192.0.2.101"


def event(t: float, name: str, **fields: Any) -> dict[str, Any]:
    return {"t": t, "source": "client1", "event": name} | fields


def talk(watch: ArmWatch, start: float, end: float, *, first_id: int, step: float = 0.1) -> None:
    """A message each step, acknowledged 40 ms later."""
    number = 0
    while start + number * step < end:
        t = start + number * step
        watch.take(event(t, "message_queued", id=first_id + number, bytes=1000))
        watch.take(event(t + 0.04, "message_acked", id=first_id + number, route=watch.route, latency_seconds=0.04))
        number += 1


def watch(rules: frozenset[str] | None = frozenset({"addresses"})) -> ArmWatch:
    return ArmWatch(frozenset({ADDRESS}), rules)


def test_a_hit_counts_if_it_is_this_client_s_and_the_block_s() -> None:
    ours = {"rule": "addresses", "source_address": ADDRESS, "destination_address": "203.0.113.10"}
    answer = {"rule": "addresses", "source_address": "203.0.113.10", "destination_address": ADDRESS}
    assert watch().is_hit(ours)
    assert watch().is_hit(answer)
    assert not watch().is_hit(ours | {"source_address": "192.0.2.102"})
    assert not watch().is_hit(ours | {"rule": "before"})
    assert watch(None).is_hit(ours | {"rule": "before"})


def test_a_hit_from_before_its_first_message_is_of_another_client() -> None:
    one, hit = watch(), {"rule": "addresses", "source_address": "203.0.113.10", "destination_address": ADDRESS}
    assert not one.is_own(hit | {"t": 3.0}), "nobody knows yet"
    talk(one, 3.0, 4.0, first_id=1)
    assert [t for t in (2.0, 2.9, 3.0, 5.0) if one.is_own(hit | {"t": t})] == [3.0, 5.0]


def test_the_first_hit_is_t0() -> None:
    one = watch()
    one.hit(3.0)
    one.hit(3.1)
    assert one.t0 == 3.0


def test_well_after_acks_for_so_long_without_a_pause() -> None:
    one = watch()
    assert not one.well(0.0, 1.5, proxied=False)
    talk(one, 0.0, 1.0, first_id=1)
    assert not one.well(1.0, 1.5, proxied=False)
    talk(one, 1.0, 2.0, first_id=101)
    assert one.well(2.0, 1.5, proxied=False)
    assert not one.well(3.5, 1.5, proxied=False)  # nothing for more than a second
    talk(one, 3.5, 4.0, first_id=201)
    assert not one.well(4.0, 1.5, proxied=False)


def test_a_new_route_has_shown_nothing_yet() -> None:
    one = watch()
    talk(one, 0.0, 2.0, first_id=1)
    assert not one.well(2.0, 1.5, proxied=True)
    one.take(event(2.0, "route_switched", old="direct", new="proxy1"))
    assert not one.well(2.0, 1.5, proxied=False)
    talk(one, 2.0, 4.0, first_id=101)
    assert one.well(4.0, 1.5, proxied=True)
    one.take(event(4.0, "failed_back", old="proxy1", new="direct"))
    assert one.route == "direct"


def test_recovered_by_messages_born_after_t0_for_the_hold_time() -> None:
    one = watch()
    talk(one, 0.0, 2.0, first_id=1)
    one.take(event(2.0, "message_queued", id=50, bytes=1000))
    one.hit(2.01)
    assert not one.recovered(2.1)
    one.take(event(2.5, "message_acked", id=50, route="direct", latency_seconds=0.5))  # born before
    talk(one, 3.0, 4.0, first_id=101)
    assert not one.recovered(4.0)
    talk(one, 4.0, 5.2, first_id=201)
    assert one.recovered(5.2)
    assert not one.recovered(6.5)


def test_sure_what_was_wrong_or_given_the_time_to_be() -> None:
    one = watch()
    assert not one.diagnosed(1.0)
    one.take(event(0.5, "route_switched", old="direct", new="proxy1"))
    one.hit(1.0)
    one.take(event(1.2, "route_switched", old="proxy1", new="proxy2"))
    one.take(event(1.3, "diagnosed", route="proxy2", kind="proxy_dead", confidence=0.9))
    one.take(event(1.4, "diagnosed", route="proxy1", kind="proxy_dead", confidence=0.6))
    assert not one.diagnosed(8.9)
    assert one.diagnosed(9.0)
    one.take(event(1.5, "diagnosed", route="proxy1", kind="proxy_upstream_dead", confidence=0.8))
    assert one.diagnosed(1.5)


def test_a_pause_begins_the_hold_time_anew() -> None:
    one = watch()
    one.hit(1.0)
    talk(one, 1.0, 2.5, first_id=1)
    talk(one, 4.0, 5.5, first_id=101)
    assert not one.recovered(5.5)
    talk(one, 5.5, 6.5, first_id=201)
    assert one.recovered(6.5)


def test_an_ack_of_a_message_that_nobody_saw_queued_is_none_of_these() -> None:
    one = watch()
    one.hit(1.0)
    one.take(event(1.1, "message_acked", id=9, route="direct", latency_seconds=0.1))
    one.take(event(1.2, "timer_late", seconds=0.02))
    assert not one.recovered(1.2)
