"""censor/core.py"""

from __future__ import annotations

import dns.message
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6

from censor.compiled import CompiledRules
from censor.conditions import ListHolder
from censor.core import Core
from censor.decision import PASS, Decision
from censor.kernel.marks import GENERATION_MASK, HEARD, REPLY, WATCH
from censor.lists.formats import parse as parse_list
from censor.offload import AddressBlock, address_blocks
from censor.rules import RuleSet
from tests.unit.censor.analyzers.test_tls import real_hello
from tests.unit.censor.rule_sets import (
    FREEZE,
    LASTING,
    LIGHT,
    RESIDUAL,
    STEPS,
    Conversation,
    conversations,
    rule_sets,
)
from tests.unit.censor.traffic import CLIENT, HELLO, INNOCENT, ISN, SERVER, Ends, acting, names, rules
from tests.unit.censor.traffic import core as traffic_core

SNI_RST = 'action = "sni_rst"\ndomains = ["messenger.example"]'
SNI_DROP = 'action = "sni_drop"\ndomains = ["messenger.example"]'
NXDOMAIN = 'action = "dns_nxdomain"\ndomains = ["messenger.example"]'
KILL = '\nexisting_flows = "kill"'


class Kernelled(Core):
    """A core whose packets come from a kernel that keeps decided flows to itself: undecided ones have the mark 0."""

    def decide(self, data: bytes, mark: int | None = 0, t: float = 0.0) -> Decision:
        return super().decide(data, mark, t)


def core(*tables: str, head: str = "") -> Core:
    made = Kernelled(generation=7)
    made.set_rules(rules(*tables, head=head))
    return made


def client(payload: bytes = b"", offset: int = 0, *, flags: str = "A", port: int = 40000, ack: int = 5) -> bytes:
    """A segment of the client, `offset` bytes into its stream."""
    return bytes(
        IP(src=CLIENT, dst=SERVER) / TCP(sport=port, dport=443, seq=ISN + offset, ack=ack, flags=flags) / payload
    )


def server(payload: bytes = b"", *, flags: str = "A") -> bytes:
    return bytes(IP(src=SERVER, dst=CLIENT) / TCP(sport=443, dport=40000, seq=5, ack=ISN, flags=flags) / payload)


def query(name: str, type_: str = "A") -> bytes:
    return bytes(IP(src=CLIENT, dst=SERVER) / UDP(sport=5000, dport=53) / dns.message.make_query(name, type_).to_wire())


def marked(decision: Decision) -> bool:
    """It passes and need not come here again."""
    return decision == Decision(mark=7)


def heard(decision: Decision) -> bool:
    """It passes, and of the flow's other packets those that may tell more are to come here."""
    return decision == Decision(mark=HEARD | 7)


class TestDns:
    def test_nxdomain_is_injected_before_the_query_passes(self) -> None:
        decision = core(NXDOMAIN).decide(query("WWW.Messenger.example"))
        assert (decision.accept, decision.mark, decision.after) == (True, None, ())
        reply = IP(decision.before[0])
        assert (reply.src, reply.dst, reply[UDP].sport, reply[UDP].dport) == (SERVER, CLIENT, 53, 5000)
        assert dns.message.from_wire(bytes(reply[UDP].payload)).rcode() == 3
        (hit,) = decision.hits
        assert (hit.rule, hit.action, hit.name) == ("rule0", "dns_nxdomain", "www.messenger.example")
        assert (hit.flow, hit.source_address) == (f"udp {CLIENT}:5000 > {SERVER}:53", CLIENT)
        assert (hit.destination_address, hit.packet_bytes) == (SERVER, len(query("WWW.Messenger.example")))

    def test_forged(self) -> None:
        table = 'action = "dns_forge"\ndomains = ["messenger.example"]\nforged = ["192.0.2.66"]'
        (reply,) = core(table).decide(query("messenger.example")).before
        assert dns.message.from_wire(bytes(IP(reply)[UDP].payload)).answer[0][0].to_text() == "192.0.2.66"

    def test_others_pass(self) -> None:
        judge = core(NXDOMAIN)
        assert judge.decide(query("innocent.example")) == PASS
        assert judge.decide(bytes(IP() / UDP(sport=1, dport=53) / b"not DNS")) == PASS


