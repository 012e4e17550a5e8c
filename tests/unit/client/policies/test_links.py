from __future__ import annotations

import pytest

from client.policies.evidence import Evidence
from client.policies.links import (
    LOSS_SECONDS,
    LOST_QUERY_SECONDS,
    STAGE_FACTOR,
    STAGE_MARGIN_SECONDS,
    UNKNOWN_STAGE_SECONDS,
    Link,
)
from client.policies.rtt import RttEstimate


def test_a_connection_that_does_not_stand_has_shown_nothing() -> None:
    link = Link(7, "direct", "candidate", 1.0)
    with pytest.raises(AssertionError, match="connection 7 is not established"):
        _ = link.established
    link.evidence = Evidence(RttEstimate(), heard_at=2.0)
    assert link.established is link.evidence


def test_a_first_stage_that_takes_too_long_is_stuck() -> None:
    assert Link(1, "direct", "candidate", 5.0).stuck_at == 5.0 + UNKNOWN_STAGE_SECONDS


def test_later_stages_are_measured_by_the_slowest_before_them() -> None:
    link = Link(1, "direct", "candidate", 0.0)
    link.reached("tls", 0.2)
    assert link.stuck_at == pytest.approx(0.2 + STAGE_FACTOR * 0.2 + STAGE_MARGIN_SECONDS)
    link.reached("tls", 0.25)
    assert link.stuck_at == pytest.approx(0.25 + STAGE_FACTOR * 0.2 + STAGE_MARGIN_SECONDS)


def test_the_slowest_stage_that_was_passed_is_known() -> None:
    link = Link(1, "direct", "candidate", 1.0)
    assert link.slowest_stage_seconds is None
    for time in (1.04, 1.12, 1.15):
        link.reached("tls", time)
    assert link.slowest_stage_seconds == pytest.approx(0.08)


def test_a_stage_that_takes_no_time_says_nothing() -> None:
    link = Link(1, "direct", "candidate", 0.0)
    link.reached("tls", 0.0005)
    assert link.slowest_stage_seconds is None
    assert link.stuck_at == pytest.approx(0.0005 + UNKNOWN_STAGE_SECONDS)


@pytest.mark.parametrize(
    ("stage", "addresses", "seconds"),
    [
        ("dns", 0, LOST_QUERY_SECONDS),
        ("tcp", 1, LOSS_SECONDS),
        ("tcp", 2, 0.0),
        ("tls", 0, LOSS_SECONDS),
    ],
)
def test_a_stuck_dial_may_have_lost_a_segment_but_hardly_two_at_once(
    stage: str, addresses: int, seconds: float
) -> None:
    link = Link(1, "direct", "candidate", 5.0)
    link.reached(stage, 5.1, addresses)
    assert link.lost_until == 5.0 + seconds
