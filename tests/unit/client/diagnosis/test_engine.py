"""Whole blocks, on a network without packets: is the last word right, and is nothing said without a block?"""

from __future__ import annotations

from itertools import permutations
from random import Random
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.diagnosis import KINDS
from client.diagnosis.engine import Diagnosis, unknown
from client.diagnosis.histories import TRACES
from client.diagnosis.wrapper import Diagnosing
from client.policies import (
    Abort,
    Answered,
    Close,
    Command,
    Diagnosed,
    Dial,
    DialFailed,
    Ended,
    Established,
    Heard,
    NetworkChanged,
    Observation,
    PathBad,
    Ping,
    Policy,
    Ponged,
    Recollection,
    RouteFacts,
    RoutesChanged,
    Sent,
    StageReached,
)
from client.policies.sidedoor import Sidedoor
from client.policies.sidedoor_settings import SidedoorSettings
from tests.unit.client.diagnosis.network import Network, Path
from tests.unit.client.diagnosis.walker import Walker

DIRECT = RouteFacts("direct", proxied=False)
ROUTES = [DIRECT, *(RouteFacts(f"proxy{number}", proxied=True) for number in range(1, 5))]
CELLS = [(rtt, loss, warm) for rtt in (0.04, 0.2) for loss in (0.0, 0.01) for warm in (True, False)]
SEEDS = range(3)
JITTER_SECONDS = 0.02


def network(
    rtt: float,
    loss: float,
    seed: int,
    *,
    quiet: bool = True,
    probes: bool = True,
    verdict: float = 1.0,
    policy: Policy | None = None,
) -> Network:
    """Four proxies; a message each half round trip, but 50 kB/s at least: less is not slowed by a throttle."""
    paths = {facts.name: Path(2 * rtt if facts.proxied else rtt, proxied=facts.proxied) for facts in ROUTES}
    walker = policy or Walker(list(paths), probes=probes, verdict_seconds=verdict)
    made: Network

    def look(connection: int) -> float | None:
        return made.quiet_seconds(connection) if quiet else unknown(connection)

    made = Network(
        Diagnosing(walker, ROUTES, quiet_seconds=look),
        paths,
        interval=0.02,
        loss=loss,
        jitter=JITTER_SECONDS if loss else 0.0,
        seed=seed,
    )
    return made


@pytest.mark.parametrize(
    ("block", "kind"),
    [
        ("address_drop", "address_drop"),
        ("flow_drop", "flow_drop"),
        ("reset", "reset"),
        ("nxdomain", "dns_nxdomain"),
        ("forged", "dns_forged"),
        ("sni_drop", "sni_drop"),
        ("sni_reset", "sni_reset"),
        ("throttle", "throttled"),
        ("freeze", "frozen"),
        ("data_drop", "data_drop"),
    ],
)
def test_a_block_of_the_direct_path_is_told_in_95_of_100_runs(block: str, kind: str) -> None:
    verdicts = []
    for rtt, loss, warm in CELLS:
        for seed in SEEDS:
            made = network(rtt, loss, seed)
            if not warm:
                made.block(block)
            made.start()
            if warm:
                made.run(2.0 + seed * 0.07)
                made.block(block)
            made.run(8.0)
            verdicts.append(made.verdict())
    right = [verdict for verdict in verdicts if verdict is not None and verdict.kind == kind]
    assert len(right) >= 0.95 * len(verdicts), verdicts
    assert sum(verdict.confidence >= 0.6 for verdict in right) >= 0.9 * len(right)


@pytest.mark.parametrize("standby", ["warm", "cold"])
@pytest.mark.parametrize("rtt", [0.04, 0.2])
def test_a_throttle_is_told_by_a_policy_that_does_not_wait_for_it(standby: Literal["warm", "cold"], rtt: float) -> None:
    for seed in SEEDS:
        policy = Sidedoor(ROUTES, SidedoorSettings(standby=standby), Random(seed), Recollection())
        made = network(rtt, 0.0, seed, policy=policy)
        made.start()
        made.run(2.0 + seed * 0.07)
        made.block("throttle")
        made.run(8.0)
        verdict = made.verdict()
        assert verdict is not None
        assert verdict.kind == "throttled"