class TestClientHello:
    def test_rst_to_both_ends(self) -> None:
        decision = core(SNI_RST).decide(client(HELLO))
        assert (decision.accept, decision.mark, decision.before) == (False, None, ())
        to_client, to_server = map(IP, decision.after)
        assert (to_client.dst, to_client[TCP].flags, to_client[TCP].seq) == (CLIENT, "RA", 5)
        assert to_client[TCP].ack == ISN + len(HELLO)
        assert (to_server.dst, to_server[TCP].flags, to_server[TCP].seq) == (SERVER, "R", ISN)
        assert [(hit.action, hit.name) for hit in decision.hits] == [("sni_rst", "www.messenger.example")]

    def test_drop(self) -> None:
        decision = core(SNI_DROP).decide(client(HELLO))
        assert (decision.accept, decision.after, decision.hits[0].action) == (False, (), "sni_drop")

    def test_innocent_passes_for_good(self) -> None:
        judge = core(SNI_RST)
        assert judge.decide(client()) == PASS
        assert marked(judge.decide(client(INNOCENT)))
        assert marked(judge.decide(client(b"data", len(INNOCENT))))

    @pytest.mark.parametrize("payload", [b"GET / HTTP/1.1\r\n", real_hello(None)])
    def test_flow_without_a_name_passes_for_good(self, payload: bytes) -> None:
        judge = core(SNI_RST)
        assert marked(judge.decide(client(payload)))
        assert marked(judge.decide(client(b"more", len(payload))))

    def test_one_byte_segments(self) -> None:
        judge = core(SNI_RST)
        decisions = [judge.decide(client(HELLO[i : i + 1], i)) for i in range(len(HELLO))]
        assert all(map(heard, decisions[:-1]))
        assert not decisions[-1].accept
        assert IP(decisions[-1].after[1])[TCP].seq == ISN + len(HELLO) - 1

    def test_out_of_order_behind_the_handshake(self) -> None:
        judge = core(SNI_RST)
        assert judge.decide(client()) == PASS
        assert heard(judge.decide(client(HELLO[100:], 100)))
        assert not judge.decide(client(HELLO[:100])).accept

    def test_flow_without_a_hello_within_the_limit_passes(self) -> None:
        judge = core(SNI_RST, head="[censor.tcp]\nlimit_bytes = 100")
        assert heard(judge.decide(client(HELLO[:99])))
        assert marked(judge.decide(client(HELLO[99:], 99)))

    def test_retransmissions_are_hits_until_the_rule_is_lifted(self) -> None:
        judge = core(SNI_DROP)
        for _ in range(3):
            assert not judge.decide(client(HELLO)).accept
        judge.set_rules(RuleSet())
        assert marked(judge.decide(client(HELLO)))

    def test_last_segment_of_a_dropped_hello_is_dropped_again(self) -> None:
        judge = core(SNI_DROP)
        judge.decide(client(HELLO[:100]))
        for _ in range(2):
            assert not judge.decide(client(HELLO[100:], 100)).accept
        judge.set_rules(RuleSet())
        assert marked(judge.decide(client(HELLO[100:], 100)))

    def test_a_port_that_is_used_again_is_another_flow(self) -> None:
        judge = core(SNI_RST)
        assert marked(judge.decide(client(INNOCENT)))
        assert not judge.decide(client(HELLO, 1 << 20)).accept  # without a connmark: conntrack knows that it is new
        judge.decide(client(port=40001))
        assert judge.decide(client(port=40001, offset=1 << 20)) == PASS
        assert not judge.decide(client(HELLO, 1 << 20, port=40001)).accept

    def test_a_flow_whose_server_spoke_first_passes_for_good(self) -> None:
        judge = core(SNI_RST)
        assert [judge.decide(client()) for _ in range(3)] == [PASS] * 3
        assert judge.decide(client(ack=5 + 16384)) == PASS
        assert marked(judge.decide(client(ack=6 + 16384)))
        assert heard(judge.decide(client(HELLO[:9], port=1)))
        assert heard(judge.decide(client(offset=9, port=1, ack=6)))  # in mid-hello
        assert not judge.decide(client(HELLO[9:], 9, port=1)).accept

    def test_an_rst_is_not_answered(self) -> None:
        judge = core(SNI_RST)
        judge.decide(client(HELLO))
        decision = judge.decide(client(flags="R"))
        assert (decision.accept, decision.after, len(decision.hits)) == (False, (), 1)


class TestExistingFlows:
    def opened(self, judge: Core, hello: bytes = HELLO) -> Core:
        assert marked(judge.decide(client(hello)))
        return judge

    def test_generation_moves_on_for_rules_that_kill_only(self) -> None:
        judge = core()
        assert not judge.set_rules(rules(SNI_RST))
        assert judge.set_rules(rules(SNI_RST + KILL))
        assert judge.generation == 8
        assert not judge.set_rules(rules(SNI_RST + KILL, SNI_DROP))
        assert not judge.set_rules(RuleSet())
        judge.generation = GENERATION_MASK
        assert judge.set_rules(rules(SNI_RST + KILL))
        assert judge.generation == 1

    def test_left_alone(self) -> None:
        judge = self.opened(core())
        judge.set_rules(rules(SNI_RST))
        assert marked(judge.decide(client(b"data", len(HELLO)), mark=6))
        assert marked(judge.decide(server(b"data"), mark=6))

    def test_killed_from_either_end(self) -> None:
        judge = self.opened(core())
        judge.set_rules(rules(SNI_RST + KILL))
        for packet, sender, receiver in ((client(b"x"), CLIENT, SERVER), (server(b"x"), SERVER, CLIENT)):
            decision = judge.decide(packet, mark=7)
            assert not decision.accept
            assert [IP(one).dst for one in decision.after] == [sender, receiver]
            (hit,) = decision.hits
            assert hit.flow == f"tcp {CLIENT}:40000 > {SERVER}:443"
            assert (hit.source_address, hit.action, hit.name) == (sender, "sni_rst", "www.messenger.example")

    @pytest.mark.parametrize(
        ("table", "action", "resets"),
        [
            (SNI_RST + KILL + '\nexisting_action = "drop"', "sni_drop", 0),
            (SNI_DROP + KILL, "sni_drop", 0),
            (SNI_DROP + KILL + '\nexisting_action = "rst"', "sni_rst", 2),
        ],
    )
    def test_existing_action(self, table: str, action: str, resets: int) -> None:
        judge = self.opened(core())
        judge.set_rules(rules(table))
        decision = judge.decide(client(b"x"), mark=7)
        assert (decision.hits[0].action, len(decision.after)) == (action, resets)

    def test_silenced_flow_passes_again_when_the_rule_is_lifted(self) -> None:
        judge = self.opened(core())
        judge.set_rules(rules(SNI_DROP + KILL))
        assert not judge.decide(client(b"x"), mark=7).accept
        judge.set_rules(RuleSet())
        assert judge.decide(client(b"x"), mark=7) == Decision(mark=8)

    def test_innocent_and_unknown_flows_pass_for_good(self) -> None:
        judge = self.opened(core(), INNOCENT)
        judge.set_rules(rules(SNI_RST + KILL))
        for packet in (client(b"x"), server(b"x"), client(b"x", port=1)):
            assert judge.decide(packet, mark=7) == Decision(mark=8)
        assert core().decide(server(b"x"), mark=7) == Decision(mark=7)

    def test_server_of_an_undecided_flow(self) -> None:
        judge = core(SNI_RST)
        judge.decide(client())
        assert judge.decide(server(b"x")) == PASS

    def test_injected_bits_of_the_mark_do_not_count(self) -> None:
        assert core().decide(client(), mark=0x60000000) == PASS


