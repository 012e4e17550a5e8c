"""The times of a block, out of events whose times are known."""

from __future__ import annotations

from typing import Any

import pytest

from lab.measurement.episodes import Block, Goodput, blocked_intervals, measure_blocks
from tests.unit.lab.measurement.story import CLIENT, MONOTONIC, Story, run_events


def measure(events: list[dict[str, Any]]) -> list[Block]:
    return measure_blocks(events, [CLIENT], monotonic_at_start=MONOTONIC)


def without(events: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] not in names]


def before(events: list[dict[str, Any]], t: float) -> list[dict[str, Any]]:
    return [event for event in events if event["t"] < t]


def test_both_blocks_with_all_their_times() -> None:
    domain, address = measure(run_events())
    assert (domain.name, domain.t0, domain.hits, domain.recovered) == ("domain", 8.002, 2, True)
    assert domain.t0_rule == pytest.approx((7.999, 8.0))
    # Marked bad at 8.45, on the proxy at 8.5, acks 20 ms after it; shown until 7.955, again from 8.51.
    assert domain.ttd_seconds == pytest.approx(0.448)
    assert domain.tts_seconds == pytest.approx(0.498)
    assert domain.ttr_seconds == pytest.approx(0.518)
    assert domain.outage_seconds == pytest.approx(0.555)
    assert domain.failback_seconds == pytest.approx(1.01)
    assert domain.censored_at_seconds is None
    assert domain.failback_censored_at_seconds is None
    assert (address.t0, address.ttr_seconds) == (24.002, pytest.approx(0.818))


def test_the_clients_opinion_stands_beside_what_the_censor_did() -> None:
    events = run_events()
    told = {"source": "client", "event": "diagnosed", "route": "direct"}
    events += [told | {"t": 9.0, "kind": "sni_drop", "confidence": 0.6}]
    events += [told | {"t": 17.5, "kind": "reset", "confidence": 0.9}]  # after the unblocking
    domain, address = measure_blocks(events, [CLIENT], monotonic_at_start=MONOTONIC)
    assert (domain.censor_actions, address.diagnosis) == (["domain: drop"], None)
    assert domain.diagnosis is not None
    assert domain.diagnosis.kind == "sni_drop"
    assert domain.diagnosis.seconds == pytest.approx(9.0 - 8.002)


def test_goodput_is_100_bytes_each_50_ms() -> None:
    goodput = measure(run_events())[0].goodput_bytes_per_second
    assert goodput.before == pytest.approx(2000, rel=0.01)
    assert goodput.during == pytest.approx(2000, rel=0.01)
    assert goodput.after == pytest.approx(2000, rel=0.01)


def test_the_order_of_the_lines_does_not_matter() -> None:
    assert measure(run_events()[::-1]) == measure(run_events())


def test_no_episode_no_block() -> None:
    assert measure([]) == []
    assert blocked_intervals([]) == []


def test_a_hit_on_somebody_else_is_no_t0() -> None:
    events = [dict(event) for event in run_events()]
    for event in events:
        if event["event"] == "censor_hit":
            event["source_address"] = "192.0.2.20"
    domain = measure(events)[0]
    assert (domain.t0, domain.hits, domain.recovered, domain.ttr_seconds) == (None, 0, False, None)
    assert domain.t0_rule is not None


def test_a_hit_on_a_packet_to_the_client_counts() -> None:
    events = [dict(event) for event in run_events()]
    for event in events:
        if event["event"] == "censor_hit":
            event["source_address"], event["destination_address"] = "203.0.113.10", CLIENT
    assert measure(events)[0].t0 == 8.002


def test_no_bracket_without_the_rules_own_events() -> None:
    assert measure(without(run_events(), "rule_enforced"))[0].t0_rule is None


def test_the_block_counts_as_lifted_when_the_scenario_says_so_if_no_rule_does() -> None:
    domain = measure(without(run_events(), "rule_lifted"))[0]
    assert domain.failback_seconds == pytest.approx(1.009)


def test_a_run_that_ends_during_the_block_is_censored_there() -> None:
    events = before(without(run_events(), "route_switched"), 8.4)
    (domain,) = measure(events)
    last = events[-1]["t"]
    assert not domain.recovered
    assert (domain.ttd_seconds, domain.tts_seconds, domain.ttr_seconds, domain.outage_seconds) == (None,) * 4
    assert domain.censored_at_seconds == pytest.approx(last - 8.002)
    assert (domain.failback_seconds, domain.failback_censored_at_seconds) == (None, None)
    assert domain.goodput_bytes_per_second.after is None


def test_what_comes_back_after_the_unblocking_is_no_recovery() -> None:
    story = Story()
    story.block("domain", 1.0, dead=0.5, lifted=4.0, back=5.0, ended=12.0)
    events = without(story.events, "route_switched", "path_bad", "failed_back")
    story.events = events
    for number in range(1, 200):
        queued = number * 0.05
        story.message(number, queued, queued if queued < 1 else max(queued, 4.0), "direct")
    (block,) = measure(story.events)
    assert (block.recovered, block.ttr_seconds, block.ttd_seconds) == (False, None, None)
    assert block.censored_at_seconds == pytest.approx(4.0 - 1.002)
    assert block.outage_seconds == pytest.approx(3.05)  # it did end, so it is known
    assert block.failback_seconds == pytest.approx(0.01)


