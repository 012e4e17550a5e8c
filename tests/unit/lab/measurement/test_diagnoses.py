"""The client's opinion beside the censor's word."""

from __future__ import annotations

from typing import Any

from lab.measurement.diagnoses import Diagnosis, censor_actions, diagnosis_of


def told(t: float, kind: str, confidence: float = 0.6, route: str = "direct") -> dict[str, Any]:
    return {"t": t, "event": "diagnosed", "route": route, "kind": kind, "confidence": confidence}


def test_the_last_opinion_counts_from_when_it_was_formed() -> None:
    events = [
        told(7.0, "reset"),
        {"t": 8.1, "event": "path_bad", "route": "direct", "reason": "ack_overdue"},
        told(8.5, "flow_drop"),
        told(8.6, "proxy_dead", route="proxy1"),
        told(9.0, "frozen"),
        told(9.5, "frozen", 0.9),
        told(11.0, "none", 0.9),
        told(12.5, "reset"),
    ]
    assert diagnosis_of(events, "direct", 8.0, 12.0) == Diagnosis(
        route="direct", kind="frozen", confidence=0.9, seconds=1.0
    )


def test_a_client_that_was_on_a_proxy_learns_of_the_block_by_its_probes() -> None:
    events = [told(8.5, "dns_drop"), told(9.0, "sni_drop")]
    assert diagnosis_of(events, "proxy1", 8.0, 12.0) == Diagnosis(
        route="direct", kind="sni_drop", confidence=0.6, seconds=1.0
    )


def test_the_client_may_be_quicker_than_the_censors_report() -> None:
    found = diagnosis_of([told(7.99, "reset")], "direct", 8.0, 12.0)
    assert found is not None
    assert found.seconds == 0.0


def test_no_opinion() -> None:
    assert diagnosis_of([told(7.0, "reset"), told(8.5, "none")], "direct", 8.0, 12.0) is None


def test_the_truth_is_each_rule_and_action_once() -> None:
    hits = [{"rule": rule, "action": action} for rule, action in (("a", "drop"), ("b", "rst"), ("a", "drop"))]
    assert censor_actions([{"t": 1.0}, *hits]) == ["a: drop", "b: rst"]