class TestHeardFlows:
    """Of which the kernel asks about the client's segments with payload alone."""

    FREEZE = 'when = "exists tls.sni"\nactions = [{kind = "freeze", bytes = 100000}]'

    def test_a_heard_flow_need_not_be_marked_again(self) -> None:
        judge = core(SNI_RST)
        assert heard(judge.decide(client(HELLO[:9])))
        assert judge.decide(client(HELLO[9:19], 9), mark=HEARD | 7) == PASS
        assert not judge.decide(client(HELLO[19:], 19), mark=HEARD | 7).accept

    def test_its_mark_goes_with_the_generation(self) -> None:
        judge = core(SNI_RST)
        judge.decide(client(HELLO[:9]))
        judge.set_rules(rules(SNI_RST + KILL))
        assert judge.decide(server(b"x"), mark=HEARD | 7) == Decision(mark=HEARD | 8)

    def test_a_flow_that_is_decided_is_not_heard_any_more(self) -> None:
        judge = core(SNI_RST)
        judge.decide(client(INNOCENT[:9]))
        assert marked(judge.decide(client(INNOCENT[9:], 9), mark=HEARD | 7))

    def test_one_that_is_forgotten_is_read_from_where_it_is(self) -> None:
        judge = core(SNI_RST)
        assert not judge.decide(client(HELLO, 5000), mark=HEARD | 6).accept

    def test_segments_far_apart_are_still_of_one_connection(self) -> None:
        judge = core('when = "exists http.host"\nactions = [{kind = "reset"}]')
        request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        judge.decide(client(b"POST / HTTP/1.1\r\nContent-Length: 16777216\r\n\r\n"))
        assert judge.decide(client(request, 1 << 23), mark=HEARD | 7) == PASS  # within the body
        assert judge.decide(client(request, 1 << 30)).after  # without a connmark: conntrack knows that it is new

    @pytest.mark.parametrize(
        ("tables", "head"),
        [
            ((SNI_RST, FREEZE), ""),  # counts the server's packets
            ((SNI_RST,), '[censor.tcp]\ninspect = "both"'),
            ((SNI_RST,), "[censor]\ninspect_everything = true"),
        ],
    )
    def test_flows_of_which_more_is_wanted(self, tables: tuple[str, ...], head: str) -> None:
        judge = core(*tables, head=head)
        assert judge.decide(client(HELLO[:9])) == PASS

    def test_the_server_is_wanted_no_more_when_it_has_told_enough(self) -> None:
        judge = core(SNI_RST, head='[censor.tcp]\ninspect = "both"')
        assert judge.decide(client(HELLO[:9])) == PASS
        assert judge.decide(server(b"not TLS")) == Decision(mark=HEARD | 7)

    def test_datagrams_are_not_segments(self) -> None:
        assert core(NXDOMAIN).decide(query("innocent.example")) == PASS


class TestAddresses:
    RULES = rules('action = "drop"\naddresses = ["203.0.113.0/24"]')

    def block(self) -> AddressBlock:
        (block,) = address_blocks(CompiledRules(self.RULES, {}))
        return block

    def test_hit_is_told_from_the_clients_side(self) -> None:
        judge = core()
        judge.decide(client(HELLO))
        for packet, sender in ((client(b"x"), CLIENT), (server(b"x"), SERVER)):
            for hit in (judge.address_hit(self.block(), packet), judge.residual_hit("rule0", packet)):
                assert hit is not None
                assert (hit.rule, hit.name) == ("rule0", "www.messenger.example")
                assert (hit.flow, hit.source_address) == (f"tcp {CLIENT}:40000 > {SERVER}:443", sender)

    def test_of_an_unknown_flow(self) -> None:
        for packet in (client(), query("x.example"), bytes(IP(src=CLIENT, dst=SERVER) / ICMP())):
            for hit in (core().address_hit(self.block(), packet), core().residual_hit("rule0", packet)):
                assert hit is not None
                assert (hit.name, hit.source_address) == ("", CLIENT)
        hit = core().address_hit(self.block(), server())
        assert hit is not None
        assert hit.flow == f"tcp {CLIENT}:40000 > {SERVER}:443"

    def test_actions(self) -> None:
        hits = core().address_hit(self.block(), client()), core().residual_hit("rule0", client())
        assert [hit and hit.action for hit in hits] == ["drop", "residual"]

    def test_unreadable_packet(self) -> None:
        assert core().address_hit(self.block(), b"") is None
        assert core().residual_hit("rule0", b"") is None


