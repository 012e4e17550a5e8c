"""The conditions that a run waits for, with crafted events and times."""

from __future__ import annotations

from lab.watch import GAP_SECONDS, HOLD_SECONDS, Watch

CLIENT = "192.0.2.10"
STEP = GAP_SECONDS / 4


def watch() -> Watch:
    return Watch(frozenset({CLIENT, "2001:db8:1::10"}))


def talk(watch_: Watch, begin: float, end: float, *, route: str = "direct", first_id: int = 1) -> float:
    """Messages every STEP from `begin` to `end`, each acked at once; returns the last ack's time."""
    id_, t = first_id, begin
    while t <= end:
        watch_.take({"event": "message_queued", "id": id_, "t": t})
        watch_.take({"event": "message_acked", "id": id_, "route": route, "t": t})
        id_, t = id_ + 1, t + STEP
    return t - STEP


def hit(t: float, source: str = CLIENT, destination: str = "203.0.113.10") -> dict[str, object]:
    return {"event": "censor_hit", "t": t, "source_address": source, "destination_address": destination}


def test_healthy_is_the_first_ack() -> None:
    one = watch()
    assert not one.healthy()
    one.take({"event": "message_queued", "id": 1, "t": 0.0})
    assert not one.healthy()
    one.take({"event": "message_acked", "id": 1, "route": "direct", "t": 0.1})
    assert one.healthy()


def test_recovered_needs_a_hit_first() -> None:
    one = watch()
    last = talk(one, 0.0, 10.0)
    assert not one.recovered(0.0, last)
    one.take(hit(4.0))
    assert one.recovered(0.0, last)


def test_a_hit_of_somebody_else_or_of_an_earlier_block_does_not_count() -> None:
    one = watch()
    one.take(hit(1.0))
    one.take(hit(6.0, source="192.0.2.20"))
    last = talk(one, 7.0, 12.0)
    assert not one.recovered(5.0, last)
    one.take(hit(6.5, source="203.0.113.10", destination=CLIENT))
    assert one.recovered(5.0, last)


def test_elsewhere_needs_no_hit_but_another_route() -> None:
    one = watch()
    last = talk(one, 0.0, 10.0)
    assert not one.elsewhere(0.0, last)
    other = talk(one, last + STEP, last + 1 + HOLD_SECONDS, route="proxy1", first_id=1000)
    assert one.elsewhere(last, other)
    assert one.elsewhere(0.0, other)
    assert not one.elsewhere(last + 1.5, other)  # messages that were born before do not count


def test_recovered_after_the_hold_time_and_not_before() -> None:
    one = watch()
    one.take(hit(0.5))
    last = talk(one, 1.0, 1.0 + HOLD_SECONDS - STEP, route="proxy1")
    assert not one.recovered(0.0, last)
    last = talk(one, last + STEP, last + STEP, route="proxy1", first_id=100)
    assert one.recovered(0.0, last)


def test_acks_of_messages_from_before_the_block_are_not_its_recovery() -> None:
    one = watch()
    for id_ in range(20):
        one.take({"event": "message_queued", "id": id_, "t": 0.0})
    one.take(hit(0.5))
    for id_ in range(20):
        one.take({"event": "message_acked", "id": id_, "route": "proxy1", "t": 1.0 + id_ * STEP})
    assert not one.recovered(0.0, 1.0 + 19 * STEP)


def test_a_gap_starts_the_hold_time_again() -> None:
    one = watch()
    one.take(hit(0.0))
    last = talk(one, 0.0, HOLD_SECONDS - STEP)
    begin = last + GAP_SECONDS + 0.01
    last = talk(one, begin, begin + HOLD_SECONDS - STEP, first_id=100)
    assert not one.recovered(0.0, last)
    last = talk(one, last + STEP, last + STEP, first_id=200)
    assert one.recovered(0.0, last)


def test_it_no_longer_holds_when_the_acks_have_stopped() -> None:
    one = watch()
    one.take(hit(0.0))
    last = talk(one, 0.0, 5.0)
    assert one.recovered(0.0, last + GAP_SECONDS)
    assert not one.recovered(0.0, last + GAP_SECONDS + 0.01)


def test_direct_counts_the_direct_path_only() -> None:
    one = watch()
    last = talk(one, 0.0, 10.0, route="proxy1")
    assert not one.direct(0.0, last)
    last = talk(one, 10.0, 10.0 + HOLD_SECONDS, first_id=100)
    assert one.direct(0.0, last)
    assert not one.direct(10.5, last)


def test_a_client_that_is_started_again_begins_on_the_direct_path() -> None:
    one = watch()
    one.take({"event": "route_switched", "old": "direct", "new": "proxy1", "t": 1.0})
    last = talk(one, 2.0, 2.0 + HOLD_SECONDS)
    assert not one.direct(0.0, last)
    one.take({"event": "role_started", "role": "origin", "t": 2.0})
    assert not one.direct(0.0, last)
    one.take({"event": "role_started", "role": "client", "t": 2.0})
    assert one.direct(0.0, last)


def test_direct_counts_messages_born_after_the_unblocking_only() -> None:
    one = watch()
    one.take({"event": "message_queued", "id": 1, "t": 0.0})
    for number in range(20):
        one.take({"event": "message_acked", "id": 1, "route": "direct", "t": 1.0 + number * STEP})
    assert not one.direct(0.5, 1.0 + 19 * STEP)


def test_other_events_change_nothing() -> None:
    one = watch()
    one.take({"event": "queue_length", "length": 3, "t": 1.0})
    one.take({"event": "censor_hit", "t": 1.0})
    assert not one.healthy()
    assert not one.recovered(0.0, 2.0)


async def test_until_a_condition_that_holds_or_never_will() -> None:
    one = watch()
    assert await one.until(lambda: True, 0.0)
    assert not await one.until(lambda: False, 0.0)
