from __future__ import annotations

import itertools

import pytest

from client.policies import (
    DIRECT,
    Abort,
    Close,
    Command,
    Diagnosed,
    Dial,
    ProbeEnded,
    ProbeStarted,
    RouteFacts,
)
from client.policies.board import Board
from client.policies.links import Link
from client.policies.probing import AGAIN_SECONDS, EVADED_BY, TRIAL_MOST_SECONDS, TRICKLE_SECONDS, Probing
from client.policies.sidedoor_settings import SidedoorSettings
from client.policies.trial import EARLY_SECONDS, LEAST_BYTES

ROUTES = (
    RouteFacts(DIRECT, proxied=False),
    RouteFacts("doh", proxied=False, evades=frozenset({"dns"})),
    RouteFacts("fragmented", proxied=False, evades=frozenset({"sni"})),
    RouteFacts("proxy1", proxied=True),
)


class Bench:
    """Probing of ROUTES and its board."""

    def __init__(self, settings: SidedoorSettings) -> None:
        self.board = Board(settings, "direct")
        self.probing = Probing(ROUTES, settings, self.board)

    def probe(self, now: float = 0.0) -> Link:
        """A probe that is dialed."""
        self.probing.dial("proxy1", now)
        self.board.take()
        return self.board.with_role("probe")[0]

    def trial(self, now: float = 0.0) -> Link:
        """A probe that stands and whose first ping was answered, 40 ms after it went out."""
        link = self.probe(now)
        self.board.established(link, now)
        self.board.rtt(link.route).sample(0.04, now)
        assert not self.probing.answered(link, now, urgent=False)
        return link

    def reported(self) -> list[Command]:
        return self.board.take()


@pytest.fixture
def bench() -> Bench:
    return Bench(SidedoorSettings())


def test_direct_is_better_than_what_evades_and_that_than_a_proxy(bench: Bench) -> None:
    order = [DIRECT, "doh", "proxy1"]
    for better, worse in itertools.pairwise(order):
        assert bench.probing.is_better(better, worse)
        assert not bench.probing.is_better(worse, better)
    assert not bench.probing.is_better("fragmented", "doh")
    assert bench.probing.is_better("doh", "withdrawn"), "what is not known counts as a proxy"


def test_probes_are_wanted_of_better_paths_one_at_a_time_and_if_allowed(bench: Bench) -> None:
    assert [bench.probing.wanted(path) for path in ("proxy1", "doh", DIRECT)] == [True, True, False]
    bench.probe()
    assert not bench.probing.wanted("proxy1")
    assert not Bench(SidedoorSettings(probe_direct="never")).probing.wanted("proxy1")


@pytest.mark.parametrize("kind", EVADED_BY)
def test_what_evades_the_diagnosed_block_is_probed_in_turn_with_the_direct_path(bench: Bench, kind: str) -> None:
    bench.probing.diagnosed(Diagnosed(DIRECT, kind, 0.8))
    dialed = []
    for _ in range(3):
        link = bench.probe()
        dialed.append(link.route)
        bench.probing.give_up(link, "interrupted", 0.0)
    remedies = [route.name for route in ROUTES if EVADED_BY[kind] in route.evades]
    assert dialed == ([DIRECT, *remedies, DIRECT] if remedies else [DIRECT] * 3)


def test_another_network_forgets_the_diagnosis(bench: Bench) -> None:
    bench.probing.diagnosed(Diagnosed(DIRECT, "dns_forged", 1.0))
    bench.probing.reset(7.0)
    assert bench.probing.next_at == 7.0
    bench.probe()
    bench.board.links.clear()
    assert bench.probe().route == DIRECT


def test_a_probe_is_announced_and_the_next_one_spaced(bench: Bench) -> None:
    bench.probing.dial("proxy1", 5.0)
    assert bench.reported() == [Dial(1, DIRECT), ProbeStarted(1, DIRECT)]
    assert bench.probing.next_at == 7.0


@pytest.mark.parametrize("announced", [False, True])
def test_a_dial_that_goes_on_as_a_probe_is_announced_once(bench: Bench, announced: bool) -> None:
    link = bench.board.dial(DIRECT, "candidate", 0.0)
    link.announced = announced
    bench.board.take()
    bench.probing.adopt(link)
    bench.board.established(link, 1.0)
    assert bench.reported() == ([] if announced else [ProbeStarted(1, DIRECT)])


def test_a_direct_dial_that_was_overtaken_and_stands_is_not_decided_until_it_fails_or_is_used(bench: Bench) -> None:
    for end in (lambda link: bench.probing.ended(link, "eof_error", 2.0), lambda _: bench.probing.path_is(DIRECT, 2.0)):
        link = bench.board.dial(DIRECT, "candidate", 0.0)
        bench.probing.adopt(link)
        bench.probing.stands(link)
        assert not bench.probing.undecided, "its path was bad before"
        bench.probing.may_be_late(link)
        assert not bench.probing.undecided
        bench.probing.stands(link)
        assert bench.probing.undecided
        end(link)
        assert not bench.probing.undecided


def test_a_probe_without_an_answer_is_given_up_after_its_time(bench: Bench) -> None:
    link = bench.probe(1.0)
    assert bench.probing.deadline(link) == 4.0
    assert not bench.probing.due(link, 4.0)
    assert bench.reported() == [ProbeEnded(1, DIRECT, "generic_timeout_error"), Abort(1)]


def test_in_need_the_first_answer_is_success(bench: Bench) -> None:
    link = bench.probe()
    assert bench.probing.answered(link, 0.1, urgent=True)
    assert bench.probing.succeeded(link, urgent=True)
    assert bench.reported() == [ProbeEnded(1, DIRECT, None)]