def test_what_is_not_the_censors_passes() -> None:
    judge = core(SNI_RST)
    assert judge.decide(b"") == PASS
    for packet in (
        bytes(IP() / ICMP()),
        bytes(IP() / TCP(sport=1, dport=80) / HELLO),
        bytes(IP() / UDP(dport=443)),
    ):
        assert marked(judge.decide(packet))


def test_ipv6() -> None:
    packet = IPv6(src="2001:db8:1::10", dst="2001:db8:2::10") / TCP(sport=40000, dport=443, flags="PA") / HELLO
    decision = core(SNI_RST).decide(bytes(packet))
    assert [IPv6(one).dst for one in decision.after] == ["2001:db8:1::10", "2001:db8:2::10"]
    assert decision.hits[0].flow == "tcp [2001:db8:1::10]:40000 > [2001:db8:2::10]:443"


def test_ports_are_the_conditions() -> None:
    judge = core(
        'when = "tls.sni under \\"messenger.example\\" and server.port == 8443"\nactions = [{ kind = "drop" }]'
    )
    assert marked(judge.decide(client(HELLO)))
    assert not judge.decide(bytes(IP() / TCP(sport=1, dport=8443) / HELLO)).accept


BYTES = st.one_of(
    st.binary(max_size=100),
    st.builds(lambda data: client()[:33] + b"\x50" + data, st.binary(max_size=100)),
    st.builds(
        lambda data, at, byte: data[:at] + bytes([byte]) + data[at + 1 :],
        st.sampled_from([client(HELLO), client(flags="S"), server(b"x"), query("messenger.example")]),
        st.integers(0, 60),
        st.integers(0, 255),
    ),
)
ACTIONS = (*LASTING, *LIGHT, *RESIDUAL, *FREEZE)
FLOW_LIMIT, RESIDUAL_LIMIT, STREAM_LIMIT = 3, 2, 16384


def check_bounds(judge: Core) -> None:
    assert len(judge.flows) <= FLOW_LIMIT
    assert len(judge.residuals) <= RESIDUAL_LIMIT


@settings(max_examples=60, deadline=None)
@given(rule_sets(ACTIONS), st.lists(st.tuples(BYTES, st.none() | st.integers(0, (1 << 32) - 1), st.floats(0, 10))))
def test_any_bytes_are_good_input(chosen: tuple[str, list[str]], found: list[tuple[bytes, int | None, float]]) -> None:
    judge = Core(flow_limit=FLOW_LIMIT, residual_limit=RESIDUAL_LIMIT)
    judge.set_rules(rules(*chosen[1], head=chosen[0]))
    for data, mark, t in found:
        judge.decide(data, mark, t)
        check_bounds(judge)


@settings(max_examples=60, deadline=None)
@given(rule_sets(ACTIONS), rule_sets(ACTIONS), conversations(), STEPS, st.booleans())
def test_any_conversations_are_good_input(
    first: tuple[str, list[str]],
    second: tuple[str, list[str]],
    flows: list[Conversation],
    steps: list[tuple[int, str, int, float]],
    kernelled: bool,
) -> None:
    judge, t = Core(flow_limit=FLOW_LIMIT, residual_limit=RESIDUAL_LIMIT), 0.0
    for head, tables in (first, second):
        judge.set_rules(rules(*tables, head=head))
        for number, kind, size, pause in steps:
            t += pause
            flow = flows[number % len(flows)]
            data = flow.next(kind, size)
            if data is not None and judge.decide(data, 0 if kernelled else None, t).accept:
                flow.passed()
            check_bounds(judge)


def test_a_stream_is_bounded() -> None:
    judge = core(SNI_RST, head=f"[censor.tcp]\nlimit_bytes = {STREAM_LIMIT}")
    record = b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc"
    judge.decide(client())
    decisions = [judge.decide(client(record.ljust(1000, b"x"), offset)) for offset in range(0, 20_000, 1000)]
    assert [marked(decision) for decision in decisions].index(True) == STREAM_LIMIT // 1000


HTTP = "when = 'http.host == \"messenger.example\"'"
GET = b"GET / HTTP/1.1\r\nHost: messenger.example\r\n\r\n"


class TestPrecedence:
    def test_the_first_rule_that_decides(self) -> None:
        for order, action in (((SNI_DROP, SNI_RST), "sni_drop"), ((SNI_RST, SNI_DROP), "sni_rst")):
            assert [hit.action for hit in core(*order).decide(client(HELLO)).hits] == [action]

    def test_names_above_and_below(self) -> None:
        tables = [f'action = "sni_drop"\ndomains = ["{name}"]' for name in ("www.messenger.example", "example")]
        for hello, rule in ((HELLO, "rule0"), (INNOCENT, "rule1")):
            assert [hit.rule for hit in core(*tables).decide(client(hello)).hits] == [rule]

    def test_what_is_known_first_acts_first(self) -> None:
        judge = traffic_core(acting('kind = "reset"', HTTP), acting('kind = "drop"', "when = 'server.port == 443'"))
        assert names(judge.decide(Ends().syn())) == [("rule1", "drop")]

    def test_a_rule_that_is_not_drawn_leaves_it_to_the_next(self) -> None:
        never = acting('kind = "drop"', probability="0.0")
        assert names(traffic_core(never, acting('kind = "reset"')).decide(Ends().data(HELLO))) == [("rule1", "reset")]