@pytest.mark.parametrize(("block", "kind"), [("address_drop", "proxy_dead"), ("upstream", "proxy_upstream_dead")])
@pytest.mark.parametrize("quiet", [True, False], ids=["TCP tells", "dials tell"])
def test_a_proxy_that_dies_while_it_is_used(block: str, kind: str, quiet: bool) -> None:
    verdicts = []
    for rtt, loss, probes in ((0.04, 0.0, True), (0.04, 0.01, True), (0.2, 0.0, True), (0.04, 0.0, not quiet)):
        made = network(rtt, loss, 2, quiet=quiet, probes=probes)
        made.block("address_drop")
        made.start()
        made.run(6)
        assert made.in_use is not None
        route = made.lines[made.in_use].route
        assert route != "direct"
        made.block(block, route)
        made.run(6)
        verdicts.append(made.verdict(route))
    assert [verdict.kind for verdict in verdicts if verdict is not None] == [kind] * len(verdicts)


@pytest.mark.parametrize("rtt", [0.04, 0.2])
def test_loss_and_jitter_alone_give_no_opinion(rtt: float) -> None:
    for seed in SEEDS:
        made = network(rtt, 0.01, seed, verdict=4.0)
        made.start()
        made.run(60)
        assert not made.told


def test_everything_silent_is_the_networks_end() -> None:
    made = network(0.04, 0.0, 1)
    made.start()
    made.run(3)
    for name in made.paths:
        made.block("address_drop", name)
    made.run(15)
    assert made.verdict() == Diagnosed("direct", "network_down", 0.9)


def test_an_origin_that_no_way_leads_to() -> None:
    made = network(0.04, 0.0, 1)
    made.start()
    made.run(3)
    for name, path in made.paths.items():
        made.block("upstream" if path.proxied else "address_drop", name)
    made.run(15)
    verdict = made.verdict("proxy2")
    assert verdict is not None
    assert verdict.kind == "origin_down"


# -- by hand


class Told:
    """A diagnosis with what was said."""

    def __init__(self, routes: list[RouteFacts] = ROUTES, quiet: float | None = None) -> None:
        self.diagnosis = Diagnosis(routes, quiet_seconds=lambda connection: quiet)
        self.found: list[Diagnosed] = []

    def __call__(self, now: float, *what: Observation | Command) -> list[Diagnosed]:
        for each in what:
            if isinstance(each, Dial | Ping | Abort | Close | PathBad):
                self.diagnosis.ordered(each, now)
            else:
                self.diagnosis.observe(each, now)  # type: ignore[arg-type]  # no other command is given here
        found = self.diagnosis.verdicts(now)
        self.found += found
        return found


def stand(told: Told, number: int, route: str, now: float) -> None:
    told(now, Dial(number, route), StageReached(number, "tcp"))
    told(now + 0.04, StageReached(number, "tls"))
    told(now + 0.12, Established(number, 0.12))


def test_an_opinion_can_be_asked_for() -> None:
    told = Told()
    told(0.0, Dial(1, "direct"), StageReached(1, "dns"))
    assert told.diagnosis.opinion("direct") is None
    assert told.diagnosis.opinion("unheard of") is None
    assert told(0.1, DialFailed(1, "dns", "dns_nxdomain_error")) == [Diagnosed("direct", "dns_nxdomain", 0.9)]
    assert told.diagnosis.opinion("direct") == Diagnosed("direct", "dns_nxdomain", 0.9)


def test_a_network_change_forgets_all_of_it() -> None:
    told = Told()
    told(0.0, Dial(1, "direct"), StageReached(1, "dns"), DialFailed(1, "dns", "dns_nxdomain_error"))
    told(1.0, NetworkChanged(Recollection()))
    assert told.diagnosis.opinion("direct") is None


def test_routes_that_are_listed_no_more_are_not_judged() -> None:
    told = Told()
    stand(told, 1, "proxy1", 0.0)
    stand(told, 2, "proxy2", 0.0)
    told(1.0, Sent(2, 1, 1000))
    told(1.0, RoutesChanged((DIRECT, RouteFacts("proxy9", proxied=True))))
    assert told(1.5, Ended(1, "connection_reset"), Abort(2)) == []
    assert told.diagnosis.deadline() is None
    told(2.0, Dial(3, "proxy9"), StageReached(3, "tcp"))
    assert told(2.1, DialFailed(3, "tcp", "connection_refused")) == [Diagnosed("proxy9", "proxy_dead", 0.9)]