def test_a_failback_that_was_not_seen_is_censored_at_the_end() -> None:
    events = [e for e in run_events() if not (e["t"] > 16.0 and e.get("route") == "direct")]
    domain = measure(before(events, 20.0))[0]
    assert domain.failback_seconds is None
    assert domain.failback_censored_at_seconds == pytest.approx(before(events, 20.0)[-1]["t"] - 16.0)


def test_a_recovery_must_hold_for_two_seconds() -> None:
    # Acks stop from 8.6 to 10.5: the first burst does not count, what follows the pause does.
    events = [e for e in run_events() if not (e["event"] == "message_acked" and 8.6 < e["t"] < 10.5)]
    assert measure(events)[0].ttr_seconds == pytest.approx(10.52 - 8.002, abs=0.05)


def test_a_recovery_that_could_not_be_watched_long_enough_is_none() -> None:
    assert not measure(before(run_events(), 10.0))[0].recovered


def test_the_blocked_path_is_the_one_in_use() -> None:
    """Messages go by proxy1 already, which then is blocked: what goes by proxy2 is on the new path."""
    story = Story()
    story.add(0.1, "client", "route_switched", old="direct", new="proxy1")
    story.block("proxies", 1.0, dead=0.5, lifted=5.0, back=6.0, ended=8.0)
    story.events = [e for e in story.events if e["event"] not in ("route_switched", "failed_back") or e["t"] < 1]
    for number in range(1, 200):
        queued = number * 0.05
        blocked = 1.0 <= queued < 6.0
        story.message(number, queued, max(queued, 1.5) if blocked else queued, "proxy2" if blocked else "proxy1")
    (block,) = measure(story.events)
    assert block.tts_seconds == pytest.approx(0.498)
    assert block.failback_seconds == pytest.approx(1.02)


def test_a_window_that_is_too_short_says_nothing_about_goodput() -> None:
    story = Story()
    story.block("domain", 0.05, dead=0.5, lifted=4.0, back=5.0, ended=6.0)
    assert measure(story.events)[0].goodput_bytes_per_second == Goodput(during=0.0)


def test_blocked_intervals_end_with_the_lifting_or_with_the_episode() -> None:
    assert blocked_intervals(run_events()) == [("domain", 7.998, 16.0), ("address", 23.998, 32.0)]
    (only,) = blocked_intervals(before(run_events(), 10.0))
    assert only[2] == pytest.approx(9.975, abs=0.05)


def test_an_episode_that_the_end_of_the_run_cut_short() -> None:
    whole = measure_blocks(run_events(), [CLIENT])
    assert [block.cut_short for block in whole] == [False, False]
    cut = measure_blocks([event for event in run_events() if event["t"] < 25.0], [CLIENT])
    assert [block.cut_short for block in cut] == [False, True]


def throttled(
    *, started: float, first: float = 0.0, rate: float = 16.0, connected: float = 0.0
) -> list[dict[str, Any]]:
    """A message each 20 ms from `first` on, all acked 10 ms later but for 3 s of the block, when `rate` a second are.
    What is queued before `connected` is acked all at once then.

    The block: from `started` (its first hit 10 ms later); after those 3 s all that waits is acked at once, by a proxy.
    """
    story = Story()
    story.add(started, "lab", "episode_started", block="throttle", rules=["flows"], recovery="goodput")
    story.add(started + 0.01, "censor", "censor_hit", rule="flows", source_address=CLIENT)
    story.add(started + 8.0, "lab", "episode_ended", block="throttle")
    begun, over, carried = max(started, first), max(started, first) + 3.0, 0
    for id_ in range(1, 450):
        queued = first + 0.02 * id_
        slow = begun <= queued < over
        carried += slow
        moment = min(begun + carried / rate, over) if slow and rate else over if slow else max(queued, connected)
        story.message(id_, queued, moment, "direct" if moment < over else "proxy1")
    return sorted(story.events, key=lambda event: event["t"])


def test_after_a_throttle_goodput_has_to_be_back() -> None:
    """Acks go on all the while, so that they would say that nothing was the matter."""
    (block,) = measure(throttled(started=2.0))
    assert block.ttr_seconds == pytest.approx(3.01)
    acks_only = [event | {"recovery": "acks"} for event in throttled(started=2.0)]
    (by_acks,) = measure(acks_only)
    assert by_acks.ttr_seconds == pytest.approx(0.125)


def test_what_had_waited_for_the_first_connection_is_not_asked_for_again() -> None:
    (block,) = measure(throttled(started=1.6, connected=1.0))
    assert block.goodput_bytes_per_second.before == pytest.approx(13_000, rel=0.05), "5,000 are sent each second"
    assert block.ttr_seconds == pytest.approx(3.01)


def test_who_starts_in_the_middle_of_a_throttle_is_compared_with_what_was_sent() -> None:
    (block,) = measure(throttled(started=0.0, first=0.005))
    assert block.goodput_bytes_per_second.before is None
    assert block.ttr_seconds == pytest.approx(3.015)


def test_goodput_over_too_short_a_time_is_none() -> None:
    """The first delivery was 50 ms before the first hit."""
    events = [e for e in run_events() if not e["event"].startswith("message_") or e["t"] > 7.94]
    assert measure(events)[0].goodput_bytes_per_second.before is None
