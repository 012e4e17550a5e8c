"""UDP ASSOCIATE (RFC 1928 sections 4 and 7)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from ipaddress import ip_address

from lab.benchmarks.conformance.case import case
from lab.benchmarks.conformance.dialogue import enter, expect_offer
from lab.benchmarks.conformance.messages import UDP_ASSOCIATE, datagram, parse_datagram, request
from lab.benchmarks.conformance.outcome import NotOffered, Wrong
from lab.benchmarks.conformance.stage import ANSWER_SECONDS, LOCALHOST, LOCALHOST6, Connection, Datagrams, Stage
from lab.benchmarks.conformance.transfer import BULK

_ASSOCIATE, _UDP = "RFC 1928 sections 4 and 6", "RFC 1928 section 7"
_OTHER_HOST = "127.0.0.2"
_BIG_BYTES = 9000
_LAST = 0x80
"""The bit of FRAG that says: the last fragment."""


@dataclass(frozen=True, slots=True)
class _Association:
    """`relay`: where the client sends to; `control`: the TCP connection that it lasts as long as."""

    control: Connection
    client: Datagrams
    relay: tuple[str, int]
    advertised: str

    def send(self, target: Datagrams, payload: bytes, *, fragment: int = 0) -> None:
        self.client.send(datagram(target.host, target.port, payload, fragment=fragment), self.relay)


def _associate(stage: Stage) -> _Association:
    client = stage.datagrams()
    control = enter(stage)
    reply = expect_offer(control, request(UDP_ASSOCIATE, "0.0.0.0", 0), "UDP ASSOCIATE")
    # A server that names no host is asked on the one it was reached at, so that the other cases can judge the rest.
    nameless = not reply.host or reply.host in ("0.0.0.0", "::")
    return _Association(control, client, (LOCALHOST if nameless else reply.host, reply.port), reply.host)


def _expect_at(target: Datagrams, payload: bytes, what: str) -> tuple[str, int]:
    """This comes next to the target; from where."""
    data, where = target.receive(f"{what}, at the target")
    if data != payload:
        raise Wrong(f"{what}: other bytes came to the target: {data[:20].hex(' ')} ({len(data)})")
    return where


def _expect_back(client: Datagrams, payload: bytes, what: str) -> tuple[str, int]:
    """This comes next to the client; from where the header says it is."""
    data, _ = client.receive(f"{what}, at the client")
    if (got := parse_datagram(data)) is None:
        raise Wrong(f"{what}: no header of RFC 1928 section 7 in what came: {data[:20].hex(' ')}")
    if got.fragment:
        raise Wrong(f"{what}: FRAG is {got.fragment:02X}")
    if got.payload != payload:
        raise Wrong(f"{what}: other bytes came to the client ({len(got.payload)} of {len(payload)})")
    return got.host, got.port


def _round_trip(association: _Association, target: Datagrams, name: str | bytes = "", payload: bytes = b"ping") -> None:
    association.client.send(datagram(name or target.host, target.port, payload), association.relay)
    where = _expect_at(target, payload, "a datagram")
    target.send(payload[::-1], where)
    source = _expect_back(association.client, payload[::-1], "the answer")
    if source != (target.host, target.port) and not name:
        raise Wrong(f"the answer's header says {source[0]} {source[1]}, it is of {target.host} {target.port}")


@case(
    "udp-associate",
    _ASSOCIATE,
    sent="UDP ASSOCIATE",
    right="REP 00 and an address that a client can send to; the TCP connection stays open",
    optional=True,
)
def associate(stage: Stage) -> None:
    association = _associate(stage)
    try:
        unusable = ip_address(association.advertised).is_unspecified
    except ValueError:
        raise Wrong("BND.ADDR is a domain") from None
    if unusable or not association.relay[1]:
        raise Wrong(f"nobody can send to {association.advertised} {association.relay[1]}")
    association.control.expect_nothing("after the reply", 0.1)


@case(
    "udp-ipv4",
    _UDP,
    sent="a datagram for 127.0.0.1, and one back",
    right="both, with the target in the header",
    optional=True,
)
def ipv4(stage: Stage) -> None:
    _round_trip(_associate(stage), stage.datagrams())


@case(
    "udp-ipv6",
    _UDP,
    sent="a datagram for ::1, and one back",
    right="both, with the target in the header",
    optional=True,
)
def ipv6(stage: Stage) -> None:
    _round_trip(_associate(stage), stage.datagrams(LOCALHOST6))


@case("udp-domain", _UDP, sent='a datagram for the domain "localhost", and one back', right="both", optional=True)
def domain(stage: Stage) -> None:
    _round_trip(_associate(stage), stage.datagrams(), b"localhost")


@case(
    "udp-big",
    _UDP,
    sent=f"a datagram of no bytes and one of {_BIG_BYTES}, and back",
    right="both, whole",
    optional=True,
)
def big(stage: Stage) -> None:
    association, target = _associate(stage), stage.datagrams()
    _round_trip(association, target, payload=BULK[:_BIG_BYTES])
    _round_trip(association, target, payload=b"")


@case(
    "udp-two-targets",
    _UDP,
    sent="datagrams for two targets in one association; both answer, the second first",
    right="each with its own target, each answer with its own source",
    optional=True,
)
def two_targets(stage: Stage) -> None:
    association, one, two = _associate(stage), stage.datagrams(), stage.datagrams()
    association.send(one, b"to one")
    association.send(two, b"to two")
    one_where, two_where = _expect_at(one, b"to one", "a datagram"), _expect_at(two, b"to two", "a datagram")
    for target, where, payload in ((two, two_where, b"of two"), (one, one_where, b"of one")):
        target.send(payload, where)
        if _expect_back(association.client, payload, "the answer") != (target.host, target.port):
            raise Wrong("an answer's header says the other target")


@case(
    "udp-two-clients",
    _ASSOCIATE,
    sent="two associations, datagrams for the same target",
    right="each answer comes to whom it is for",
    optional=True,
)
def two_clients(stage: Stage) -> None:
    one, two, target = _associate(stage), _associate(stage), stage.datagrams()
    one.send(target, b"of one")
    one_where = _expect_at(target, b"of one", "a datagram")
    two.send(target, b"of two")
    two_where = _expect_at(target, b"of two", "a datagram")
    target.send(b"to two", two_where)
    target.send(b"to one", one_where)
    _expect_back(one.client, b"to one", "the answer")
    _expect_back(two.client, b"to two", "the answer")


@case(
    "udp-other-port",
    "practice: an association is one client's (v2ray-core issue 104)",
    sent="after a round trip, a datagram from another port of the client's host; then an answer of the target",
    right="the datagram is dropped, the answer comes to the client's first port",
    optional=True,
)
def other_port(stage: Stage) -> None:
    association, target, stranger = _associate(stage), stage.datagrams(), stage.datagrams()
    association.send(target, b"mine")
    where = _expect_at(target, b"mine", "a datagram")
    stranger.send(datagram(target.host, target.port, b"not mine"), association.relay)
    forwarded = target.receive_any() is not None
    target.send(b"answer", where)
    if stranger.receive_any(0.1):
        raise Wrong("another port got the client's answers by sending a datagram")
    _expect_back(association.client, b"answer", "the answer after a stranger's datagram")
    if forwarded:
        raise Wrong("a datagram of another port was forwarded")


@case(
    "udp-other-host",
    "RFC 1928 section 7: datagrams of other source addresses MUST be dropped",
    sent=f"datagrams from {_OTHER_HOST}, before and after one of the client's",
    right="only the client's is forwarded",
    optional=True,
)
def other_host(stage: Stage) -> None:
    association, target, stranger = _associate(stage), stage.datagrams(), stage.datagrams(_OTHER_HOST)
    foreign = datagram(target.host, target.port, b"not mine")
    stranger.send(foreign, association.relay)
    if target.receive_any():
        raise Wrong(f"a datagram of {_OTHER_HOST} was forwarded, the first of the association")
    _round_trip(association, target)
    stranger.send(foreign, association.relay)
    if target.receive_any():
        raise Wrong(f"a datagram of {_OTHER_HOST} was forwarded")
    _round_trip(association, target)


@case(
    "udp-ends-with-tcp",
    "RFC 1928 section 7: the association terminates when the TCP connection does",
    sent="a round trip; the TCP connection is closed; more datagrams",
    right="none is forwarded any more",
    optional=True,
)
def ends_with_tcp(stage: Stage) -> None:
    association, target = _associate(stage), stage.datagrams()
    _round_trip(association, target)
    association.control.sock.close()
    until = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < until:
        association.send(target, b"after the end")
        if target.receive_any(0.2) is None:
            return
        time.sleep(0.05)
    raise Wrong(f"datagrams were still forwarded {ANSWER_SECONDS:g} s after the end")


def _fragments_come(association: _Association, target: Datagrams) -> bool:
    """Send a datagram in two fragments: whether it comes as one. Raises Wrong where they come as they are."""
    association.send(target, b"frag", fragment=1)
    association.send(target, b"ments", fragment=2 | _LAST)
    came = target.receive_any()
    if came is None:
        return False
    if came[0] != b"fragments":
        raise Wrong(f"a fragment was forwarded as a datagram: {came[0][:20].hex(' ')}")
    return True


@case(
    "udp-fragment-alone",
    "RFC 1928 section 7: FRAG other than 00 MUST be dropped by who does not reassemble",
    sent="two fragments of a datagram; then a whole one",
    right="forwarded as one or not at all, never as they are; the whole one is forwarded",
    optional=True,
)
def fragment_alone(stage: Stage) -> None:
    association, target = _associate(stage), stage.datagrams()
    _round_trip(association, target)
    _fragments_come(association, target)
    _round_trip(association, target)


@case(
    "udp-reassembly",
    "RFC 1928 section 7 (optional)",
    sent="two fragments of a datagram",
    right="one datagram at the target",
    optional=True,
)
def reassembly(stage: Stage) -> None:
    if not _fragments_come(_associate(stage), stage.datagrams()):
        raise NotOffered("fragments are dropped")


@case(
    "udp-malformed",
    _UDP,
    sent="datagrams that are empty, cut in every field, or of an unknown address type; then a right one",
    right="only the right one is forwarded",
    optional=True,
)
def malformed(stage: Stage) -> None:
    association, target = _associate(stage), stage.datagrams()
    _round_trip(association, target)
    whole = datagram(target.host, target.port, b"")
    named = datagram(b"localhost", target.port, b"")
    for data in (
        *(whole[:size] for size in range(len(whole))),
        *(named[:size] for size in range(4, len(named))),
        whole[:3] + b"\2" + whole[4:] + b"unknown type",
    ):
        association.client.send(data, association.relay)
    association.send(target, b"right")
    _expect_at(target, b"right", "the right one after malformed ones")


CASES = (
    associate,
    ipv4,
    ipv6,
    domain,
    big,
    two_targets,
    two_clients,
    other_port,
    other_host,
    ends_with_tcp,
    fragment_alone,
    reassembly,
    malformed,
)