class TestProbability:
    def struck(self, seed: int, ports: list[int], key: str = "") -> set[int]:
        table = acting('kind = "drop"', probability="0.3") + key
        judge = traffic_core(table, head=f"[censor]\nseed = {seed}")
        return {port for port in ports if not judge.decide(Ends(client_port=port).data(HELLO)).accept}

    def test_share_of_flows(self) -> None:
        assert 240 <= len(self.struck(1, list(range(40000, 41000)))) <= 360  # 300 with a deviation of 14.5

    def test_the_same_flows_whatever_else_comes_and_in_whatever_order(self) -> None:
        ports = list(range(40000, 40100))
        assert self.struck(1, ports) == self.struck(1, ports[::-1]) != self.struck(2, ports)
        assert self.struck(1, ports[:50]) == self.struck(1, ports) & set(ports[:50])

    def test_of_servers(self) -> None:
        found = self.struck(1, list(range(40000, 40050)), 'probability_of = "server"\n')
        assert len(found) in (0, 50)


class TestReload:
    def test_an_effect_lasts_as_long_as_its_rule(self) -> None:
        delay, other = acting('kind = "delay", seconds = 1'), acting('kind = "log"', HTTP)
        judge, ends = traffic_core(delay), Ends()
        judge.decide(ends.data(HELLO))
        for tables, seconds in (((delay, other), 1.0), ((delay,), 1.0), ((other,), 0.0)):
            judge.set_rules(rules(*tables))
            assert judge.decide(ends.data(b"x")).delay_seconds == seconds

    def test_a_flow_that_is_freed_is_judged_anew(self) -> None:
        judge, ends = traffic_core(acting('kind = "delay", seconds = 1')), Ends()
        judge.decide(ends.data(HELLO))
        judge.set_rules(rules(acting('kind = "drop"')))
        assert not judge.decide(ends.data(b"x")).accept

    def test_no_packet_passes_by_an_effect_when_rules_come(self) -> None:
        drop = acting('kind = "drop", direction = "to_client"', HTTP)
        judge, ends = traffic_core(drop), Ends()
        assert judge.decide(ends.data(GET)).accept
        judge.set_rules(rules(drop, acting('kind = "log"')))
        decision = judge.decide(ends.answer(b"x"))
        assert (decision.accept, names(decision)) == (False, [("rule0", "drop")])
        judge.set_rules(rules(drop, acting('kind = "log"', HTTP)))
        assert not judge.decide(ends.answer(b"x")).accept

    def test_what_was_acted_on_is_not_acted_on_again(self) -> None:
        log, drop = acting('kind = "log"', HTTP), acting('kind = "reset"', HTTP)
        judge, ends = traffic_core(log, drop), Ends()
        assert len(judge.decide(ends.data(GET)).hits) == 2
        judge.set_rules(rules(log, drop, acting('kind = "log"', HTTP)))
        assert judge.decide(ends.data(b"G")).hits == ()
        assert len(judge.decide(ends.data(GET[1:])).hits) == 2

    def test_rules_are_asked_about_undecided_flows(self) -> None:
        judge, ends = traffic_core(acting('kind = "log"')), Ends()
        judge.decide(ends.data(HELLO[:9]))
        judge.set_rules(rules(acting('kind = "drop"', "when = 'server.port == 443'")))
        assert not judge.decide(ends.data(HELLO[9:])).accept

    def test_lists_are_exchanged(self) -> None:
        table = "when = 'tls.sni under @names'\nactions = [{ kind = 'drop' }]\nexisting_flows = 'kill'"
        parsed = rules(table, head='[[list]]\nname = "names"\n')
        holder = ListHolder(parse_list("a.example", "plain"))
        lists = {"names": holder}
        judge, ends = Core(), Ends()
        judge.set_rules(parsed, lists)
        assert judge.decide(ends.data(HELLO)).accept
        holder.content = parse_list("messenger.example", "plain")
        assert judge.set_rules(parsed, lists, frozenset({"names"}))
        assert not judge.decide(ends.data(b"x")).accept
        assert not judge.set_rules(parsed, lists, frozenset({"others"}))

    def test_residual_blocks_end_with_their_rule(self) -> None:
        table = acting('kind = "residual", seconds = 60', HTTP)
        judge = traffic_core(table)
        judge.decide(Ends().data(GET))
        judge.set_rules(rules(table, acting('kind = "log"')))
        assert not judge.decide(Ends(client_port=40001).syn()).accept
        judge.set_rules(RuleSet())
        assert judge.decide(Ends(client_port=40002).syn()).accept

    @pytest.mark.parametrize(("action", "answers"), [("drop", 0), ("reject", 1)])
    def test_blocks_of_addresses_are_for_the_flows_that_are_there(self, action: str, answers: int) -> None:
        block = f'action = "{action}"\naddresses = ["{SERVER}"]'
        for sent in (INNOCENT, HELLO, GET):
            judge, ends = traffic_core(acting('kind = "delay", seconds = 1'), acting('kind = "log"', HTTP)), Ends()
            before = judge.decide(ends.data(sent))
            tables = acting('kind = "delay", seconds = 1'), acting('kind = "log"', HTTP)
            judge.set_rules(rules(*tables, block))
            for data in (ends.data(b"x"), ends.answer(b"x")):
                decision = judge.decide(data)
                assert (decision.accept, len(decision.after), names(decision)) == (False, answers, [("rule2", action)])
            judge.set_rules(rules(*tables))
            decision = judge.decide(ends.data(b"x"))
            assert (decision.accept, decision.delay_seconds) == (True, before.delay_seconds)

    def test_rules_that_do_not_compile_change_nothing(self) -> None:
        judge = core(SNI_RST)
        unknown = rules("when = 'tls.sni in @names'\nactions = [{ kind = 'drop' }]", head='[[list]]\nname = "names"\n')
        with pytest.raises(ValueError, match="@names: no such list"):
            judge.set_rules(unknown)
        assert not judge.decide(client(HELLO)).accept

    def test_a_block_of_addresses_that_stays(self) -> None:
        block = f'action = "drop"\naddresses = ["{SERVER}"]'
        judge, ends = traffic_core(), Ends()
        judge.decide(ends.data(b"x"))
        for tables in ((block,), (block, acting('kind = "log"'))):
            judge.set_rules(rules(*tables))
            assert names(judge.decide(ends.data(b"x"))) == [("rule0", "drop")]

    def test_generation_and_rules(self) -> None:
        judge = core(SNI_RST)
        assert judge.rules is judge.compiled.source


