"""The counters: each event counts where it belongs, rows add up, a dead worker's counts stay."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from proxy.ledger import DOWN, UNNAMED, UP
from proxy.metrics import BUCKETS_SECONDS, FAMILIES, Drop, Failure, Family, Metrics, Row, Shared
from proxy.relay.flow import Reason
from proxy.wire import Command, ReplyCode


@pytest.fixture
def shared() -> Iterator[Shared]:
    made = Shared(2)
    yield made
    made.close()


def counted(shared: Shared) -> dict[tuple[str, ...], int]:
    """(name, label values...) -> total, of all that is not 0."""
    found: dict[tuple[str, ...], int] = {}
    for family in FAMILIES:
        labels = list(family.combinations())
        for i in range(family.cells):
            if total := shared.counters.total(family.first + i):
                found[(family.name, *(labels[i] if family.labels else ((str(i),) if i else ())))] = total
    return found


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (lambda row: row.opened("socks5", Command.CONNECT), ("flows_opened", "socks5", "connect")),
        (lambda row: row.opened("socks5", Command.UDP_ASSOCIATE), ("flows_opened", "socks5", "udp_associate")),
        (lambda row: row.opened("socks4", Command.BIND), ("flows_opened", "socks4", "bind")),
        (lambda row: row.opened("http", Command.CONNECT), ("flows_opened", "http", "connect")),
        (lambda row: row.refused(ReplyCode.GENERAL_FAILURE), ("requests_refused", "general_failure")),
        (
            lambda row: row.refused(ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED),
            ("requests_refused", "address_type_not_supported"),
        ),
        *((lambda row, why=why: row.failed(why), ("handshake_failures", why.value)) for why in Failure),
        (Row.logged_in, ("logins",)),
        (lambda row: row.datagram_forwarded(UP), ("datagrams_forwarded", "up")),
        (lambda row: row.datagram_forwarded(DOWN), ("datagrams_forwarded", "down")),
        *((lambda row, why=why: row.datagram_dropped(why), ("datagrams_dropped", why.value)) for why in Drop),
        (Row.accept_refused, ("accepts_refused",)),
        (Row.restarted, ("worker_restarts",)),
        (lambda row: row.access_lost(1), ("access_records_lost",)),
        (lambda row: row.add(Metrics.LOGINS.first), ("logins",)),
    ],
)
def test_each_event_counts_in_its_place(
    shared: Shared, event: Callable[[Row], object], expected: tuple[str, ...]
) -> None:
    event(shared.row(1))
    assert counted(shared) == {expected: 1}


@pytest.mark.parametrize("reason", list(Reason))
def test_flows_that_end_count_by_reason_and_by_how_they_were_carried(shared: Shared, reason: Reason) -> None:
    row = shared.row(0)
    row.closed(reason)
    row.closed(reason, spliced=True)
    row.closed(reason, spliced=True)
    assert counted(shared) == {
        ("flows_closed", reason.value): 3,
        ("flows_relayed", "copy"): 1,
        ("flows_relayed", "splice"): 2,
    }


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0.0, 0), (0.001, 0), (0.0011, 1), (0.3, 8), (30.0, 14), (31.0, 15), (-0.1, 0)]
)
def test_lengths_of_time_go_into_their_bucket(shared: Shared, seconds: float, bucket: int) -> None:
    row, first, last = shared.row(0), Metrics.DIAL.first, len(BUCKETS_SECONDS) + 1
    row.dialed(seconds)
    cells = [shared.counters.total(first + i) for i in range(last + 1)]
    assert [i for i, count in enumerate(cells[:-1]) if count] == [bucket]
    assert cells[last] == int(max(seconds, 0) * 1e6)
    row.resolved(seconds)
    assert shared.counters.total(Metrics.DNS.first + bucket) == 1


def test_rows_add_up(shared: Shared) -> None:
    anna = shared.ledger.slot_of("anna")
    for row in (shared.row(0), shared.row(1)):
        row.moved(anna, 10, 200)
        row.moved(UNNAMED, 1, 2)
        row.logged_in()
    shared.supervisor.restarted()
    assert shared.user_bytes(anna) == (20, 400)
    assert shared.user_bytes(UNNAMED) == (2, 4)
    assert counted(shared) == {("logins",): 2, ("worker_restarts",): 1}


def test_the_counters_of_a_dead_worker_stay_and_its_gauges_do_not(shared: Shared) -> None:
    anna = shared.ledger.slot_of("anna")
    for place in (0, 1):
        row = shared.row(place)
        row.logged_in()
        row.gauges(flows=5, handshakes=3)
        shared.ledger.open_flow(anna, place, 0)
    shared.forget_place(0)
    assert counted(shared) == {("logins",): 2, ("open_flows",): 5, ("open_handshakes",): 3}
    assert shared.pids() == {1: os.getpid()}
    assert shared.ledger.flows(anna) == 1
    shared.row(0).logged_in()
    assert counted(shared)[("logins",)] == 3
    assert shared.pids() == {0: os.getpid(), 1: os.getpid()}


def test_draining_is_seen_by_all(shared: Shared) -> None:
    assert not shared.draining
    shared.draining = True
    assert shared.draining
    shared.draining = False
    assert not shared.draining


def test_families_do_not_overlap() -> None:
    cells = [cell for family in FAMILIES for cell in range(family.first, family.first + family.cells)]
    assert cells == list(range(len(cells)))


def test_every_reply_that_refuses_has_its_cell() -> None:
    assert [*Metrics.REFUSED.indices()] == [code.name.lower() for code in sorted(ReplyCode) if code]
    assert sorted(ReplyCode)[:2] == [0, 1]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_help_is_a_sentence(family: Family) -> None:
    assert family.help.endswith(".")
