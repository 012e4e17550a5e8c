"""censor/acting.py: what each action does on the wire. All packets come to the core, as from a file."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import IPv6

from censor.core import Core
from censor.decision import Decision
from censor.kernel.residual_blocks import shapes
from censor.kernel.residual_sets import Residual
from censor.packets import ACK, RST
from tests.unit.censor.traffic import (
    CLIENT,
    HELLO,
    INNOCENT,
    ISN,
    SERVER,
    SERVER_ISN,
    Ends,
    acting,
    addresses,
    core,
    fates,
    names,
    over_tcp,
    query,
    read_answer,
)

GET = b"GET / HTTP/1.1\r\nHost: messenger.example\r\n\r\n"
HTTP = "when = 'http.host == \"messenger.example\"'"
DNS = "when = 'dns.name under \"messenger.example\" and not dns.response'"


def triggered(action: str, when: str = HTTP, payload: bytes = GET, head: str = "") -> tuple[Core, Ends, Decision]:
    """A core with the rule, a connection, and the decision on its payload that matches."""
    judge, ends = core(acting(action, when), head=head), Ends(server_port=80)
    assert fates(judge, ends.handshake()) == [True] * 3
    return judge, ends, judge.decide(ends.data(payload), t=0.0)


def told(forged: bytes) -> tuple[str, str, int, int]:
    """Destination, flags, sequence and acknowledgment number."""
    segment = IP(forged)
    return segment.dst, str(segment[TCP].flags), segment[TCP].seq, segment[TCP].ack


def sent(decision: Decision) -> tuple[bytes, ...]:
    """What is injected, in the order in which it leaves."""
    return (*decision.before, *decision.after)


class TestDrop:
    def test_both_directions_for_good(self) -> None:
        judge, ends, decision = triggered('kind = "drop"')
        assert not decision.accept
        assert names(decision) == [("rule0", "drop")]
        assert fates(judge, [ends.data(b"x"), ends.answer(b"x"), ends.ack()], t=1e6) == [False] * 3

    @pytest.mark.parametrize(("direction", "passes"), [("to_server", [False, True]), ("to_client", [True, False])])
    def test_one_direction(self, direction: str, passes: list[bool]) -> None:
        judge, ends, decision = triggered(f'kind = "drop", direction = "{direction}"')
        assert decision.accept is passes[0]
        assert fates(judge, [ends.data(b"x"), ends.answer(b"x")]) == passes

    def test_after_packets(self) -> None:
        judge, ends, decision = triggered('kind = "drop", after_packets = 3')
        assert decision.accept
        assert names(decision) == [("rule0", "drop")]
        assert fates(judge, [ends.data(b"1"), ends.answer(b"2"), ends.ack(), ends.answer(b"4"), ends.ack()]) == [
            *[True] * 3,
            *[False] * 2,
        ]

    def test_seconds(self) -> None:
        judge, ends, _ = triggered('kind = "drop", seconds = 10')
        assert fates(judge, [ends.data(b"x")], t=9.9) == [False]
        assert fates(judge, [ends.data(b"x")], t=10.0) == [True]

    def test_refresh_by_every_packet(self) -> None:
        judge, ends, _ = triggered('kind = "drop", seconds = 10, refresh = true, direction = "to_server"')
        assert [judge.decide(ends.data(b"x"), t=t).accept for t in (9.0, 18.0)] == [False, False]
        assert judge.decide(ends.answer(b"x"), t=27.0).accept  # of the other direction, but of the flow
        assert [judge.decide(ends.data(b"x"), t=t).accept for t in (36.0, 46.0)] == [False, True]

    def test_trigger_passes(self) -> None:
        judge, ends, decision = triggered('kind = "drop", trigger = false')
        assert decision.accept
        assert names(decision) == [("rule0", "drop")]
        assert fates(judge, [ends.answer(b"x")]) == [False]

    def test_small_packets_pass(self) -> None:
        judge, ends, decision = triggered('kind = "drop", least_payload_bytes = 900')
        assert decision.accept
        sent = [bytes(899), bytes(900), b"", bytes(901)]
        assert fates(judge, [ends.data(one) for one in sent]) == [True, False, True, False]
        assert fates(judge, [ends.answer(one) for one in sent]) == [True, False, True, False]

    def test_drawn_spans(self) -> None:
        passed = set()
        for port in range(40000, 40040):
            judge, ends = core(acting('kind = "drop", after_packets = [2, 4]', HTTP)), Ends(client_port=port)
            judge.decide(ends.data(GET))
            passed.add(sum(fates(judge, [ends.answer(b"x")] * 9)))
        assert passed == {2, 3, 4}


class TestReject:
    def test_tcp_is_told_by_an_rst(self) -> None:
        judge, ends, decision = triggered('kind = "reject"')
        assert not decision.accept
        assert [told(one) for one in decision.after] == [(CLIENT, "RA", SERVER_ISN + 1, ISN + 1 + len(GET))]
        assert [told(one)[0] for one in judge.decide(ends.answer(b"x")).after] == [SERVER]
        assert not judge.decide(ends.answer(flags=RST)).after

    def test_udp_is_told_by_icmp(self) -> None:
        judge, ends = core(acting('kind = "reject"', DNS)), Ends(server_port=53)
        (error,) = judge.decide(ends.datagram(query("messenger.example"))).after
        assert (IP(error).dst, IP(error)[ICMP].type, IP(error)[ICMP].code) == (CLIENT, 3, 3)


class TestReset:
    def test_both_ends_and_the_packet_passes(self) -> None:
        judge, ends, decision = triggered('kind = "reset"')
        assert decision.accept
        assert names(decision) == [("rule0", "reset")]
        behind = ISN + 1 + len(GET)
        assert [told(one) for one in decision.before] == [(CLIENT, "RA", SERVER_ISN + 1, behind)]
        assert [told(one) for one in decision.after] == [(SERVER, "R", behind, 0)]
        assert judge.decide(ends.answer(b"x")) == Decision()

    @pytest.mark.parametrize(("to", "ends"), [("client", [CLIENT]), ("server", [SERVER])])
    def test_one_end(self, to: str, ends: list[str]) -> None:
        assert [told(one)[0] for one in sent(triggered(f'kind = "reset", to = "{to}"')[2])] == ends

    def test_over_ipv6_the_clients_leaves_first_too(self) -> None:
        judge, ends = core(acting('kind = "reset"')), Ends("2001:db8:1::10", "2001:db8:2::10")
        decision = judge.decide(ends.data(HELLO))
        assert [IPv6(one).dst for one in decision.before] == [ends.client]
        assert [IPv6(one).dst for one in decision.after] == [ends.server]

    def test_offsets_and_count(self) -> None:
        _, _, decision = triggered('kind = "reset", to = "client", offsets = [0, 1460, 4380], count = 2')
        assert [told(one)[2] - SERVER_ISN - 1 for one in decision.before] == [0, 1460, 4380] * 2

    @pytest.mark.parametrize(("flags", "seen"), [("auto", ["RA", "R"]), ("RST", ["R", "R"]), ("RST+ACK", ["RA", "RA"])])
    def test_flags_and_ttl(self, flags: str, seen: list[str]) -> None:
        _, _, decision = triggered(f'kind = "reset", flags = "{flags}", ttl = 33')
        assert [told(one)[1] for one in sent(decision)] == seen
        assert {IP(one).ttl for one in sent(decision)} == {33}

    def test_drop_leaves_the_flow_dead(self) -> None:
        judge, ends, decision = triggered('kind = "reset", drop = true')
        assert not decision.accept
        assert [told(one)[2] for one in decision.after] == [SERVER_ISN + 1, ISN + 1]  # the server never had it
        later = judge.decide(ends.answer(b"x"))
        assert (later.accept, later.after) == (False, ())

    def test_repeat(self) -> None:
        judge, ends, decision = triggered('kind = "reset", repeat = true')
        assert len(sent(decision)) == 2
        later = judge.decide(ends.answer(b"x"))
        assert (later.accept, len(sent(later)), names(later)) == (True, 2, [("rule0", "reset")])
        assert judge.statistics.rule("rule0").injected == 4
        assert sent(judge.decide(ends.ack())) == ()

    def test_drop_and_repeat(self) -> None:
        judge, ends, decision = triggered('kind = "reset", drop = true, repeat = true')
        assert (decision.accept, len(decision.after)) == (False, 2)
        later = judge.decide(ends.data(b"x"))
        assert (later.accept, len(later.after)) == (False, 2)

    def test_delay(self) -> None:
        _, _, decision = triggered('kind = "reset", delay_seconds = 0.5')
        assert decision.after == ()
        assert [delay for delay, _ in decision.later] == [0.5, 0.5]

    def test_rewrite(self) -> None:
        judge, ends, decision = triggered('kind = "reset", rewrite = true')
        assert (decision.accept, decision.after) == (True, ())
        assert names(decision) == [("rule0", "reset")]
        original = ends.answer(b"HTTP/1.1 200 OK\r\n")
        rewritten = judge.decide(original)
        assert not rewritten.accept
        assert [told(one) for one in rewritten.after] == [(CLIENT, "RA", SERVER_ISN + 1, ISN + 1 + len(GET))]
        assert IP(rewritten.after[0]).ttl == IP(original).ttl
        assert judge.decide(ends.data(b"x")).accept

    def test_what_is_not_tcp_is_not_rewritten(self) -> None:
        judge, ends = core(acting('kind = "reset", rewrite = true', DNS)), Ends(server_port=53)
        decision = judge.decide(ends.datagram(query("messenger.example")))
        assert (decision.accept, decision.after) == (True, ())
        assert judge.decide(ends.datagram(b"answer", from_client=False)) == Decision()


class TestForgeDns:
    def forged(self, action: str, name: str = "messenger.example", type_: str = "A") -> Decision:
        judge = core(acting(f'kind = "forge_dns", {action}', DNS))
        return judge.decide(Ends(server_port=53).datagram(query(name, type_=type_)))

    def test_the_answer_races_the_real_one(self) -> None:
        decision = self.forged('addresses = ["192.0.2.66", "192.0.2.67", "2001:db8::1"], ttl_seconds = 5')
        assert decision.accept
        (answer,) = decision.before
        assert (IP(answer).src, IP(answer).dst) == (SERVER, CLIENT)
        assert addresses(answer) == ["192.0.2.66", "192.0.2.67"]
        assert read_answer(answer).answer[0].ttl == 5
        assert names(decision) == [("rule0", "forge_dns")]

    def test_drop(self) -> None:
        assert not self.forged("drop = true").accept

    @pytest.mark.parametrize(
        ("text", "rcode"), [('rcode = "noerror"', 0), ('rcode = "servfail"', 2), ("", 3), ('rcode = "refused"', 5)]
    )
    def test_rcode(self, text: str, rcode: int) -> None:
        assert read_answer(self.forged(text or "drop = false").before[0]).rcode() == rcode

    def test_injectors(self) -> None:
        assert len(self.forged("injectors = 3").before) == 3

    def test_cyclic_pool(self) -> None:
        pool = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
        judge = core(acting(f'kind = "forge_dns", addresses = {pool}, choose = "cyclic", injectors = 2', DNS))
        found = []
        for port in range(5000, 5003):
            decision = judge.decide(Ends(client_port=port, server_port=53).datagram(query("messenger.example")))
            found += [addresses(one)[0] for one in decision.before]
        assert found == pool + pool

    def test_random_pool(self) -> None:
        pool = [f"192.0.2.{number}" for number in range(1, 5)]
        found = []
        for _ in range(2):
            judge = core(acting(f'kind = "forge_dns", addresses = {pool}, choose = "random"', DNS))
            sent = [Ends(client_port=port, server_port=53) for port in range(5000, 5050)]
            found.append([addresses(judge.decide(one.datagram(query("messenger.example"))).before[0]) for one in sent])
        assert found[0] == found[1]
        assert {one for (one,) in found[0]} == set(pool)

    def test_each_query_of_a_flow(self) -> None:
        judge, ends = core(acting('kind = "forge_dns"', DNS)), Ends(server_port=53)
        answers = [judge.decide(ends.datagram(query("messenger.example", id_))).before for id_ in (1, 2)]
        assert [read_answer(one).id for (one,) in answers] == [1, 2]
        assert judge.decide(ends.datagram(query("innocent.example"))) == Decision()
        assert judge.decide(ends.datagram(b"what is no DNS")) == Decision()
        assert core(acting('kind = "forge_dns"', DNS)).decide(ends.datagram(b"\0\7\x80\0" + bytes(8))) == Decision()

    def test_tcp_with_two_queries_in_one_segment(self) -> None:
        judge, ends = core(acting('kind = "forge_dns"', DNS)), Ends(server_port=53)
        sent = over_tcp(query("messenger.example", 1)) + over_tcp(query("www.messenger.example", 2))
        fates(judge, ends.handshake())
        decision = judge.decide(ends.data(sent))
        assert decision.accept
        assert [read_answer(one).id for one in decision.before] == [1, 2]
        assert IP(decision.before[0])[TCP].seq == SERVER_ISN + 1
        assert [
            read_answer(one).id for one in judge.decide(ends.data(over_tcp(query("messenger.example", 3)))).before
        ] == [3]

    @pytest.mark.parametrize("reassembly", ["none", "arrival", "in_order", "full"])
    def test_tcp_in_every_reassembly(self, reassembly: str) -> None:
        head = f'[censor.tcp]\nreassembly = "{reassembly}"'
        judge, ends = core(acting('kind = "forge_dns"', DNS), head=head), Ends(server_port=53)
        (answer,) = judge.decide(ends.data(over_tcp(query("messenger.example", 9)))).before
        assert read_answer(answer).id == 9

    def test_tcp_query_behind_one_that_was_dropped(self) -> None:
        judge, ends = core(acting('kind = "forge_dns", drop = true', DNS)), Ends(server_port=53)
        found = [judge.decide(ends.data(over_tcp(query("messenger.example", id_)))) for id_ in (1, 2)]
        assert [read_answer(one.before[0]).id for one in found] == [1, 2]
        assert judge.decide(ends.data(over_tcp(query("innocent.example")))).accept

    def test_latency(self) -> None:
        judge = core(acting('kind = "forge_dns"', DNS, latency_seconds="0.25"))
        decision = judge.decide(Ends(server_port=53).datagram(query("messenger.example")))
        assert decision.before == ()
        ((delay, answer),) = decision.later
        assert (delay, read_answer(answer).rcode()) == (0.25, 3)

    def test_a_rule_that_holds_without_a_query_forges_nothing(self) -> None:
        judge = core(acting('kind = "forge_dns", drop = true', "when = 'dns.response or server.port == 53'"))
        assert judge.decide(Ends(server_port=53).syn()) == Decision()


class TestBlockPage:
    def test_page_to_the_client_and_rst_to_the_server(self) -> None:
        judge, ends, decision = triggered('kind = "block_page", status = 302, location = "http://blocked.example/"')
        assert not decision.accept
        page, reset = map(IP, decision.after)
        assert page.dst == CLIENT
        assert bytes(page[TCP].payload).startswith(b"HTTP/1.1 302 Found\r\nLocation: http://blocked.example/\r\n")
        assert (page[TCP].seq, page[TCP].ack) == (SERVER_ISN + 1, ISN + 1 + len(GET))
        assert told(bytes(reset)) == (SERVER, "R", ISN + 1, 0)
        assert fates(judge, [ends.data(b"x"), ends.answer(b"x")]) == [False, False]

    def test_what_is_not_tcp_gets_none(self) -> None:
        judge = core(acting('kind = "block_page"', "when = 'http or server.port == 53'"))
        assert judge.decide(Ends(server_port=53).datagram(b"x")) == Decision()


class TestPolice:
    def test_what_does_not_fit_is_dropped(self) -> None:
        judge, ends, decision = triggered('kind = "police", rate_bytes_per_second = 1000, burst_bytes = 1500')
        assert decision.accept
        sizes = [judge.decide(ends.answer(bytes(460)), t=0.0).accept for _ in range(4)]
        assert sizes == [True, True, True, False]  # 500 bytes each
        assert judge.decide(ends.answer(bytes(460)), t=0.5).accept
        assert not judge.decide(ends.answer(bytes(460)), t=0.5).accept
        assert judge.decide(ends.data(bytes(460)), t=0.5).accept  # the other direction has a bucket of its own

    def test_one_direction(self) -> None:
        judge, ends, _ = triggered(
            'kind = "police", rate_bytes_per_second = 1, burst_bytes = 1, direction = "to_client"'
        )
        assert fates(judge, [ends.data(b"x"), ends.answer(b"x")], t=0.0) == [True, False]


class TestDelay:
    def test_every_packet_is_held(self) -> None:
        judge, ends, decision = triggered('kind = "delay", seconds = 0.5')
        assert (decision.accept, decision.delay_seconds) == (True, 0.5)
        assert judge.decide(ends.answer(b"x"), t=1.0).delay_seconds == 0.5

    def test_order_is_kept(self) -> None:
        judge, ends, decision = triggered('kind = "delay", seconds = [0.0, 5.0], direction = "to_server"')
        leaves = [round(decision.delay_seconds, 9)]
        leaves += [
            round(t + judge.decide(ends.data(b"x"), t=t).delay_seconds, 9) for t in (0.1 + 0.1 * i for i in range(40))
        ]
        assert leaves == sorted(leaves)
        assert len(set(leaves)) > 2
        assert judge.decide(ends.answer(b"x"), t=0.0).delay_seconds == 0.0


class TestLose:
    def test_share_of_packets(self) -> None:
        judge, ends, _ = triggered('kind = "lose", probability = 0.3, direction = "to_client"')
        lost = sum(not one for one in fates(judge, [ends.answer(b"x")] * 2000, t=0.0))
        assert 500 <= lost <= 700  # 600 with a deviation of 20.5
        assert fates(judge, [ends.data(b"x")] * 20, t=0.0) == [True] * 20


class TestFreeze:
    def test_bytes_from_the_flows_beginning(self) -> None:
        judge, ends, decision = triggered('kind = "freeze", bytes = 1000')
        assert decision.accept
        rest = 1000 - len(GET)
        assert fates(judge, [ends.answer(bytes(rest)), ends.ack(), ends.answer(b"x"), ends.ack()]) == [
            True,
            True,
            False,
            False,
        ]

    def test_packets(self) -> None:
        judge, ends, decision = triggered('kind = "freeze", packets = 5')
        assert decision.accept  # the fourth
        assert fates(judge, [ends.ack(), ends.ack()]) == [True, False]

    @pytest.mark.parametrize(("counted", "index"), [("to_client", 2), ("to_server", 1), ("both", 1)])
    def test_counted(self, counted: str, index: int) -> None:
        judge, ends, _ = triggered(f'kind = "freeze", bytes = 200, counted = "{counted}"')
        sent = [ends.data(bytes(150)), ends.data(bytes(150)), ends.answer(bytes(201))]
        assert fates(judge, sent).index(False) == index

    def test_vanishing_direction(self) -> None:
        judge, ends, _ = triggered('kind = "freeze", packets = 4, direction = "to_client"')
        assert fates(judge, [ends.data(b"x"), ends.answer(b"x")]) == [True, False]

    def test_packets_of_the_server(self) -> None:
        judge, ends, _ = triggered('kind = "freeze", packets = 2, counted = "to_client"')  # the SYN+ACK is one
        assert fates(judge, [ends.answer(b"x"), ends.data(b"x"), ends.answer(b"x")]) == [True, True, False]

    def test_packets_of_the_client(self) -> None:
        judge, ends, _ = triggered('kind = "freeze", packets = 4, counted = "to_server"')
        assert fates(judge, [ends.answer(b"x"), ends.data(b"x"), ends.data(b"x")]) == [True, True, False]


class TestResidual:
    def blocked(self, action: str, seconds: str = "60", when: str = HTTP) -> Core:
        judge = core(acting(f'kind = "residual", seconds = {seconds}, {action}', when))
        ends = Ends()
        fates(judge, ends.handshake(), t=100.0)
        decision = judge.decide(ends.data(GET), t=100.0)
        assert decision.accept
        assert len(decision.blocked) == 1
        return judge

    @pytest.mark.parametrize(("then", "passes"), [("reset", False), ("inject", True)])
    def test_the_flow_that_triggered_it_is_hit_where_all_are(self, then: str, passes: bool) -> None:
        for probability, hits in (("1.0", 1), ("0.0", 0)):
            judge, ends = (
                core(acting(f'kind = "residual", seconds = 60, then = "{then}", probability = {probability}', HTTP)),
                Ends(),
            )
            fates(judge, [*ends.handshake(), ends.data(GET)])
            decision = judge.decide(ends.data(b"more"))
            assert (len(decision.hits), decision.accept) == (hits, passes or not hits)

    @pytest.mark.parametrize(
        ("key", "passes"),
        [
            ("2-tuple", [False, False, False, True, True]),
            ("3-tuple", [False, False, True, True, True]),
            ("4-tuple", [False, True, True, True, True]),
        ],
    )
    def test_key(self, key: str, passes: list[bool]) -> None:
        judge = self.blocked(f'key = "{key}"')
        others = [
            Ends(isn=5),
            Ends(client_port=40001),
            Ends(client_port=40001, server_port=80),
            Ends(client="192.0.2.11"),
            Ends(server="203.0.113.11"),
        ]
        assert [judge.decide(one.syn(), t=101.0).accept for one in others] == passes

    def test_it_ends(self) -> None:
        judge = self.blocked('key = "3-tuple"')
        assert [judge.decide(Ends(client_port=40001).syn(), t=t).accept for t in (159.9, 160.0, 160.1)] == [
            False,
            True,
            True,
        ]

    def test_the_flow_itself_is_hit_from_both_ends(self) -> None:
        judge = self.blocked('key = "4-tuple"')
        assert fates(judge, [Ends().answer(b"x"), Ends().data(b"x")], t=101.0) == [False, False]
        assert names(judge.decide(Ends().answer(b"x"), t=101.0)) == [("rule0", "residual")]

    def test_direction(self) -> None:
        judge = self.blocked('direction = "to_client"')
        assert fates(judge, Ends(client_port=40001).handshake(), t=101.0) == [True, False, True]

    def test_then_reset(self) -> None:
        judge = self.blocked('then = "reset"')
        decision = judge.decide(Ends(client_port=40001).syn(), t=101.0)
        assert not decision.accept
        assert [told(one)[0] for one in decision.after] == [CLIENT, SERVER]

    def test_then_reset_of_what_is_not_tcp(self) -> None:
        judge = self.blocked('then = "reset", key = "2-tuple"')
        (error,) = judge.decide(Ends().datagram(b"x"), t=101.0).after
        assert IP(error)[ICMP].code == 3

    def test_delay(self) -> None:
        judge = self.blocked("delay_seconds = 5")
        assert judge.decide(Ends(client_port=40001).syn(), t=104.9).accept
        assert not judge.decide(Ends(client_port=40002).syn(), t=105.0).accept
        assert judge.decide(Ends(client_port=40003).syn(), t=165.0).accept

    def test_probability(self) -> None:
        judge = self.blocked("probability = 0.5")
        hit = sum(not judge.decide(Ends(client_port=port).syn(), t=101.0).accept for port in range(40000, 41000))
        assert 420 <= hit <= 580  # 500 with a deviation of 16

    def test_one_flow_is_hit_always_or_never(self) -> None:
        judge = self.blocked("probability = 0.5")
        for port in range(40000, 40020):
            ends = Ends(client_port=port)
            assert len(set(fates(judge, [*ends.handshake(), ends.data(b"GE")], t=101.0))) == 1

    def test_certain_after_so_many_triggers(self) -> None:
        judge = core(
            acting('kind = "residual", seconds = 60, probability = 0, certain_after = 2, key = "2-tuple"', HTTP)
        )
        assert judge.decide(Ends().data(GET)).blocked
        assert judge.decide(Ends(client_port=40001).syn()).accept
        assert judge.decide(Ends(client_port=40001).data(GET)).blocked
        assert not judge.decide(Ends(client_port=40002).syn()).accept

    def test_refresh_never(self) -> None:
        judge = core(acting('kind = "residual", seconds = 60, refresh = "never", probability = 0', HTTP))
        assert judge.decide(Ends().data(GET), t=0.0).blocked
        assert not judge.decide(Ends(client_port=40001).data(GET), t=50.0).blocked
        assert judge.decide(Ends(client_port=40002).data(GET), t=61.0).blocked

    def test_refresh_by_trigger(self) -> None:
        judge = core(acting('kind = "residual", seconds = 60, probability = 0', HTTP))
        judge.decide(Ends().data(GET), t=0.0)
        (renewed,) = judge.decide(Ends(client_port=40001).data(GET), t=50.0).blocked
        assert (renewed.begins, renewed.seconds) == (0.0, 110.0)

    def test_refresh_by_packet(self) -> None:
        judge = self.blocked('refresh = "packet"')
        passes = [judge.decide(Ends(client_port=40001).syn(), t=t).accept for t in (150.0, 205.0, 264.0, 325.0)]
        assert passes == [False, False, False, True]

    def test_span(self) -> None:
        judge = core(acting('kind = "residual", seconds = [60, 90], delay_seconds = [1, 2], key = "4-tuple"', HTTP))
        found = [judge.decide(Ends(client_port=port).data(GET)).blocked[0] for port in range(40000, 40020)]
        assert all(60 <= one.seconds <= 90 and 1 <= one.begins <= 2 for one in found)
        assert len({one.seconds for one in found}) == 20

    def test_what_the_kernel_is_told(self) -> None:
        judge = core(acting('kind = "residual", seconds = 60', HTTP))
        (blocked,) = judge.decide(Ends().data(GET), t=100.0).blocked
        assert (blocked.rule, blocked.kind, blocked.server_port, blocked.client_port) == ("rule0", "3-tuple", 443, 0)
        assert (blocked.begins, blocked.seconds) == (100.0, 60.0)
        assert shapes(judge.compiled) == {"rule0": Residual(0)}
        judge = core(acting('kind = "residual", seconds = 60, direction = "to_server"', HTTP))
        assert shapes(judge.compiled) == {"rule0": Residual(0, client_only=True)}

    @pytest.mark.parametrize(
        "keys", ['then = "reset"', 'direction = "to_client"', "probability = 0.5", "probability = [0.5, 1.0]"]
    )
    def test_what_the_kernel_cannot_do_alone(self, keys: str) -> None:
        judge = core(acting(f'kind = "residual", seconds = 60, {keys}', HTTP))
        assert judge.decide(Ends().data(GET)).blocked
        assert shapes(judge.compiled)["rule0"].action == "queue"

    @pytest.mark.parametrize(
        ("other", "alone"),
        [
            ('kind = "drop"', True),
            ('kind = "drop", after_packets = 1', False),
            ('kind = "drop", direction = "to_server"', False),
            ('kind = "drop", least_payload_bytes = 1', False),
            ('kind = "delay", seconds = 1', False),
            ('kind = "reject"', False),
            ('kind = "reset"', True),
            ('kind = "reset", drop = true', True),
            ('kind = "reset", drop = true, repeat = true', False),
            ('kind = "reset", rewrite = true', False),
        ],
    )
    def test_beside_other_actions(self, other: str, alone: bool) -> None:
        table = f'{HTTP}\nactions = [{{ kind = "residual", seconds = 60 }}, {{ {other} }}]'
        assert (shapes(core(table).compiled)["rule0"].action == "drop") is alone

    def test_beside_a_rule_that_allows(self) -> None:
        judge = core(
            acting('kind = "allow"', "when = 'server.port == 1'"), acting('kind = "residual", seconds = 60', HTTP)
        )
        assert judge.decide(Ends().data(GET)).blocked
        assert shapes(judge.compiled)["rule1"].action == "queue"

    def test_another_action_that_lasts_goes_before(self) -> None:
        table = f'{HTTP}\nactions = [{{ kind = "residual", seconds = 60 }}, {{ kind = "drop", after_packets = 2 }}]'
        judge, ends = core(table), Ends()
        assert fates(judge, [ends.data(GET), ends.answer(b"1"), ends.answer(b"2"), ends.answer(b"3")]) == [
            *[True] * 3,
            False,
        ]
        assert not judge.decide(Ends(client_port=40001).syn()).accept

    def test_reset_is_refreshed_by_packets(self) -> None:
        judge = self.blocked('then = "reset", refresh = "packet"')
        passes = [judge.decide(Ends(client_port=40001).syn(), t=t).accept for t in (150.0, 205.0, 264.0, 325.0)]
        assert passes == [False, False, False, True]

    def test_then_inject(self) -> None:
        judge = self.blocked('then = "inject"')
        ends = Ends(client_port=40001)
        for packet in (ends.syn(), ends.syn_ack(), ends.ack()):
            decision = judge.decide(packet, t=101.0)
            assert (decision.accept, decision.injected) == (True, 2)

    def test_then_rewrite(self) -> None:
        judge = self.blocked('then = "rewrite"')
        ends = Ends(client_port=40001)
        assert judge.decide(ends.syn(), t=101.0).accept
        decision = judge.decide(ends.syn_ack(), t=101.0)
        assert not decision.accept
        assert [told(one)[1] for one in decision.after] == ["RA"]

    def test_trigger_vanishes(self) -> None:
        judge = core(acting('kind = "residual", seconds = 60, trigger = true', HTTP))
        decision = judge.decide(Ends().data(GET))
        assert (decision.accept, names(decision)) == (False, [("rule0", "residual")])

    def test_flows_that_were_decided_before_are_left_to_the_kernel(self) -> None:
        for then, passes in (("drop", False), ("reset", True)):
            judge = core(acting(f'kind = "residual", seconds = 60, then = "{then}"', HTTP))
            before = Ends(client_port=40001)
            fates(judge, [*before.handshake(), before.data(HELLO)])
            judge.decide(Ends().data(GET))
            assert judge.decide(before.data(b"x")).accept is passes

    def test_a_flow_that_no_rule_concerns_is_hit_from_its_beginning(self) -> None:
        judge = self.blocked('then = "reset", key = "2-tuple"', when=f"{HTTP[:-1]} and server.port == 443'")
        ends = Ends(server_port=22)
        assert fates(judge, [ends.syn(), ends.syn()], t=101.0) == [False, False]


class TestProbe:
    def test_suspect(self) -> None:
        _, _, decision = triggered('kind = "probe", reason = "entropy"')
        (suspect,) = decision.suspects
        assert (suspect.address, suspect.port) == (bytes([203, 0, 113, 10]), 80)
        assert (suspect.first_payload, suspect.reason) == (GET, "entropy")
        assert decision.accept

    def test_what_was_said_first_is_replayed_though_more_was_needed(self) -> None:
        judge = core(acting('kind = "probe"', "when = 'socks.host under [\"blocked.example\"]'"))
        ends = Ends(server_port=1080)
        greeting, request = b"\5\1\0", b"\5\1\0\3\x0fblocked.example\x01\xbb"
        fates(judge, ends.handshake())
        assert judge.decide(ends.data(greeting)).suspects == ()
        judge.decide(ends.answer(b"\5\0"))
        (suspect,) = judge.decide(ends.data(request)).suspects
        assert suspect.first_payload == greeting

    def test_no_more_is_kept_than_is_replayed(self) -> None:
        judge = core(acting('kind = "probe"', HTTP) + "\n[prober]\npayload_limit_bytes = 5\n")
        (suspect,) = judge.decide(Ends().data(GET)).suspects
        assert suspect.first_payload == GET[:5]

    def test_the_rules_name_is_reason_enough(self) -> None:
        assert triggered('kind = "probe"')[2].suspects[0].reason == "rule0"


class TestMark:
    def test_a_later_rule_asks_for_it(self) -> None:
        judge = core(acting('kind = "mark", value = "seen"'), acting('kind = "drop"', "when = 'flow.mark == \"seen\"'"))
        assert not judge.decide(Ends().data(HELLO)).accept
        assert judge.decide(Ends(client_port=40001).data(INNOCENT)) == Decision()

    def test_an_earlier_rule_that_was_waiting_for_it(self) -> None:
        judge = core(
            acting('kind = "drop"', "when = 'flow.mark == \"seen\" and http'"),
            acting('kind = "mark", value = "seen"', "when = 'server.port == 80'"),
        )
        ends = Ends(server_port=80)
        assert judge.decide(ends.syn()).accept
        assert not judge.decide(ends.data(GET)).accept

    @pytest.mark.parametrize("payload", [INNOCENT, b"no TLS"])
    def test_absent_when_nothing_is_read_any_more(self, payload: bytes) -> None:
        judge = core(acting('kind = "mark", value = "seen"'), acting('kind = "drop"', "when = 'not exists flow.mark'"))
        ends = Ends()
        assert fates(judge, [*ends.handshake(), ends.data(payload)]) == [True, True, True, False]

    def test_absent_where_nothing_is_read_at_all(self) -> None:
        judge = core(acting('kind = "mark", value = "seen"'), acting('kind = "drop"', "when = 'not exists flow.mark'"))
        assert not judge.decide(bytes(IP(src=CLIENT, dst=SERVER) / ICMP())).accept


class TestLog:
    def test_nothing_but_the_event(self) -> None:
        judge, ends, decision = triggered('kind = "log"')
        assert (decision.accept, names(decision)) == (True, [("rule0", "log")])
        assert decision.hits[0].flow == f"tcp {CLIENT}:40000 > {SERVER}:80"
        assert decision.hits[0].name == "messenger.example"
        assert judge.decide(ends.data(b"x")) == Decision()

    def test_later_rules_act(self) -> None:
        judge = core(acting('kind = "log"'), acting('kind = "drop"'))
        assert names(judge.decide(Ends().data(HELLO))) == [("rule0", "log"), ("rule1", "drop")]


class TestAllow:
    ALLOW = acting('kind = "allow"', "when = 'server.port == 443'")

    def test_before_others(self) -> None:
        judge = core(self.ALLOW, acting('kind = "drop"'))
        assert judge.decide(Ends().data(HELLO)) == Decision()
        assert not judge.decide(Ends(server_port=8443).data(HELLO)).accept

    def test_after_what_has_decided(self) -> None:
        judge = core(acting('kind = "drop"', "when = 'server.port == 443'"), self.ALLOW)
        assert not judge.decide(Ends().syn()).accept

    def test_residual_blocks_do_not_concern_it(self) -> None:
        judge = core(self.ALLOW, acting('kind = "residual", seconds = 60, key = "2-tuple"', HTTP))
        assert judge.decide(Ends(server_port=80).data(GET)).blocked
        assert judge.decide(Ends().syn()).accept
        assert not judge.decide(Ends(server_port=80).ack()).accept


class TestSeveralActions:
    TWO = f'{HTTP}\nactions = [{{ kind = "residual", seconds = 60 }}, {{ kind = "reset", drop = true, repeat = true }}]'

    def test_all_are_carried_out(self) -> None:
        decision = core(self.TWO).decide(Ends().data(GET))
        assert (decision.accept, len(decision.after), len(decision.blocked)) == (False, 2, 1)

    def test_an_answer_to_what_an_earlier_action_dropped(self) -> None:
        table = f'{HTTP}\nactions = [{{ kind = "drop" }}, {{ kind = "reset", drop = true, repeat = true }}]'
        decision = core(table).decide(Ends().data(GET))
        assert (decision.accept, len(decision.after)) == (False, 2)

    def test_effects_in_their_order(self) -> None:
        table = f'{HTTP}\nactions = [{{ kind = "delay", seconds = 1 }}, {{ kind = "freeze", packets = 2 }}]'
        judge, ends = core(table), Ends()
        found = [judge.decide(one) for one in (ends.data(GET), ends.answer(b"x"), ends.answer(b"y"))]
        assert [(one.accept, one.delay_seconds) for one in found] == [(True, 1.0), (True, 1.0), (False, 1.0)]

    def test_a_rule_does_not_begin_twice_what_lasts(self) -> None:
        judge, ends = core(acting('kind = "delay", seconds = 1', HTTP)), Ends()
        for _ in range(3):
            assert names(judge.decide(ends.data(GET))) == [("rule0", "delay")]
        assert names(judge.decide(ends.data(GET + GET))) == [("rule0", "delay")]


class TestLatency:
    def test_effects_begin_later(self) -> None:
        judge, ends = core(acting('kind = "drop"', HTTP, latency_seconds="2")), Ends()
        assert judge.decide(ends.data(GET), t=0.0) == Decision()
        assert fates(judge, [ends.data(b"x")], t=1.9) == [True]
        assert fates(judge, [ends.data(b"x")], t=2.0) == [False]

    @pytest.mark.parametrize("keys", ["drop = true", "repeat = true", "drop = true, repeat = true"])
    def test_resets_leave_later(self, keys: str) -> None:
        judge, ends = core(acting(f'kind = "reset", delay_seconds = 1, {keys}', HTTP, latency_seconds="2")), Ends()
        decision = judge.decide(ends.data(GET), t=0.0)
        assert (decision.accept, decision.after) == (True, ())
        assert [delay for delay, _ in decision.later] == [3.0, 3.0]

    @pytest.mark.parametrize(
        "action",
        [
            'kind = "reset", rewrite = true',
            'kind = "reset", repeat = true',
            'kind = "police", rate_bytes_per_second = 1, burst_bytes = 1',
            'kind = "delay", seconds = 1',
            'kind = "lose", probability = 1',
            'kind = "freeze", packets = 0',
        ],
    )
    def test_no_effect_before(self, action: str) -> None:
        judge, ends = core(acting(action, HTTP, latency_seconds="2")), Ends()
        judge.decide(ends.data(GET), t=0.0)
        assert judge.decide(ends.answer(b"x"), t=1.9) == Decision()
        assert judge.decide(ends.answer(b"x"), t=2.0) != Decision()

    def test_block_page(self) -> None:
        judge, ends = core(acting('kind = "block_page"', HTTP, latency_seconds="2")), Ends()
        decision = judge.decide(ends.data(GET), t=0.0)
        assert (decision.accept, decision.after, [delay for delay, _ in decision.later]) == (True, (), [2.0, 2.0])


def test_collateral_is_what_was_not_intended() -> None:
    intended = "'tls.sni under \"messenger.example\"'"
    judge = core(acting('kind = "log"', "when = 'tls.sni contains \"example\"'", intended=intended))
    found = [judge.decide(Ends(client_port=port).data(hello)) for port, hello in ((40001, HELLO), (40002, INNOCENT))]
    assert [one.hits[0].collateral for one in found] == [False, True]
    counts = judge.statistics.rule("rule0")
    assert (counts.matched, counts.collateral) == (2, 1)


def test_injected_packets_are_counted() -> None:
    judge, _, _ = triggered('kind = "reset", count = 3')
    assert judge.statistics.rule("rule0").injected == 6


def test_an_rst_is_not_answered() -> None:
    judge = core(acting('kind = "reset"', "when = 'server.port == 443'"))
    assert judge.decide(Ends().data(b"", flags=RST | ACK)).after == ()


def test_a_dropped_query_leaves_the_next_one_from_its_port_alone() -> None:
    judge = core(acting('kind = "drop"', "when = 'dns.name under [\"blocked.example\"]'"))
    ends = Ends(server_port=53)
    for name, passes in (("blocked.example", False), ("innocent.example", True), ("www.blocked.example", False)):
        assert judge.decide(ends.datagram(query(name))).accept is passes