class TestKilling:
    def judge(self, before: str, after: str) -> Decision:
        made, ends = traffic_core(before), Ends()
        made.decide(ends.data(HELLO))
        made.set_rules(rules(before, after))
        return made.decide(ends.data(b"x"))

    KILL = acting('kind = "drop"', existing_flows='"kill"')

    @pytest.mark.parametrize(("action", "label"), [("drop", "drop"), ("reset", "reset")])
    def test_long_form(self, action: str, label: str) -> None:
        decision = self.judge(acting('kind = "log"', HTTP), acting(f'kind = "{action}"', existing_flows='"kill"'))
        assert (decision.accept, names(decision)) == (False, [("rule1", label)])

    def test_a_flow_that_is_allowed_lives(self) -> None:
        assert self.judge(acting('kind = "allow"', "when = 'server.port == 443 and tls'"), self.KILL).accept

    def test_by_its_probability(self) -> None:
        assert self.judge(
            acting('kind = "log"', HTTP), acting('kind = "drop"', existing_flows='"kill"', probability="0.0")
        ).accept

    def test_what_a_rule_has_let_pass_it_does_not_kill_later(self) -> None:
        reset = acting('kind = "reset"', existing_flows='"kill"')
        judge, ends = traffic_core(reset), Ends()
        assert judge.decide(ends.data(HELLO)).accept
        judge.set_rules(rules(reset, acting('kind = "log"', HTTP)))
        assert judge.decide(ends.data(b"x")).accept


class TestActingOnExisting:
    """existing_flows = "act"; `mark` is what a kernel says, None where there is none: the same comes out."""

    def opened(self, mark: int | None, payload: bytes = HELLO) -> tuple[Core, Ends]:
        judge, ends = Core(generation=7), Ends()
        judge.set_rules(RuleSet())
        for one in (*ends.handshake(), ends.data(payload)):
            judge.decide(one, mark=None if mark is None else 0)
        return judge, ends

    def test_it_moves_the_generation_on(self) -> None:
        assert self.opened(7)[0].set_rules(rules(acting('kind = "drop"', existing_flows='"act"')))

    @pytest.mark.parametrize("mark", [7, None])
    def test_a_bucket_from_the_next_packet_on(self, mark: int | None) -> None:
        judge, ends = self.opened(mark)
        police = 'kind = "police", rate_bytes_per_second = 100, burst_bytes = 400, direction = "to_server"'
        judge.set_rules(rules(acting(police, existing_flows='"act"')))
        decisions = [judge.decide(ends.data(bytes(300)), mark) for _ in range(2)]
        assert [one.accept for one in decisions] == [True, False]
        assert names(decisions[1]) == [("rule0", "police")]
        assert all(one.watch is (mark is not None) for one in decisions)

    @pytest.mark.parametrize("mark", [7, None])
    @pytest.mark.parametrize(
        ("limits", "answers"),
        [
            ("bytes = 1000", [True, True, False]),
            ('bytes = 1000, counted = "to_client"', [True, True, False]),
            ('bytes = 1000, counted = "to_server"', [True, True, True]),
            ("packets = 2", [True, True, False]),
            ('packets = 2, counted = "to_client"', [True, True, False]),
            ('packets = 2, counted = "to_server"', [True, True, True]),
        ],
    )
    def test_a_freeze_counts_from_then_on(self, mark: int | None, limits: str, answers: list[bool]) -> None:
        judge, ends = self.opened(mark)
        judge.set_rules(rules(acting(f'kind = "freeze", {limits}', existing_flows='"act"')))
        assert [judge.decide(ends.answer(bytes(500)), mark).accept for _ in range(3)] == answers

    def test_a_freeze_counts_the_packet_that_it_begins_with(self) -> None:
        judge, ends = self.opened(None)
        judge.set_rules(rules(acting('kind = "freeze", bytes = 100, counted = "to_server"', existing_flows='"act"')))
        assert not judge.decide(ends.data(bytes(101))).accept

    @pytest.mark.parametrize("existing", ["act", "kill"])
    def test_a_long_flow_is_the_same_when_it_is_watched(self, existing: str) -> None:
        judge, ends = self.opened(7)
        ends.sent += 1 << 20  # bytes that the kernel kept to itself
        judge.set_rules(rules(acting('kind = "drop"', existing_flows=f'"{existing}"')))
        assert not judge.decide(ends.data(b"x"), mark=7).accept
        assert not judge.decide(ends.data(b"x"), mark=WATCH).accept

    def test_others_are_left_alone(self) -> None:
        judge, ends = self.opened(7, INNOCENT)
        judge.set_rules(rules(acting('kind = "drop"', existing_flows='"act"')))
        assert judge.decide(ends.data(b"x"), mark=7) == Decision(mark=8)

    def test_lifted_the_flow_is_what_it_was(self) -> None:
        judge, ends = self.opened(7)
        judge.set_rules(rules(acting('kind = "drop"', existing_flows='"act"')))
        assert not judge.decide(ends.data(b"x"), mark=7).accept
        judge.set_rules(RuleSet())
        assert judge.decide(ends.data(b"x"), mark=7) == Decision(mark=8)

    def test_what_does_not_decide_leaves_the_flow_to_later_rules(self) -> None:
        judge, ends = self.opened(7)
        tables = [acting('kind = "log"', existing_flows='"act"'), acting('kind = "drop"', existing_flows='"kill"')]
        judge.set_rules(rules(*tables))
        decision = judge.decide(ends.data(b"x"), mark=7)
        assert not decision.accept
        assert names(decision) == [("rule0", "log"), ("rule1", "drop")]

    def test_what_only_tells_is_told_once(self) -> None:
        judge, ends = self.opened(7)
        judge.set_rules(rules(acting('kind = "log"', existing_flows='"act"')))
        first, second = (judge.decide(ends.data(b"x"), mark=mark) for mark in (7, 8))
        assert (names(first), first.mark, names(second)) == ([("rule0", "log")], 8, [])

    def test_the_first_that_decides_is_the_last(self) -> None:
        judge, ends = self.opened(7)
        tables = [acting('kind = "allow"', existing_flows='"act"'), acting('kind = "drop"', existing_flows='"kill"')]
        judge.set_rules(rules(*tables))
        assert judge.decide(ends.data(b"x"), mark=7).accept


