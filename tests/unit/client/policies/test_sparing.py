"""(What comes of it in a whole policy: test_sidedoor.py.)"""

from __future__ import annotations

import pytest

from client.policies import DIRECT, Dial, RouteFacts
from client.policies.board import Board
from client.policies.exposure import Exposure
from client.policies.links import LOSS_SECONDS, Link
from client.policies.probing import Probing
from client.policies.sidedoor_settings import SidedoorSettings
from client.policies.sparing import Sparing

PROXIES = ("proxy1", "proxy2")
ROUTES = (RouteFacts(DIRECT, proxied=False), *(RouteFacts(name, proxied=True) for name in PROXIES))
BACKOFF = 0.25


class Bench:
    """A policy's spare, and what it stands on; `carrier`: a connection in use."""

    def __init__(self, settings: SidedoorSettings, proxies: tuple[str, ...] = PROXIES) -> None:
        self.board = Board(settings, DIRECT)
        self.probing = Probing(ROUTES, settings, self.board)
        self.sparing = Sparing(settings, self.board, Exposure(proxies), self.probing, BACKOFF)

    def carrier(self, route: str = DIRECT) -> Link:
        link = self.board.dial(route, "carrier", 0.0)
        self.board.established(link, 0.0)
        self.board.path = route
        self.board.take()
        return link

    def spare(self, now: float = 0.0) -> Link:
        self.sparing.dial(now)
        link = self.board.with_role("spare")[-1]
        self.board.established(link, now)
        return link

    def dialed(self) -> list[str]:
        return [command.route for command in self.board.take() if isinstance(command, Dial)]


@pytest.fixture
def bench() -> Bench:
    return Bench(SidedoorSettings())


def test_one_is_wanted_beside_a_connection_in_use(bench: Bench) -> None:
    assert bench.sparing.possible
    assert not bench.sparing.wanted, "nothing carries yet"
    bench.carrier()
    assert bench.sparing.wanted
    bench.sparing.dial(0.0)
    assert bench.dialed() == ["proxy1"]
    assert not bench.sparing.wanted, "one is enough"


@pytest.mark.parametrize(
    ("settings", "proxies", "path"),
    [(SidedoorSettings(standby="cold"), PROXIES, DIRECT), (SidedoorSettings(), ("proxy1",), "proxy1")],
    ids=["cold", "the only proxy is in use"],
)
def test_none_is_wanted(settings: SidedoorSettings, proxies: tuple[str, ...], path: str) -> None:
    bench = Bench(settings, proxies)
    bench.carrier(path)
    assert not bench.sparing.possible
    assert not bench.sparing.wanted


def test_on_a_proxy_it_is_another(bench: Bench) -> None:
    bench.carrier("proxy1")
    bench.sparing.dial(0.0)
    assert bench.dialed() == ["proxy2"]


def test_no_proxy_is_shown_while_the_direct_path_may_be_late(bench: Bench) -> None:
    direct = bench.board.dial(DIRECT, "probe", 5.0)
    bench.carrier("proxy1")
    bench.sparing.wait_for(direct)
    assert bench.sparing.next_at == 5.0 + LOSS_SECONDS
    bench.board.established(direct, 5.4)
    bench.probing.may_be_late(direct)
    bench.probing.stands(direct)
    assert not bench.sparing.wanted
    bench.probing.give_up(direct, "generic_timeout_error", 8.0)
    assert bench.sparing.wanted


def test_the_usable_one_stands_and_is_not_behind(bench: Bench) -> None:
    bench.carrier()
    bench.sparing.dial(0.0)
    assert bench.sparing.usable(0.0) is None, "a dial"
    bench.board.links.popitem()
    link = bench.spare()
    assert bench.sparing.usable(0.0) is link
    bench.board.ping(link, 0.0)
    assert bench.sparing.usable(60.0) is None


def test_after_one_that_failed_the_next_comes_ever_later_until_one_works(bench: Bench) -> None:
    pauses = []
    for _ in range(8):
        bench.sparing.failed(100.0)
        pauses.append(bench.sparing.next_at - 100.0)
    assert pauses[:3] == [BACKOFF, 2 * BACKOFF, 4 * BACKOFF]
    assert pauses[-1] == SidedoorSettings().most_backoff_seconds
    bench.sparing.answered()
    bench.sparing.failed(200.0)
    assert bench.sparing.next_at == 200.0 + BACKOFF


def test_on_another_network_what_failed_may_work(bench: Bench) -> None:
    bench.sparing.failed(0.0)
    bench.sparing.reset(0.1)
    assert bench.sparing.next_at == 0.1
    bench.sparing.failed(1.0)
    assert bench.sparing.next_at == 1.0 + BACKOFF


def test_what_a_spare_had_taken_is_for_the_next(bench: Bench) -> None:
    evidence = bench.carrier().established
    evidence.sent(1, 0.0, 500)
    evidence.take(1)
    assert evidence.first_untaken is None
    bench.sparing.gone()
    assert evidence.first_untaken == 0.0


def test_one_that_was_ended_idle_has_not_failed(bench: Bench) -> None:
    link = bench.spare(1.0)
    keepalive = SidedoorSettings().keepalive_seconds
    assert bench.sparing.ended_idle(link, "eof", 1.0 + keepalive)
    assert bench.sparing.ended_idle(link, "reset", 1.0 + keepalive)
    assert not bench.sparing.ended_idle(link, "eof", 0.9 + keepalive), "soon"
    assert not bench.sparing.ended_idle(link, "ack_overdue", 1.0 + keepalive)
    bench.board.ping(link, 5.0)
    assert not bench.sparing.ended_idle(link, "eof", 1.0 + keepalive), "it owed an answer"
