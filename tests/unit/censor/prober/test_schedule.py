"""censor/prober/schedule.py"""

from __future__ import annotations

from typing import Any

import pytest

from censor.prober.delays import Server
from censor.prober.results import OUTCOMES, End, ProbeResult
from censor.prober.schedule import Schedule, Verdict
from censor.prober.settings import Evidence, ProbeName, ProberSettings
from censor.prober.suspicion import ProbeOrder

A, B, C = ((bytes((192, 0, 2, last)), 1080) for last in (1, 2, 3))
DELAY = 10.0


def schedule(seed: int = 1, **settings: Any) -> Schedule:
    return Schedule(ProberSettings(**{"delay": (DELAY, DELAY)} | settings), seed)


def outcome(order: ProbeOrder, *evidence: Evidence, answer: bytes = b"") -> ProbeResult:
    return ProbeResult(order.probe, OUTCOMES[End.SILENCE], End.SILENCE, evidence, "", answer, len(answer))


def silent(order: ProbeOrder) -> ProbeResult:
    return outcome(order)


def other(order: ProbeOrder) -> ProbeResult:
    return outcome(order, answer=b"x")


def proxy(order: ProbeOrder) -> ProbeResult:
    return outcome(order, "socks5-method", answer=b"\x05\xff")


def only(orders: list[ProbeOrder]) -> ProbeOrder:
    assert len(orders) == 1
    return orders[0]


def run(
    plan: Schedule, answers: dict[ProbeName, ProbeResult | None], payload: bytes = b"first", server: Server = A
) -> tuple[list[ProbeOrder], Verdict | None]:
    """Suspect and answer every probe: by `answers`, others by silence. What was sent, and the verdict."""
    plan.suspect(server, payload, 0.0, "entropy")
    sent: list[ProbeOrder] = []
    while (t := plan.next_t()) is not None:
        order = only(plan.due(t))
        sent.append(order)
        verdict = plan.result(order, answers.get(order.probe) or silent(order), t)
        if verdict is not None:
            return sent, verdict
    return sent, None


def test_the_first_probe_comes_after_the_delay() -> None:
    plan = schedule()
    assert plan.next_t() is None
    assert plan.suspect(A, b"first", 100.0, "socks5") is not None
    assert plan.next_t() == 100.0 + DELAY
    assert plan.due(100.0 + DELAY - 0.01) == []
    order = only(plan.due(100.0 + DELAY))
    assert (order.server, order.probe, order.payload, order.triggered_t) == (A, "socks5-no-auth", b"first", 100.0)
    assert plan.next_t() is None


def test_as_many_connections_as_it_takes() -> None:
    plan = schedule(connections_before=3)
    said = [plan.suspect(A, b"", t, "entropy") for t in (1.0, 2.0, 3.0, 4.0)]
    assert [suspect is not None for suspect in said] == [False, False, True, False]
    assert plan.next_t() == 3.0 + DELAY


def test_a_proxy_is_convicted_by_its_first_answer() -> None:
    plan = schedule(block_seconds=90)
    plan.suspect(A, b"first", 0.0, "socks5")
    order = only(plan.due(DELAY))
    assert plan.result(order, proxy(order), 12.0) == Verdict(A, True, 90.0, ("socks5-method",))
    assert plan.next_t() is None


def test_nobody_is_probed_while_a_verdict_holds() -> None:
    plan = schedule(block_seconds=90)
    plan.suspect(A, b"first", 0.0, "socks5")
    order = only(plan.due(DELAY))
    plan.result(order, proxy(order), 10.0)
    assert plan.suspect(A, b"first", 99.0, "socks5") is None
    assert plan.suspect(A, b"first", 100.0, "socks5") is not None


def test_the_next_probe_waits_for_the_answer_and_the_pause() -> None:
    plan = schedule(between_seconds=6, time_scale=2.0)
    plan.suspect(A, b"first", 0.0, "entropy")
    order = only(plan.due(DELAY))
    assert plan.next_t() is None
    assert plan.result(order, other(order), 20.0) is None
    assert plan.next_t() == 23.0
    assert only(plan.due(23.0)).probe == "socks5-wrong-password"


def test_a_silent_server_is_left_alone() -> None:
    sent, verdict = run(schedule(forget_seconds=50), {})
    assert [order.probe for order in sent] == ["socks5-no-auth"]
    assert verdict == Verdict(A, False, 50.0, ())


def test_or_gets_all_probes() -> None:
    sent, verdict = run(schedule(later_probes_only_after_answer=False), {})
    assert [order.probe for order in sent] == ["socks5-no-auth", "socks5-wrong-password", "replay"]
    assert verdict is not None
    assert not verdict.convicted


def test_an_answer_to_a_replay_is_compared_with_random_bytes_of_its_length() -> None:
    plan = schedule(probes=("replay", "tls"))
    sent, verdict = run(plan, {"replay": ProbeResult("replay", OUTCOMES[End.FIN], End.FIN, received_bytes=40)})
    assert [order.probe for order in sent] == ["replay", "random"]
    assert sent[1].random_bytes == len(b"first")
    assert verdict is not None
    assert (verdict.convicted, verdict.evidence) == (True, ("replay",))