class TestFlows:
    def test_idle_flows_are_forgotten(self) -> None:
        judge, ends = traffic_core(acting('kind = "drop"'), head="[censor]\nflow_idle_seconds = 60"), Ends()
        assert not judge.decide(ends.data(HELLO), t=0.0).accept
        assert not judge.decide(ends.data(b"x"), t=60.0).accept
        assert judge.decide(ends.data(b"x"), t=121.0).accept

    def test_a_connmark_keeps_them(self) -> None:
        judge, ends = traffic_core(acting('kind = "log"'), head="[censor]\nflow_idle_seconds = 60"), Ends()
        assert judge.decide(ends.data(HELLO), 0, t=0.0).mark == judge.generation
        judge.set_rules(rules(TestKilling.KILL, head="[censor]\nflow_idle_seconds = 60"))
        assert not judge.decide(ends.data(b"x"), 1, t=1e6).accept

    def test_port_reuse(self) -> None:
        judge = traffic_core(acting('kind = "drop"'))
        assert not judge.decide(Ends().data(HELLO)).accept
        again = Ends(isn=77_000)
        assert judge.decide(again.syn()).accept
        assert judge.decide(again.data(INNOCENT)).accept

    def test_a_syn_that_is_sent_again_is_none(self) -> None:
        judge = traffic_core(acting('kind = "drop"'))
        ends = Ends()
        assert [judge.decide(one).accept for one in (ends.syn(), ends.data(HELLO), ends.syn())] == [True, False, False]

    @pytest.mark.parametrize(("handshake", "passes"), [("false", False), ("true", True)])
    def test_a_syn_from_the_other_side(self, handshake: str, passes: bool) -> None:
        """TSPU, IMC 2022: it takes the sender of the last SYN for the client."""
        head = f'[censor]\ninside = ["{CLIENT}"]\n[censor.tcp]\nhandshake = {handshake}'
        table = acting('kind = "drop"', "when = 'tls.sni under \"messenger.example\" and client.inside'")
        judge, ends = traffic_core(table, head=head), Ends()
        other = Ends(client=SERVER, server=CLIENT, client_port=443, server_port=40000)
        judge.decide(ends.syn())
        judge.decide(other.syn())
        assert judge.decide(ends.data(HELLO)).accept is passes

    def test_client_inside(self) -> None:
        table = acting('kind = "drop"', "when = 'tls.sni under \"messenger.example\" and client.inside'")
        for inside, passes in (('["192.0.2.0/24"]', False), ('["198.51.100.0/24"]', True), ("[]", False)):
            assert traffic_core(table, head=f"[censor]\ninside = {inside}").decide(Ends().data(HELLO)).accept is passes

    def test_who_opened_what_was_not_seen_from_its_beginning(self) -> None:
        judge = traffic_core(acting('kind = "drop"', "when = 'server.port == 443'"))
        assert not judge.decide(Ends().answer(b"x")).accept
        assert not judge.decide(Ends(client_port=40001).syn_ack()).accept
        assert (
            not traffic_core(acting('kind = "drop"', "when = 'server.port == 443'"))
            .decide(Ends(client_port=99).answer(b"x"), REPLY)
            .accept
        )

    def test_icmp(self) -> None:
        judge = traffic_core(acting('kind = "drop"', "when = 'protocol == \"icmp\"'"))
        assert not judge.decide(bytes(IP(src=CLIENT, dst=SERVER) / ICMP())).accept
        assert not judge.decide(bytes(IP(src=SERVER, dst=CLIENT) / ICMP(type=0))).accept
        assert judge.decide(Ends().syn()).accept

    def test_quiet_clients_are_given_up_for_rules_that_wait(self) -> None:
        judge, ends = traffic_core(acting('kind = "drop"', "when = 'not tls'")), Ends()
        for one in ends.handshake():
            assert judge.decide(one).accept
        ends.answered = 20_000
        assert not judge.decide(ends.ack()).accept

    @pytest.mark.parametrize("reassembly", ["none", "arrival"])
    def test_not_where_bare_acknowledgments_do_not_come(self, reassembly: str) -> None:
        head = f'[censor.tcp]\nreassembly = "{reassembly}"'
        judge, ends = traffic_core(acting('kind = "drop"'), head=head), Ends()
        for one in ends.handshake():
            judge.decide(one)
        ends.answered = 20_000
        judge.decide(ends.ack())
        assert not judge.decide(ends.data(HELLO)).accept


