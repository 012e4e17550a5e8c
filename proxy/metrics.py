"""What the proxy counts, in memory that all workers share.

Each worker has a row of 64-bit cells, which it alone writes: no lock, no system call, some 0.1 us. Whoever reads adds
the rows up. `Metrics` says what is counted; `Row` has a method for each event on the hot path; `proxy.exposition` puts
it all into Prometheus' words.

    shared = Shared(places=2, state="/var/lib/sidedoor/quotas")     # before the forks
    row = shared.row(place)                                         # in the worker at that place
    user = shared.ledger.slot_of("anna")                            # UNNAMED without a name
    row.opened("socks5", Command.CONNECT)
    row.moved(user, 100, 2000)                                      # as often as wanted, each byte once
    row.closed(Reason.EOF, spliced=False)
    row.gauges(flows=len(relay), handshakes=3)                      # whenever somebody asks
    shared.forget_place(place)                                      # in the supervisor, when that worker has died
    shared.supervisor.restarted()
    text = proxy.exposition.exposition(shared)                      # in any process

A worker that dies leaves its row to its successor: counters go on from there, gauges are 0 again.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from mmap import mmap
from typing import get_args

from proxy.ledger import SLOTS, Ledger
from proxy.relay.flow import Reason
from proxy.settings import CommandName, Protocol
from proxy.wire import Command, ReplyCode

PROTOCOLS: tuple[str, ...] = get_args(Protocol)
COMMANDS: tuple[str, ...] = get_args(CommandName)  # in the order of their codes, 1, 2, 3
DIRECTIONS = ("up", "down")
BUCKETS_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0)


class Failure(StrEnum):
    """Why a handshake ended before there was a request."""

    BAD_VERSION = "bad_version"
    NO_METHOD = "no_method"
    WRONG_PASSWORD = "wrong_password"
    BACKED_OFF = "backed_off"
    DEADLINE = "deadline"
    MALFORMED = "malformed"
    DROPPED = "dropped"
    TLS = "tls"
    PROXY_HEADER = "proxy_header"


class Drop(StrEnum):
    """Why a datagram was not forwarded."""

    FRAGMENT = "fragment"
    POLICY = "policy"
    SOURCE = "source"
    MALFORMED = "malformed"
    UNRESOLVED = "unresolved"
    UNSENT = "unsent"
    LIMIT = "limit"


class Kind(StrEnum):
    """How Prometheus takes a family."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Family:
    """Cells that are counted under one name, one for each combination of labels, from `first` on.

    A histogram has a cell for each bucket, one for what is above them all, and one for the sum, in microseconds.
    """

    kind: Kind
    name: str
    help: str
    first: int
    labels: dict[str, tuple[str, ...]]

    @property
    def cells(self) -> int:
        """How many there are."""
        return len(BUCKETS_SECONDS) + 2 if self.kind is Kind.HISTOGRAM else len(list(self.combinations()))

    def combinations(self) -> Iterator[tuple[str, ...]]:
        """The labels of the cells, in their order."""
        return product(*self.labels.values())

    def indices(self) -> dict[str, int]:
        """With one label: its value -> the cell."""
        return {values[0]: self.first + i for i, values in enumerate(self.combinations())}


class _Layout:
    def __init__(self) -> None:
        self.families: list[Family] = []
        self.width = 0

    def add(self, kind: Kind, name: str, help: str, **labels: tuple[str, ...]) -> Family:
        family = Family(kind, name, help, self.width, labels)
        self.families.append(family)
        self.width += family.cells
        return family


_layout = _Layout()
_counter, _gauge, _histogram = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM


class Metrics:
    """The families. Names without `sidedoor_proxy_`, and `_total` of counters."""

    OPENED = _layout.add(_counter, "flows_opened", "Flows that were established.", protocol=PROTOCOLS, command=COMMANDS)
    CLOSED = _layout.add(_counter, "flows_closed", "Flows that ended, by why.", reason=tuple(Reason))
    RELAYED = _layout.add(
        _counter,
        "flows_relayed",
        "Flows that ended, by how their bytes were moved: with splice at some time, or with copy only.",
        mode=("copy", "splice"),
    )
    REFUSED = _layout.add(
        _counter,
        "requests_refused",
        "Requests that were refused, by the reply (REP of RFC 1928 section 6).",
        reply=tuple(code.name.lower() for code in ReplyCode if code),
    )
    FAILED = _layout.add(
        _counter, "handshake_failures", "Handshakes that ended before a request, by why.", reason=tuple(Failure)
    )
    LOGINS = _layout.add(_counter, "logins", "Right passwords.")
    FORWARDED = _layout.add(
        _counter, "datagrams_forwarded", "UDP datagrams that were forwarded, up: to the target.", direction=DIRECTIONS
    )
    DROPPED = _layout.add(
        _counter, "datagrams_dropped", "UDP datagrams that were not forwarded, by why.", reason=tuple(Drop)
    )
    DNS = _layout.add(_histogram, "dns_seconds", "How long it took to resolve names of targets.")
    DIAL = _layout.add(_histogram, "dial_seconds", "How long it took to connect to targets, names apart.")
    ACCEPTS_REFUSED = _layout.add(
        _counter, "accepts_refused", "Clients turned away because descriptors or memory had run out."
    )
    RESTARTS = _layout.add(_counter, "worker_restarts", "Workers that died and were started again.")
    ACCESS_LOST = _layout.add(_counter, "access_records_lost", "Lines that did not get into the access log.")
    OPEN_FLOWS = _layout.add(_gauge, "open_flows", "Flows that are open.")
    OPEN_HANDSHAKES = _layout.add(_gauge, "open_handshakes", "Clients that have not said yet what they want.")
    DRAINING = _layout.add(_gauge, "draining", "1 while no new clients are accepted and flows may finish.")


FAMILIES: tuple[Family, ...] = tuple(_layout.families)
_PID = _layout.width  # of the process that has the row; no metric, but a way to them
_USER_BYTES = _PID + 1  # by slot and direction
_WIDTH = _USER_BYTES + 2 * SLOTS
_GAUGES = (_PID, *(one.first for one in FAMILIES if one.kind is Kind.GAUGE))

# What a method of `Row` adds to is looked up once, here.
_OPENED = {protocol: Metrics.OPENED.first + i * len(COMMANDS) - 1 for i, protocol in enumerate(PROTOCOLS)}
_CLOSED = Metrics.CLOSED.indices()
_RELAYED = Metrics.RELAYED.first
_REFUSED = Metrics.REFUSED.first - 1  # codes begin with 1
_FAILED = Metrics.FAILED.indices()
_LOGINS = Metrics.LOGINS.first
_FORWARDED = Metrics.FORWARDED.first
_DROPPED = Metrics.DROPPED.indices()
_DNS, _DIAL = Metrics.DNS.first, Metrics.DIAL.first


class Row:
    """The cells of one process, which no other writes."""

    __slots__ = ("_cells",)

    def __init__(self, cells: memoryview) -> None:
        self._cells = cells

    def add(self, index: int, n: int = 1) -> None:
        """Count `n` more in the cell `index` (`Family.first` and after)."""
        self._cells[index] += n

    def opened(self, protocol: str, command: Command) -> None:
        """A flow stands: a connection, or an association."""
        self._cells[_OPENED[protocol] + command] += 1

    def moved(self, user: int, up: int, down: int) -> None:
        """So many bytes more were delivered, of flows of the user in that slot of the ledger."""
        cells, index = self._cells, _USER_BYTES + 2 * user
        cells[index] += up
        cells[index + 1] += down

    def closed(self, reason: Reason, *, spliced: bool = False) -> None:
        """A flow that `opened` counted has ended; its last bytes are to be `moved`, too."""
        self._cells[_CLOSED[reason]] += 1
        self._cells[_RELAYED + spliced] += 1

    def refused(self, reply: ReplyCode) -> None:
        """A request was answered with `reply`."""
        self._cells[_REFUSED + reply] += 1

    def failed(self, why: Failure) -> None:
        """A handshake is over, and there was no request."""
        self._cells[_FAILED[why]] += 1

    def logged_in(self) -> None:
        """A password was right."""
        self._cells[_LOGINS] += 1

    def datagram_forwarded(self, direction: int) -> None:
        """A datagram went on, in the direction `ledger.UP` or `ledger.DOWN`."""
        self._cells[_FORWARDED + direction] += 1

    def datagram_dropped(self, why: Drop) -> None:
        """A datagram did not go on."""
        self._cells[_DROPPED[why]] += 1

    def resolved(self, seconds: float) -> None:
        """A name was looked up, with success or not."""
        self._observe(_DNS, seconds)

    def dialed(self, seconds: float) -> None:
        """A target was connected to, with success or not."""
        cells = self._cells  # `_observe`, without its call: each connection comes here
        cells[_DIAL + bisect_left(BUCKETS_SECONDS, seconds)] += 1
        cells[_DIAL + len(BUCKETS_SECONDS) + 1] += int(max(0.0, seconds) * 1e6)

    def accept_refused(self) -> None:
        """A client was turned away for lack of descriptors."""
        self._cells[Metrics.ACCEPTS_REFUSED.first] += 1

    def access_lost(self, records: int) -> None:
        """So many lines more did not get into the access log."""
        self._cells[Metrics.ACCESS_LOST.first] += records

    def restarted(self) -> None:
        """A worker was started in the place of one that died (the supervisor's)."""
        self._cells[Metrics.RESTARTS.first] += 1

    def gauges(self, *, flows: int, handshakes: int) -> None:
        """So many are open now."""
        self._cells[Metrics.OPEN_FLOWS.first] = flows
        self._cells[Metrics.OPEN_HANDSHAKES.first] = handshakes

    def _observe(self, first: int, seconds: float) -> None:
        self._cells[first + bisect_left(BUCKETS_SECONDS, seconds)] += 1
        self._cells[first + len(BUCKETS_SECONDS) + 1] += int(max(0.0, seconds) * 1e6)