def test_a_stage_that_is_pending_grows_surer() -> None:
    told = Told()
    stand(told, 1, "direct", 0.0)
    told(1.0, Ended(1, "eof_error"), Dial(2, "direct"), StageReached(2, "tcp"))
    moments = []
    while (at := told.diagnosis.deadline()) is not None:
        moments.append((round(at - 1.0, 2), told(at)))
    assert moments == [
        (0.42, [Diagnosed("direct", "address_drop", 0.6)]),
        (1.42, []),
        (2.0, [Diagnosed("direct", "address_drop", 0.8)]),
    ]
    assert told(4.5, DialFailed(2, "tcp", "generic_timeout_error")) == [Diagnosed("direct", "address_drop", 0.9)]


def refused(told: Told, number: int, now: float, *, seconds: float, addresses: tuple[str, ...] = ()) -> list[Diagnosed]:
    told(now, Dial(number, "direct"), StageReached(number, "dns"))
    told(now, StageReached(number, "tcp", addresses))
    return told(now + seconds, DialFailed(number, "tcp", "connection_refused"))


def test_refusals_that_look_now_like_one_thing_and_now_like_another_are_told_of_once() -> None:
    """Only how long each took differs, and a busy machine has a part in that."""
    told = Told()
    stand(told, 1, "proxy1", 0.0)
    for number, seconds in enumerate((0.03, 0.03, 0.004, *[0.03] * TRACES), 2):
        refused(told, number, 2.0 * number, seconds=seconds, addresses=("203.0.113.10",))
        told(2.0 * number + 0.1, Ping(1, number), Ponged(1, number))
    kinds = [(found.kind, found.confidence) for found in told.found]
    assert kinds == [("origin_down", 0.4), ("dns_forged", 0.4), ("dns_forged", 0.6), ("reset", 0.8)]


def test_less_sure_another_kind_needs_evidence_of_another_nature() -> None:
    told = Told()
    stand(told, 1, "direct", 0.0)
    told(1.0, Ended(1, "eof_error"))
    assert refused(told, 2, 1.1, seconds=0.04) == [Diagnosed("direct", "origin_down", 0.4)]
    stand(told, 3, "proxy1", 2.0)
    assert refused(told, 4, 3.0, seconds=0.04) == [Diagnosed("direct", "reset", 0.8)]
    told(4.0, Dial(5, "direct"), StageReached(5, "tcp"))
    told(4.1, StageReached(5, "tls"))
    assert told(4.2, DialFailed(5, "tls", "eof_error")) == [Diagnosed("direct", "sni_reset", 0.7)]


@pytest.mark.parametrize("addresses", [(), ("203.0.113.10",)], ids=["no look-up", "a look-up"])
def test_an_origin_that_is_restarted_is_no_block(addresses: tuple[str, ...]) -> None:
    """It refuses on the direct path until it is back, and then a proxy may reach it first."""
    told = Told()
    stand(told, 1, "direct", 0.0)
    told(5.0, Ended(1, "eof_error"))
    refused(told, 2, 5.1, seconds=0.001, addresses=addresses)
    stand(told, 3, "proxy1", 6.0)
    stand(told, 4, "direct", 6.2)
    told(6.5, Sent(4, 1, 1000), Answered(4, 1))
    assert {found.confidence for found in told.found} == {0.4}


def test_that_a_proxy_leads_to_the_origin_refutes_that_it_is_down() -> None:
    told = Told([DIRECT, RouteFacts("proxy1", proxied=True)])
    told(0.0, Dial(1, "direct"), StageReached(1, "tcp"), DialFailed(1, "tcp", "connection_refused"))
    told(0.1, Dial(2, "proxy1"), StageReached(2, "socks_request"))
    told(0.2, DialFailed(2, "socks_request", "socks_connection_refused"))
    refused(told, 4, 0.3, seconds=0.01)
    assert told.diagnosis.opinion("direct") == Diagnosed("direct", "origin_down", 0.6)
    stand(told, 3, "proxy1", 1.0)
    assert told.diagnosis.opinion("direct") == Diagnosed("direct", "reset", 0.4)


