"""censor/flows.py"""

from __future__ import annotations

import pytest

from censor.compiled import CompiledRules
from censor.flows import Flow, FlowTable, flow_key
from censor.packets import TCP, Packet
from tests.unit.censor.traffic import rules


def packet(port: int, *, from_client: bool = True) -> Packet:
    if from_client:
        return Packet(TCP, b"c" * 4, b"s" * 4, port, 443, b"", 0, 40, 9, 5)
    return Packet(TCP, b"s" * 4, b"c" * 4, 443, port, b"", 0, 40, 9, 5)


def put(table: FlowTable, port: int) -> Flow:
    flow = Flow(packet(port), 0.0, from_client=True)
    table.put(flow_key(packet(port)), flow)
    return flow


def test_least_recently_looked_at_goes_first() -> None:
    table = FlowTable(2)
    kept = put(table, 1)
    put(table, 2)
    assert table.get(flow_key(packet(1))) is kept
    put(table, 3)
    assert table.get(flow_key(packet(2))) is None
    assert table.get(flow_key(packet(1))) is kept
    assert (len(table), table.evicted) == (2, 1)


def test_a_flow_takes_the_place_of_an_older_one() -> None:
    table = FlowTable(2)
    old = put(table, 1)
    new = put(table, 1)
    assert table.get(flow_key(packet(1))) is new is not old
    assert (len(table), table.evicted) == (1, 0)


def test_both_ends_have_one_key() -> None:
    assert flow_key(packet(40000)) == flow_key(packet(40000, from_client=False))
    assert flow_key(packet(40000)) != flow_key(packet(40001))


@pytest.mark.parametrize("from_client", [True, False])
def test_client_is_whom_the_opener_is_said_to_be(from_client: bool) -> None:
    flow = Flow(packet(40000, from_client=from_client), 2.0, from_client=from_client)
    assert (flow.client_address, flow.client_port) == (b"c" * 4, 40000)
    assert (flow.server_address, flow.server_port) == (b"s" * 4, 443)
    assert flow.is_from_client(packet(40000))
    assert not flow.is_from_client(packet(40000, from_client=False))
    assert flow.last_t == 2.0


def test_id_is_of_both_ends_and_the_protocol() -> None:
    one = Flow(packet(40000), 0.0, from_client=True)
    same = Flow(packet(40000, from_client=False), 1.0, from_client=False)
    other = Flow(packet(40001), 0.0, from_client=True)
    udp = Flow(packet(40000)._replace(protocol=17), 0.0, from_client=True)
    assert one.id == same.id
    assert len({one.id, other.id, udp.id}) == 3


def test_name_is_the_first_that_is_known() -> None:
    flow = Flow(packet(1), 0.0, from_client=True)
    assert flow.name == ""
    flow.properties = {"tls.sni": None, "http.host": "web.example", "dns.name": "query.example"}
    assert flow.name == "web.example"


def test_another_message_lets_rules_on_messages_match_again() -> None:
    actions = "actions = [{ kind = 'log' }]"
    each, once, _ = CompiledRules(rules(f"when = 'http'\n{actions}", f"when = 'tls'\n{actions}"), {}).rules
    flow = Flow(packet(1), 0.0, from_client=True)
    flow.begin_message()
    assert flow.fired is None
    flow.fired = {each, once}
    flow.begin_message()
    assert flow.fired == {once}
