"""censor/flows.py"""

from __future__ import annotations

from censor.flows import Flow, FlowTable, flow_key
from censor.packets import TCP, Packet

FIRST, SECOND, THIRD = (Packet(TCP, b"c" * 4, b"s" * 4, port, 443, b"", 0, 40, 9, 5) for port in (1, 2, 3))


def get(table: FlowTable, packet: Packet) -> Flow | None:
    return table.get(flow_key(packet, from_server=False))


def test_least_recently_looked_at_goes_first() -> None:
    table = FlowTable(2)
    kept = table.open(FIRST, 10)
    table.open(SECOND, 10)
    assert get(table, FIRST) is kept
    table.open(THIRD, 10)
    assert get(table, SECOND) is None
    assert get(table, FIRST) is kept
    assert (len(table), table.evicted) == (2, 1)


def test_open_takes_the_place_of_an_older_flow() -> None:
    table = FlowTable(2)
    table.open(FIRST, 10).decide("a.example")
    table.open(FIRST, 10)
    found = get(table, FIRST)
    assert found is not None
    assert found.name is None
    assert (len(table), table.evicted) == (1, 0)


def test_flow_starts_with_the_packet() -> None:
    flow = FlowTable(2).open(FIRST, 10)
    assert flow.acknowledgment == 5
    assert flow.head is not None
    assert flow.head.add(9, b"x" * 20) == b"x" * 10


def test_decided_flow_holds_no_bytes() -> None:
    flow = FlowTable(2).open(FIRST, 10)
    flow.decide("")
    assert flow.head is None


def test_both_ends_have_one_key() -> None:
    packet = Packet(TCP, b"c" * 4, b"s" * 4, 40000, 443, b"", 0, 40)
    answer = Packet(TCP, b"s" * 4, b"c" * 4, 443, 40000, b"", 0, 40)
    assert flow_key(packet, from_server=False) == flow_key(answer, from_server=True)
