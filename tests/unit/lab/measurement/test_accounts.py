"""A run's accounts, out of events whose sums are known."""

from __future__ import annotations

import pytest

from lab.measurement.accounts import Collateral, Latency, Messages, count_collateral, count_cost, count_messages
from tests.unit.lab.measurement.story import Story, run_events


def test_nothing_happened() -> None:
    assert count_messages([]) == Messages()
    assert count_collateral([]) == Collateral()
    assert count_cost([]).connections_opened == 0


def test_a_correct_run_loses_and_repeats_nothing() -> None:
    messages = count_messages(run_events())
    assert (messages.sent, messages.delivered, messages.lost) == (779, 779, 0)
    assert (messages.duplicated_transport, messages.duplicated_application, messages.reordered) == (0, 0, 0)
    assert messages.latency.p50 == pytest.approx(0.01)
    # Rank 772 of 779, the 8th longest: 0.82, 0.77 ... 0.57 s waited in the second block, then 0.52 s in either.
    assert messages.latency.p99 == pytest.approx(0.52)


def test_each_fate_is_counted() -> None:
    story = Story()
    for id_ in (1, 2, 3):
        story.add(1.0, "client", "message_queued", id=id_, bytes=10)
    story.add(1.0, "client", "queue_length", length=2)
    story.add(1.0, "client", "queue_length", length=3)
    story.add(1.1, "receiver", "message_delivered", id=1, bytes=10, reordered=False)
    story.add(1.2, "receiver", "message_delivered", id=2, bytes=10, reordered=True)
    story.add(1.3, "receiver", "message_delivered", id=2, bytes=10, reordered=False)
    story.add(1.3, "receiver", "message_shown_twice", id=1)
    story.add(1.3, "receiver", "message_duplicate", id=1)
    story.add(1.3, "origin", "message_duplicate", id=1)
    assert count_messages(story.events) == Messages(
        sent=3,
        delivered=2,
        lost=1,
        duplicated_transport=2,
        duplicated_application=2,
        reordered=1,
        queue_peak=3,
        latency=Latency(),
    )


def test_cost_knows_a_switch_without_a_block() -> None:
    events = run_events()
    assert count_cost(events).false_switches == 0
    story = Story()
    story.add(20.0, "client", "route_switched", old="direct", new="proxy1")
    story.add(0.05, "client", "route_switched", old=None, new="direct")  # the first choice is no switch
    story.add(3.0, "client", "route_failed", route="proxy2", stage="tcp", failure="generic_timeout_error")
    cost = count_cost(events + story.events, probe_bytes=77)
    assert (cost.false_switches, cost.connections_opened, cost.proxies_revealed, cost.probe_bytes) == (1, 2, 2, 77)


def test_a_bystander_is_slowed_against_its_own_sites_usual_time() -> None:
    story = Story()
    story.block("domain", 10.0, dead=0.5, lifted=14.0, back=15.0, ended=16.0)
    times = [(1.0, "a", 0.05), (2.0, "a", 0.06), (11.0, "a", 0.2), (11.0, "b", 9.0), (3.0, "c", 1.0), (11.0, "c", 1.9)]
    for t, site, seconds in times:
        story.add(t, "bystander", "bystander_flow", site=site, ok=True, failure=None, seconds=seconds)
    story.add(12.0, "bystander", "bystander_flow", site="a", ok=False, failure="connection_reset", seconds=0.01)
    # b was never seen outside of the block: nobody can say what is usual there.
    assert count_collateral(story.events) == Collateral(tried=7, broken=1, slowed=1)


def test_ids_are_each_sessions_own() -> None:
    story = Story()
    for session in (7, 8):
        story.add(1.0, "client", "message_queued", session=session, id=1, bytes=10)
        story.add(1.1, "receiver", "message_delivered", session=session, id=1, bytes=10, reordered=False)
    story.add(1.2, "client", "message_queued", session=8, id=2, bytes=10)
    messages = count_messages(story.events)
    assert (messages.sent, messages.delivered, messages.lost, messages.duplicated_application) == (3, 2, 1, 0)
