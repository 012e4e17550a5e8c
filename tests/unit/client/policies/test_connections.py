from __future__ import annotations

import pytest

from client.policies import (
    Abort,
    Answered,
    Close,
    Dial,
    DialFailed,
    Ended,
    Established,
    Heard,
    PathBad,
    Ponged,
    ProbeStarted,
    Sent,
    StageReached,
    Use,
)
from client.policies.connections import Connections


def standing() -> Connections:
    held = Connections("direct")
    held.use(held.links[held.dial("direct", 1.0).number])
    held.note(Established(1, 0.2), 1.2)
    return held


def test_connections_are_numbered_and_ordered_by_purpose() -> None:
    held = Connections("direct")
    first, probe, second = held.dial("direct", 1.0), held.probe("proxy1", 2.0), held.dial("proxy2", 3.0)
    assert held.of("candidate") == [first, second]
    assert held.of("probe") == [probe]
    assert held.carrier is None
    assert held.orders.take() == [Dial(1, "direct"), Dial(2, "proxy1"), ProbeStarted(2, "proxy1"), Dial(3, "proxy2")]


def test_the_winner_is_used_and_the_other_candidates_are_given_up() -> None:
    held = Connections("direct")
    first, probe, second = held.dial("direct", 1.0), held.probe("proxy1", 2.0), held.dial("proxy2", 3.0)
    held.orders.take()
    held.use(second)
    assert held.orders.take() == [PathBad("direct", "dial_failed"), Use(3, "proxy2"), Abort(1)]
    assert held.carrier is second
    assert held.path == "proxy2"
    assert first.number not in held.links
    held.close(probe)
    assert held.orders.take() == [Close(2)]
    assert list(held.links) == [3]


def test_a_path_that_was_not_tried_is_not_called_bad() -> None:
    held = Connections("direct")
    held.use(held.dial("proxy1", 1.0))
    assert held.orders.take() == [Dial(1, "proxy1"), Use(1, "proxy1")]
    assert held.path == "proxy1"


def test_stages_are_noted_with_their_times() -> None:
    held = Connections("direct")
    held.dial("direct", 1.0)
    held.note(StageReached(1, "tcp"), 1.1)
    assert held.note(StageReached(1, "tls"), 1.2).stages == {"tcp": 1.1, "tls": 1.2}


def test_messages_and_their_answers_are_evidence() -> None:
    held = standing()
    link = held.links[1]
    assert link.established_at == link.shown.heard_at == 1.2
    held.note(Sent(1, 7), 2.0)
    assert link.shown.silent_since == 2.0
    held.note(Answered(1, 7), 2.5)
    assert link.shown.silent_since is None
    assert link.shown.rtt.smoothed == 0.5
    for time, sign in [(3.0, Heard(1)), (4.0, Ponged(1, 1))]:
        assert held.note(sign, time).shown.heard_at == time


def test_the_round_trip_time_is_the_routes() -> None:
    held = standing()
    held.note(Sent(1, 7), 2.0)
    held.note(Answered(1, 7), 2.5)
    held.dial("direct", 3.0)
    assert held.note(Established(2, 0.1), 3.1).shown.rtt.smoothed == 0.5


@pytest.mark.parametrize("end", [DialFailed(1, "tcp", "connection_refused"), Ended(1, "connection_reset")])
def test_what_has_ended_is_held_no_more(end: DialFailed | Ended) -> None:
    held = standing()
    assert held.note(end, 2.0).number == 1
    assert not held.links


def test_a_connection_that_does_not_stand_has_shown_nothing() -> None:
    link = Connections("direct").dial("direct", 1.0)
    with pytest.raises(AssertionError, match="connection 1 is not established"):
        _ = link.shown