class Counters:
    """All rows: `rows` of them, each written by one process at a time."""

    def __init__(self, rows: int) -> None:
        self._cells = memoryview(mmap(-1, 8 * _WIDTH * rows)).cast("Q")

    def cells(self, row: int) -> memoryview:
        """The cells of one row."""
        return self._cells[row * _WIDTH : (row + 1) * _WIDTH]

    def of(self, row: int, index: int) -> int:
        """What is in a cell of one row."""
        return int(self._cells[row * _WIDTH + index])

    def put(self, row: int, index: int, value: int) -> None:
        """Set a cell of one row."""
        self._cells[row * _WIDTH + index] = value

    def total(self, index: int) -> int:
        """The sum of a cell over all rows."""
        return sum(self._cells[index::_WIDTH])

    def forget(self, row: int) -> None:
        """Its process is gone: its gauges are 0."""
        for index in _GAUGES:
            self.put(row, index, 0)


class Shared:
    """All that the processes of a proxy share: `places` workers, and the supervisor. To be made before they fork.

    `state` is the file in which quotas outlive a restart. Raises SettingsError where that cannot be used.
    """

    def __init__(self, places: int, state: str = "") -> None:
        self.places = places
        self.ledger = Ledger(places, state)
        self.counters = Counters(places + 1)
        self.supervisor = Row(self.counters.cells(places))

    def close(self) -> None:
        """Close the ledger; its file stays."""
        self.ledger.close()

    def row(self, place: int) -> Row:
        """The row of the worker at `place`. To be called in its process: this notes whose it is."""
        self.counters.put(place, _PID, os.getpid())
        return Row(self.counters.cells(place))

    def pids(self) -> dict[int, int]:
        """place -> process, of the workers that live."""
        found = {place: self.counters.of(place, _PID) for place in range(self.places)}
        return {place: pid for place, pid in found.items() if pid}

    def forget_place(self, place: int) -> None:
        """The worker at `place` is dead: what it had open is not any more. Before its successor starts."""
        self.counters.forget(place)
        self.ledger.forget_place(place)

    @property
    def draining(self) -> bool:
        """Whether no new clients are accepted and flows may finish; the supervisor sets it, anybody may."""
        return bool(self.counters.of(self.places, Metrics.DRAINING.first))

    @draining.setter
    def draining(self, value: bool) -> None:
        self.counters.put(self.places, Metrics.DRAINING.first, int(value))

    def user_bytes(self, slot: int) -> tuple[int, int]:
        """Bytes up and down of the user in that slot of the ledger."""
        return self.counters.total(_USER_BYTES + 2 * slot), self.counters.total(_USER_BYTES + 2 * slot + 1)
