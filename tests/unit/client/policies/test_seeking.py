"""(What comes of it in a whole policy: test_sidedoor.py.)"""

from __future__ import annotations

from random import Random

import pytest

from client.policies import DIRECT, Dial, ProbeStarted, Recollection, RouteFacts
from client.policies.board import Board
from client.policies.exposure import Exposure
from client.policies.links import UNKNOWN_STAGE_SECONDS, Link
from client.policies.probing import Probing
from client.policies.seeking import Seeking
from client.policies.sidedoor_settings import SidedoorSettings

PROXIES = ("proxy1", "proxy2", "proxy3")
ROUTES = (RouteFacts(DIRECT, proxied=False), *(RouteFacts(name, proxied=True) for name in PROXIES))
STUCK = UNKNOWN_STAGE_SECONDS


class Bench:
    """Seeking among ROUTES, what it needs, and what it has dialed."""

    def __init__(self, settings: SidedoorSettings) -> None:
        self.board = Board(settings, DIRECT)
        self.exposure = Exposure(PROXIES)
        probing = Probing(ROUTES, settings, self.board)
        names = [route.name for route in ROUTES]
        self.seeking = Seeking(names, settings, Random(1), self.board, self.exposure, probing)

    def dialed(self) -> list[str]:
        return [command.route for command in self.board.take() if isinstance(command, Dial)]

    def on(self, now: float, spare: Link | None = None) -> list[str]:
        assert self.seeking.on(spare, now) is None
        return self.dialed()

    def fail_all(self) -> None:
        self.board.links.clear()


def make(**settings: object) -> Bench:
    return Bench(SidedoorSettings(**settings))  # type: ignore[arg-type]  # of several types


@pytest.fixture
def bench() -> Bench:
    made = make()
    made.seeking.begin(0.0)
    return made


def test_nothing_is_sought_before_it_begins_and_when_it_has_ended(bench: Bench) -> None:
    fresh = make().seeking
    assert (fresh.active, fresh.deadline(None)) == (False, None)
    assert bench.seeking.active
    bench.seeking.end()
    assert (bench.seeking.active, bench.seeking.deadline(None)) == (False, None)


def test_one_is_dialed_and_as_many_more_as_are_stuck_when_all_are(bench: Bench) -> None:
    assert bench.on(0.0) == [DIRECT]
    assert bench.seeking.deadline(None) == STUCK
    assert bench.on(STUCK - 0.01) == []
    assert bench.on(STUCK) == ["proxy1"]
    assert bench.on(STUCK + 0.1) == []
    assert bench.on(2 * STUCK) == ["proxy2", "proxy3"]


def test_when_all_have_failed_the_round_begins_again_after_pauses_that_grow_until_one_carries(bench: Bench) -> None:
    now, least = 0.0, bench.seeking.least_backoff
    for expected in (least, 2 * least, 4 * least):
        while bench.on(now):
            bench.fail_all()
        assert bench.seeking.deadline(None) == pytest.approx(now + expected)
        now += expected
    bench.seeking.forgive()
    while bench.on(now):
        bench.fail_all()
    assert bench.seeking.deadline(None) == pytest.approx(now + least)


def test_elsewhere_is_proxies_first_and_the_path_that_failed_last_and_announced(bench: Bench) -> None:
    bench.board.path_bad = True
    bench.seeking.begin_elsewhere(0.0)
    order = []
    while dialed := bench.seeking.on(None, 0.0) or bench.board.take():
        order += [command.route for command in dialed if isinstance(command, Dial | ProbeStarted)]
        if bench.board.with_role("candidate")[0].route == DIRECT:
            break
        bench.fail_all()
    assert order == [*PROXIES, DIRECT, DIRECT], "the last one is dialed and said to be a probe"


def test_a_path_that_is_burnt_is_not_touched_while_there_are_proxies() -> None:
    made = make(probe_direct="never")
    made.board.path_bad = True
    made.seeking.begin(0.0)
    assert made.on(0.0) == ["proxy1"]
    alone = make(probe_direct="never")
    alone.exposure.proxies = ()
    alone.board.path_bad = True
    alone.seeking.begin(0.0)
    assert alone.on(0.0) == [DIRECT]


def test_a_spare_that_stands_is_what_is_sought_when_no_better_dial_goes_on(bench: Bench) -> None:
    bench.on(0.0)
    spare = bench.board.dial("proxy1", "spare", 0.0)
    bench.board.established(spare, 0.1)
    bench.board.take()
    assert not bench.seeking.is_sought(spare, 0.1)
    assert bench.seeking.deadline(spare) == STUCK
    assert bench.seeking.on(spare, STUCK) is spare
    bench.board.grace_until = STUCK + 0.05
    assert not bench.seeking.is_sought(spare, STUCK), "this process stood still: answers may wait unread"
    assert bench.seeking.is_sought(spare, STUCK + 0.05)


@pytest.mark.parametrize(
    ("proxies", "recollection", "raced"),
    [
        (1, Recollection(), []),
        (3, Recollection(), ["proxy2", "proxy3"]),
        (16, Recollection(), ["proxy2", "proxy3"]),
        (3, Recollection({DIRECT: 0.04}), []),
        (3, Recollection(failed=frozenset({DIRECT})), []),
    ],
)
def test_a_race_is_of_those_behind_the_spare_where_nothing_is_known(
    proxies: int, recollection: Recollection, raced: list[str]
) -> None:
    made = make(first_proxies=proxies)
    made.seeking.begin(0.0)
    made.on(0.0)
    made.seeking.race(recollection, 0.0)
    assert made.dialed() == raced
    assert {link.route for link in made.board.with_role("candidate")} == {DIRECT, *raced}