def test_a_proxy_is_not_blamed_for_an_origin_that_was_down_and_is_back() -> None:
    told = Told([DIRECT, RouteFacts("proxy1", proxied=True)])
    refused(told, 1, 0.0, seconds=0.01)
    told(0.1, Dial(2, "proxy1"), StageReached(2, "socks_request"))
    told(0.2, DialFailed(2, "socks_request", "socks_connection_refused"))
    assert told.diagnosis.opinion("proxy1") == Diagnosed("proxy1", "origin_down", 0.6)
    stand(told, 3, "direct", 1.0)
    assert told.diagnosis.opinion("proxy1") == Diagnosed("proxy1", "proxy_upstream_dead", 0.4)


def test_one_slow_dial_that_comes_through_was_an_accident() -> None:
    told = Told()
    told(0.0, Dial(1, "direct"), StageReached(1, "tcp"))
    told(1.04, StageReached(1, "tls"))
    told(1.12, Established(1, 1.12))
    assert told.found == []


def test_a_transport_that_is_neither_silent_nor_alive_tells_nothing() -> None:
    told = Told(quiet=0.7)
    stand(told, 1, "proxy1", 0.0)
    told(1.0, Sent(1, 1, 1000))
    assert told(2.0, PathBad("proxy1", "ack_overdue"), Abort(1)) == []
    at = told.diagnosis.deadline()
    assert at is not None
    assert told(at) == [Diagnosed("proxy1", "proxy_dead", 0.4)]


def test_a_path_bad_and_a_command_about_what_is_not_known_here() -> None:
    told = Told()
    assert told(0.0, PathBad("elsewhere", "reset"), Dial(7, "elsewhere"), Abort(7), Ping(7, 1), Answered(7, 1)) == []


def test_answers_to_what_was_never_asked_change_nothing() -> None:
    told = Told()
    stand(told, 1, "direct", 0.0)
    assert told(1.0, Answered(1, 1), Ponged(1, 1), Heard(1)) == []
    assert told.diagnosis.deadline() is None


def test_a_trace_of_a_route_that_left_is_not_looked_at() -> None:
    told = Told()
    stand(told, 1, "proxy1", 0.0)
    stand(told, 2, "direct", 0.0)
    told(1.0, Sent(1, 1, 1000), Sent(2, 1, 1000))
    told(1.0, PathBad("proxy1", "reset"), RoutesChanged((DIRECT,)))
    at = told.diagnosis.deadline()
    assert at is not None
    told(at + 1.0)
    assert {found.route for found in told.found} <= {"direct"}


NUMBERS = st.integers(1, 4)
NAMES = st.sampled_from(["direct", "proxy1", "proxy2", "gone"])
STAGES = st.sampled_from(["dns", "tcp", "socks_greeting", "socks_request", "tls", "upgrade"])
FAILURES = st.sampled_from(
    [
        *("generic_timeout_error", "connection_reset", "connection_refused", "eof_error", "dns_nxdomain_error"),
        *("ssl_unknown_authority", "host_unreachable", "network_unreachable"),
    ]
)
ADDRESSES = st.sampled_from([(), ("203.0.113.10",), ("127.0.0.1", "::1")])
EVENTS = st.one_of(
    st.builds(Dial, NUMBERS, NAMES),
    st.builds(Ping, NUMBERS, NUMBERS),
    st.builds(Abort, NUMBERS),
    st.builds(Close, NUMBERS),
    st.builds(PathBad, NAMES, st.sampled_from(["ack_overdue", "slow", "reset", "eof", "dial_failed"])),
    st.builds(Established, NUMBERS, st.just(0.1)),
    st.builds(StageReached, NUMBERS, STAGES, ADDRESSES),
    st.builds(DialFailed, NUMBERS, STAGES, FAILURES),
    st.builds(Ended, NUMBERS, FAILURES),
    st.builds(Sent, NUMBERS, NUMBERS, st.just(1000)),
    st.builds(Answered, NUMBERS, NUMBERS),
    st.builds(Ponged, NUMBERS, NUMBERS),
    st.builds(Heard, NUMBERS),
    st.just(NetworkChanged(Recollection())),
    st.just(RoutesChanged(tuple(ROUTES[:2]))),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.floats(0.0, 3.0), EVENTS), max_size=60), st.sampled_from([None, 0.0, 5.0]))