def test_who_answers_anything_is_cleared_when_all_was_asked() -> None:
    plan = schedule(probes=("replay", "random", "tls"))
    answers: dict[ProbeName, ProbeResult | None] = {
        name: ProbeResult(name, OUTCOMES[End.FIN], End.FIN, received_bytes=40) for name in ("replay", "random", "tls")
    }
    sent, verdict = run(plan, answers)
    assert [order.probe for order in sent] == ["replay", "random", "tls"]
    assert verdict is not None
    assert (verdict.convicted, verdict.evidence) == (False, ())


def test_no_control_where_replays_convict_nobody() -> None:
    plan = schedule(probes=("replay",), verdict=("socks4",))
    sent, _ = run(plan, {"replay": ProbeResult("replay", OUTCOMES[End.FIN], End.FIN, received_bytes=40)})
    assert [order.probe for order in sent] == ["replay"]


def test_without_a_payload_nothing_is_replayed() -> None:
    sent, _ = run(schedule(probes=("replay", "random")), {}, payload=b"")
    assert [(order.probe, order.random_bytes) for order in sent] == [("random", 221)]
    plan = schedule(probes=("replay",))
    assert plan.suspect(A, b"", 0.0, "socks5") is None
    assert plan.next_t() is None


def test_some_are_spared_the_same_ones_each_time() -> None:
    def convicted(seed: int) -> list[bool]:
        found = []
        for port in range(1, 101):
            server = (b"\xc0\x00\x02\x01", port)
            plan = schedule(seed, convict_probability=0.5, probes=("socks4",))
            _, verdict = run(plan, {"socks4": proxy(ProbeOrder(server, "socks4", 0, b"", 0, 0))}, server=server)
            assert verdict is not None
            assert verdict.evidence == ("socks5-method",)
            found.append(verdict.convicted)
        return found

    assert convicted(1) == convicted(1) != convicted(2)
    assert 35 < sum(convicted(1)) < 65


def test_one_that_was_spared_is_not_tried_until_it_is_convicted() -> None:
    plan = schedule(convict_probability=0.5, block_seconds=0, forget_seconds=0)
    verdicts = set()
    for round_ in range(20):
        plan.suspect(A, b"first", round_ * 100.0, "socks5")
        order = only(plan.due(round_ * 100.0 + DELAY))
        verdict = plan.result(order, proxy(order), round_ * 100.0 + DELAY)
        assert verdict is not None
        verdicts.add(verdict.convicted)
    assert len(verdicts) == 1


def test_delays_do_not_depend_on_who_comes_first() -> None:
    def times(*servers: Server) -> dict[Server, float]:
        plan = schedule(delay=(0.0, 100.0))
        for server in servers:
            plan.suspect(server, b"", 0.0, "entropy")
        found = {}
        while (t := plan.next_t()) is not None:
            found[only(plan.due(t)).server] = t
        return found

    assert times(A, B, C) == times(C, B, A)
    assert len(set(times(A, B, C).values())) == 3


def test_the_earliest_come_first_and_as_many_as_are_wanted() -> None:
    plan = schedule()
    for t, server in ((2.0, B), (1.0, A), (3.0, C)):
        plan.suspect(server, b"", t, "entropy")
    assert [order.server for order in plan.due(100.0, 2)] == [A, B]
    assert plan.due(100.0, 0) == []
    assert [order.server for order in plan.due(100.0)] == [C]


@pytest.mark.parametrize("sent", [False, True])
def test_who_is_forgotten_for_want_of_room_gets_no_probe_and_no_verdict(sent: bool) -> None:
    plan = schedule(limit_suspects=1)
    plan.suspect(A, b"", 0.0, "entropy")
    orders = plan.due(DELAY) if sent else []
    plan.suspect(B, b"", 1.0, "entropy")
    assert plan.next_t() == 1.0 + DELAY
    assert [order.server for order in plan.due(100.0)] == [B]
    assert [plan.result(order, proxy(order), 100.0) for order in orders] == [None] * sent


def test_the_result_of_an_earlier_life_is_passed_over() -> None:
    plan = schedule(limit_suspects=1)
    plan.suspect(A, b"", 0.0, "entropy")
    old = only(plan.due(DELAY))
    for server in (B, A):
        plan.suspect(server, b"", 20.0, "entropy")
    assert plan.result(old, proxy(old), 21.0) is None
    assert only(plan.due(20.0 + DELAY)).server == A


def test_a_flood_of_suspects_takes_bounded_memory() -> None:
    plan = schedule(limit_suspects=10)
    for number in range(2000):
        plan.suspect((number.to_bytes(4, "big"), 1), b"", float(number), "entropy")
    assert len(plan._heap) <= 2 * 10 + 64
    assert [order.server[0] for order in plan.due(1e9)] == [n.to_bytes(4, "big") for n in range(1990, 2000)]