def test_else_it_takes_bytes_and_successes_in_a_row(bench: Bench) -> None:
    verdicts, closed = [], list[Command]()
    for _ in range(2):
        closed = bench.reported()
        link = bench.trial()
        link.established.sent(1, 0.1, LEAST_BYTES)
        link.established.answered(1, 0.2)
        assert bench.probing.answered(link, 0.2, urgent=False)
        verdicts.append(bench.probing.succeeded(link, urgent=False))
    assert verdicts == [False, True]
    assert closed == [ProbeEnded(1, DIRECT, None), Close(1)]
    assert bench.reported() == [ProbeEnded(2, DIRECT, None)]


def test_or_time_in_which_all_is_answered(bench: Bench) -> None:
    link = bench.trial()
    assert bench.probing.deadline(link) == 1.5
    assert bench.probing.due(link, 1.5)


def test_a_trial_whose_time_is_over_while_an_answer_is_late_is_looked_at_again(bench: Bench) -> None:
    link = bench.trial()
    link.established.sent(1, 1.2, 500)
    assert not bench.probing.due(link, 1.5)
    assert bench.probing.deadline(link) == 1.5 + AGAIN_SECONDS
    assert bench.reported() == []


def test_a_trial_that_goes_silent_has_failed_early(bench: Bench) -> None:
    link = bench.trial()
    link.established.sent(1, 0.5, 500)
    late = 0.5 + bench.board.lonely_delay(link)
    assert bench.probing.deadline(link) == late
    assert not bench.probing.due(link, late)
    assert bench.reported() == [ProbeEnded(1, DIRECT, "generic_timeout_error"), Abort(1)]
    again = bench.trial(2.0)
    assert again.trial is not None
    assert again.trial.until == late + EARLY_SECONDS


def test_a_trial_that_trickles_has_failed_and_goes_on_for_a_while(bench: Bench) -> None:
    link = bench.trial()
    evidence = link.established
    for number in range(100):
        evidence.sent(number, 0.0, 500)
    late = bench.board.lonely_delay(link)
    evidence.answered(0, late - 0.05)
    assert not bench.probing.due(link, late)
    assert bench.probing.deadline(link) == pytest.approx(late - 0.05 + late)
    for number in range(1, 100):
        at = late + number * TRICKLE_SECONDS / 100
        evidence.answered(number, at)
        assert not bench.probing.answered(link, at, urgent=False), "by no bytes in the world"
    assert bench.reported() == []
    assert bench.probing.deadline(link) == late + TRICKLE_SECONDS
    assert not bench.probing.due(link, late + TRICKLE_SECONDS)
    assert bench.reported() == [ProbeEnded(1, DIRECT, "generic_timeout_error"), Abort(1)]


def test_a_trial_that_trickled_and_goes_silent_is_given_up_at_once(bench: Bench) -> None:
    link = bench.trial()
    link.established.sent(1, 0.0, 500)
    link.established.sent(2, 0.0, 500)
    late = bench.board.lonely_delay(link)
    link.established.answered(1, late - 0.05)
    assert not bench.probing.due(link, late)
    silent = bench.probing.deadline(link)
    assert silent < late + TRICKLE_SECONDS
    assert not bench.probing.due(link, silent)
    assert bench.reported() == [ProbeEnded(1, DIRECT, "generic_timeout_error"), Abort(1)]


def test_a_trial_that_ends_by_itself_has_failed_early_and_a_dial_has_not(bench: Bench) -> None:
    link = bench.probe()
    bench.board.links.clear()
    bench.probing.ended(link, "connection_refused", 0.0)
    link = bench.trial()
    assert link.trial is not None
    assert link.trial.until == 1.5
    bench.board.links.clear()
    bench.probing.ended(link, "connection_reset", 1.0)
    again = bench.trial(2.0)
    assert again.trial is not None
    assert again.trial.until == 1.0 + EARLY_SECONDS


def test_a_trial_that_shows_too_little_for_too_long_is_given_up(bench: Bench) -> None:
    failed = bench.trial()
    bench.board.links.clear()
    bench.probing.ended(failed, "connection_reset", 0.0)
    link = bench.trial()
    most = SidedoorSettings().probe_timeout_seconds + TRIAL_MOST_SECONDS
    assert bench.probing.deadline(link) == most
    bench.reported()
    assert not bench.probing.due(link, most)
    assert bench.reported() == [ProbeEnded(2, DIRECT, "interrupted"), Abort(2)]


def test_a_return_that_does_not_last_needs_more_successes_and_more_bytes(bench: Bench) -> None:
    bench.probing.path_is(DIRECT, 10.0)
    bench.probing.left_after(DIRECT, 16_000, 12.0)
    bench.probing.path_bad(DIRECT, 12.0)
    bench.probing.path_is("proxy1", 12.0)
    assert bench.probing.next_at == 12.0 + SidedoorSettings().first_probe_seconds
    verdicts = []
    for _ in range(4):
        link = bench.trial(13.0)
        assert link.trial is not None
        assert link.trial.needed_bytes == 32_000
        verdicts.append(bench.probing.succeeded(link, urgent=False))
        bench.board.links.clear()
    assert verdicts == [False, False, False, True]


def test_proxies_have_no_way_back_to_be_judged(bench: Bench) -> None:
    bench.probing.path_is("proxy1", 10.0)
    bench.probing.left_after("proxy1", 0, 11.0)
    bench.probing.path_bad("proxy1", 11.0)
    link = bench.trial()
    assert link.trial is not None
    assert link.trial.until == 1.5


def test_routes_that_are_withdrawn_are_probed_no_more(bench: Bench) -> None:
    bench.probing.routes_are(ROUTES[1:])
    assert not bench.probing.wanted("proxy1")