def test_everything_is_inspected() -> None:
    judge = core(SNI_RST, head="[censor]\ninspect_everything = true")
    assert [judge.decide(client(one)) for one in (INNOCENT, b"x")] == [PASS, PASS]


def test_overload_lets_new_flows_pass() -> None:
    judge = traffic_core(acting('kind = "drop"'), head="[censor.overload]\npackets_per_second = 3")
    found = [judge.decide(Ends(client_port=40000 + number).data(HELLO), t=10.5).accept for number in range(5)]
    assert found == [False] * 3 + [True] * 2
    assert judge.decide(Ends(client_port=40004).data(b"x"), t=10.9).accept
    assert not judge.decide(Ends().data(b"x"), t=10.9).accept  # was known before
    assert not judge.decide(Ends(client_port=40009).data(HELLO), t=11.0).accept
    assert judge.statistics.overloaded == 2


def test_convictions_last_as_long_as_any_rule_probes() -> None:
    judge = core(acting('kind = "probe"', "when = 'socks'"))
    judge.convict(bytes([203, 0, 113, 10]), 443, 5.0, 60.0)
    judge.set_rules(rules(acting('kind = "probe"', "when = 'socks.version == 5'")))
    assert not judge.decide(Ends().syn(), t=6.0).accept
    judge.convict(bytes([203, 0, 113, 10]), 443, 7.0, 5.0)  # the new verdict counts
    assert judge.decide(Ends(client_port=40001).syn(), t=12.1).accept
    judge.convict(bytes([203, 0, 113, 10]), 443, 13.0, 60.0)
    judge.set_rules(rules(SNI_RST))
    assert judge.decide(Ends(client_port=40002).syn(), t=14.0).accept
    judge.set_rules(rules(acting('kind = "probe"', "when = 'socks'")))
    assert judge.decide(Ends(client_port=40003).syn(), t=15.0).accept


def test_packets_of_known_flows_count_to_the_overload() -> None:
    judge, known = traffic_core(acting('kind = "drop"'), head="[censor.overload]\npackets_per_second = 3"), Ends()
    for t in (10.0, 10.3, 10.6):
        assert judge.decide(known.data(INNOCENT), t=t).accept
    assert judge.decide(Ends(client_port=40001).data(HELLO), t=10.9).accept
    assert not judge.decide(Ends(client_port=40002).data(HELLO), t=11.0).accept


def test_conviction() -> None:
    judge = traffic_core(acting('kind = "probe"', HTTP))
    blocked = judge.convict(bytes([203, 0, 113, 10]), 443, 5.0, 60.0)
    assert blocked is not None
    assert (blocked.kind, blocked.begins, blocked.seconds) == ("server", 5.0, 60.0)
    assert not judge.decide(Ends().syn(), t=6.0).accept
    assert judge.decide(Ends(server_port=80).syn(), t=6.0).accept
    assert core(SNI_RST).convict(bytes(4), 443, 5.0, 60.0) is None


def test_an_address_hit_beside_what_was_meant() -> None:
    table = f'action = "drop"\naddresses = ["{SERVER}"]\nintended = "server.port == 80"'
    judge = core(table)
    (block,) = address_blocks(judge.compiled)
    hit = judge.address_hit(block, client(b"x"))
    assert hit is not None
    assert hit.collateral
    judge.set_rules(RuleSet())
    hit = judge.address_hit(block, client(b"x"))
    assert hit is not None
    assert not hit.collateral


def test_rules_that_come_behind_a_body_of_unknown_length() -> None:
    """They ask another analyzer, too, than the one that found it; the next message is still found."""
    post = b"POST / HTTP/1.1\r\nHost: innocent.example\r\nTransfer-Encoding: chunked\r\n\r\n"
    head = "[censor]\nremember_names = false"
    judge, ends = traffic_core(acting('kind = "drop"', HTTP.replace("messenger", "innocent")), head=head), Ends()
    assert not judge.decide(ends.data(post)).accept
    judge.set_rules(rules(acting('kind = "drop"', HTTP), acting('kind = "drop"'), head=head))
    assert judge.decide(ends.data(post, 0)).accept
    assert judge.decide(ends.data(b"a chunk")).accept
    assert not judge.decide(ends.data(GET)).accept
