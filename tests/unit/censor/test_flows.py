"""censor/flows.py"""

from __future__ import annotations

from censor.flows import FlowTable, flow_key
from censor.packets import TCP, Packet
from censor.reassembly import Head

FIRST, SECOND, THIRD = ((b"c" * 4, port, b"s" * 4, 443) for port in (1, 2, 3))


def test_least_recently_looked_at_goes_first() -> None:
    table = FlowTable(2)
    kept = table.open(FIRST, Head(0, 10))
    table.open(SECOND, Head(0, 10))
    assert table.get(FIRST) is kept
    table.open(THIRD, Head(0, 10))
    assert table.get(SECOND) is None
    assert table.get(FIRST) is kept
    assert (len(table), table.evicted) == (2, 1)


def test_open_takes_the_place_of_an_older_flow() -> None:
    table = FlowTable(2)
    table.open(FIRST, Head(0, 10)).decide("a.example")
    table.open(FIRST, Head(0, 10))
    found = table.get(FIRST)
    assert found is not None
    assert found.name is None
    assert (len(table), table.evicted) == (1, 0)


def test_decided_flow_holds_no_bytes() -> None:
    flow = FlowTable(2).open(FIRST, Head(0, 10))
    flow.decide("")
    assert flow.head is None


def test_both_ends_have_one_key() -> None:
    packet = Packet(TCP, b"c" * 4, b"s" * 4, 40000, 443, b"", 0, 40)
    answer = Packet(TCP, b"s" * 4, b"c" * 4, 443, 40000, b"", 0, 40)
    assert flow_key(packet, from_server=False) == flow_key(answer, from_server=True)