def test_any_stream_is_judged_without_an_exception(stream: list[tuple[float, Any]], quiet: float | None) -> None:
    told = Told(quiet=quiet)
    now = 0.0
    for seconds, event in stream:
        now += seconds
        due = told.diagnosis.deadline()
        if due is not None and due <= now:
            told(due)
        told(now, event)
        due = told.diagnosis.deadline()
        assert due is None or due > now, "time alone is never asked for twice"
    for found in told.found:
        assert found.kind in KINDS
        assert 0.0 <= found.confidence <= 1.0


SILENT, REFUSED = "generic_timeout_error", "connection_refused"
TRIED = [RouteFacts("tls-fragment", proxied=False), DIRECT, RouteFacts("proxy1", proxied=True)]
Ends = dict[str, tuple[str, str | None]]


def concluded(order: tuple[str, ...], ends: Ends) -> dict[str, tuple[str, float] | None]:
    """Opinions after a probe of `TRIED`, whose dials end in this `order`, 1 s after each other. `ends`: each route's
    last stage and failure; a failure of None: the origin answers a ping."""
    diagnosis = Diagnosis(TRIED)
    numbers = {facts.name: number for number, facts in enumerate(TRIED)}
    for name, number in numbers.items():
        diagnosis.ordered(Dial(number, name), 0.0)
        diagnosis.observe(StageReached(number, "tcp"), 0.01)
    for now, name in enumerate(order, 1):
        number, (stage, failure) = numbers[name], ends[name]
        if stage != "tcp":
            for passed in ("socks_greeting", "socks_request") if name == "proxy1" else ():
                diagnosis.observe(StageReached(number, passed), now)
            diagnosis.observe(StageReached(number, stage), now)
        if failure is None:
            diagnosis.observe(Established(number, 1.0), now)
            diagnosis.ordered(Ping(number, number), now)
            diagnosis.observe(Ponged(number, number), now + 0.1)
            diagnosis.ordered(Close(number), now + 0.1)
        else:
            diagnosis.observe(DialFailed(number, stage, failure), now)
    diagnosis.conclude(0.0, 4.0)
    opinions = {name: diagnosis.opinion(name) for name in numbers}
    return {name: None if told is None else (told.kind, told.confidence) for name, told in opinions.items()}


@pytest.mark.parametrize("order", list(permutations(facts.name for facts in TRIED)))
@pytest.mark.parametrize(
    ("ends", "kinds"),
    [
        (
            {"tls-fragment": ("tcp", SILENT), "direct": ("tcp", SILENT), "proxy1": ("tls", None)},
            {"tls-fragment": ("address_drop", 0.9), "direct": ("address_drop", 0.9), "proxy1": None},
        ),
        (
            {"tls-fragment": ("tcp", SILENT), "direct": ("tcp", SILENT), "proxy1": ("tcp", SILENT)},
            {name: ("network_down", 0.9) for name in ("tls-fragment", "direct", "proxy1")},
        ),
        (
            {"tls-fragment": ("tcp", SILENT), "direct": ("tcp", SILENT), "proxy1": ("tls", SILENT)},
            {name: ("origin_down", 0.6) for name in ("tls-fragment", "direct", "proxy1")},
        ),
        (
            {"tls-fragment": ("tcp", REFUSED), "direct": ("tcp", REFUSED), "proxy1": ("tls", None)},
            {"tls-fragment": ("reset", 0.6), "direct": ("reset", 0.6), "proxy1": None},
        ),
        (
            {"tls-fragment": ("tls", "ssl_unknown_authority"), "direct": ("tcp", REFUSED), "proxy1": ("tcp", REFUSED)},
            {
                "tls-fragment": ("tls_intercepted", 0.6),
                "direct": ("origin_down", 0.4),
                "proxy1": ("proxy_dead", 0.9),
            },
        ),
    ],
    ids=[
        "the proxy works",
        "all are silent",
        "the origin is silent",
        "the proxy works where others are refused",
        "nothing works and no resolver was asked",
    ],
)
def test_a_probes_opinions_do_not_depend_on_which_dial_ends_first(
    order: tuple[str, ...], ends: Ends, kinds: dict[str, tuple[str, float] | None]
) -> None:
    assert concluded(order, ends) == kinds
