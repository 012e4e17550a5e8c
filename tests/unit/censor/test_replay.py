"""censor/replay.py: captured packets in, verdicts and packets out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6

from censor.conditions import ListHolder
from censor.lists.formats import parse
from censor.packets import fragments_of
from censor.replay import Judged, Replay, Sent
from censor.rules_file import parse_rules
from tests.unit.censor.conversation import CLIENT, HELLO, INNOCENT, SERVER, client, query, server

T = 1_700_000_000.0
SNI_RST = 'action = "sni_rst"\ndomains = ["messenger.example"]'
NXDOMAIN = 'action = "dns_nxdomain"\ndomains = ["messenger.example"]'
EVERY_TLS = 'when = "exists tls.sni"\n'


def replay(
    *tables: str, head: str = "", lists: Mapping[str, ListHolder] | None = None, elapsed_seconds: float = 0.0
) -> Replay:
    text = head + "".join(f'[[rule]]\nname = "rule{i}"\n{table}\n' for i, table in enumerate(tables))
    return Replay(parse_rules(text), lists or {}, elapsed_seconds=elapsed_seconds)


def fed(judge: Replay, *captured: tuple[float, bytes]) -> list[Judged]:
    return [judged for t, data in captured for judged in judge.take(T + t, data, len(data))]


def test_a_packet_that_passes() -> None:
    (judged,) = fed(replay(SNI_RST), (0, client(INNOCENT)))
    assert judged.as_dict() == {
        "number": 1,
        "t": T,
        "verdict": "accept",
        "rule": None,
        "action": None,
        "flow": f"tcp {CLIENT}:40000 > {SERVER}:443",
        "name": "innocent.example",
        "injected": 0,
    }
    assert (judged.passed, judged.injected) == (Sent(T, client(INNOCENT), len(client(INNOCENT))), ())


def test_a_packet_that_is_dropped_and_answered() -> None:
    judge = replay(SNI_RST)
    first, second = fed(judge, (0, client(HELLO)), (0.25, server()))
    assert (first.verdict, first.passed) == ("drop", None)
    to_client, to_server = first.injected
    assert (to_client.t, IP(to_client.data).dst, to_client.length) == (T, CLIENT, len(to_client.data))
    assert IP(to_server.data).dst == SERVER
    # Told from the client's side, whoever sent it.
    told = second.as_dict()
    assert (told["number"], told["t"], told["verdict"]) == (2, T + 0.25, "drop")
    assert (told["rule"], told["action"], told["injected"]) == ("rule0", "sni_rst", 2)
    assert (told["flow"], told["name"]) == (f"tcp {CLIENT}:40000 > {SERVER}:443", "www.messenger.example")
    assert judge.as_dict() == {
        "packets": 2,
        "dropped": 2,
        "fragments_dropped": 0,
        "delayed": 0,
        "injected": 4,
        "residual_blocks": 0,
        "suspects": 0,
        "overloaded_flows": 0,
        "forgotten_flows": 0,
        "rules": [{"rule": "rule0", "matched": 1, "collateral": 0, "packets": 2, "injected": 4}],
    }


def test_forged_answers_have_the_querys_time() -> None:
    (judged,) = fed(replay(NXDOMAIN), (0, query("messenger.example")))
    assert judged.verdict == "accept"
    assert [(sent.t, IP(sent.data).src) for sent in judged.injected] == [(T, SERVER)]


def test_late_resets_and_held_packets_have_their_own_times() -> None:
    table = EVERY_TLS + 'actions = [{ kind = "reset", delay_seconds = 2.5 }, { kind = "delay", seconds = 0.5 }]'
    judge = replay(table)
    (judged,) = fed(judge, (1, client(HELLO)))
    assert {sent.t for sent in judged.injected} == {T + 3.5}
    assert judged.passed is not None
    assert judged.passed.t == T + 1.5
    told = judged.as_dict()
    assert (told["verdict"], told["delay_seconds"]) == ("delayed", 0.5)
    assert (told["action"], told["also"]) == ("reset", [{"rule": "rule0", "action": "delay"}])
    assert judge.as_dict()["delayed"] == 1


def test_collateral_residual_blocks_and_suspects_are_counted() -> None:
    table = EVERY_TLS + (
        'actions = [{ kind = "residual", seconds = 9 }, { kind = "probe" }, { kind = "drop" }]\n'
        "intended = 'tls.sni under [\"messenger.example\"]'"
    )
    judge = replay(table)
    (judged,) = fed(judge, (0, client(INNOCENT)))
    assert judged.as_dict()["collateral"] is True
    told = judge.as_dict()
    assert (told["residual_blocks"], told["suspects"], told["rules"][0]["collateral"]) == (1, 1, 1)
    assert "collateral" not in fed(replay(table), (0, client(HELLO)))[0].as_dict()


class TestTime:
    TABLE = SNI_RST + "\nfrom_seconds = 10\nuntil_seconds = 20"

    def verdicts(self, judge: Replay, *times: float) -> list[str]:
        return [
            judged.verdict
            for number, t in enumerate(times)
            for judged in fed(judge, (t, client(HELLO, port=40000 + number)))
        ]

    def test_rules_come_and_go(self) -> None:
        times = (0, 9.9, 10, 19.9, 20, 30)
        assert self.verdicts(replay(self.TABLE), *times) == ["accept", "accept", "drop", "drop", "accept", "accept"]

    def test_a_rule_that_goes_lifts_what_it_did(self) -> None:
        judge = replay(self.TABLE)
        first = client(HELLO)
        judged = fed(judge, (0, client()), (12, first), (21, first))
        assert [one.verdict for one in judged] == ["accept", "drop", "accept"]

    def test_a_rule_that_passes_between_two_packets_acts_on_neither(self) -> None:
        assert self.verdicts(replay(self.TABLE), 0, 30) == ["accept", "accept"]

    def test_scaled(self) -> None:
        judge = replay(self.TABLE, head="[censor]\ntime_scale = 10\n")
        assert self.verdicts(judge, 0, 1.5, 2.5) == ["accept", "drop", "accept"]

    def test_a_capture_that_starts_later(self) -> None:
        assert self.verdicts(replay(self.TABLE, elapsed_seconds=15), 0, 4, 6) == ["drop", "drop", "accept"]
        assert self.verdicts(replay(self.TABLE, elapsed_seconds=25), 0) == ["accept"]

    def test_time_does_not_go_back(self) -> None:
        judge = replay(self.TABLE)
        assert self.verdicts(judge, 0, 12, 5) == ["accept", "drop", "drop"]
        assert fed(judge, (4, client(INNOCENT, port=50000)))[0].passed == Sent(
            T + 4, client(INNOCENT, port=50000), len(client(INNOCENT))
        )


def test_lists() -> None:
    content = parse("messenger.example\n", "plain", origin="list")
    table = 'when = "tls.sni under @banned"\nactions = [{ kind = "drop" }]'
    judge = replay(table, head='[[list]]\nname = "banned"\n', lists={"banned": ListHolder(content)})
    hello, innocent = client(HELLO), client(INNOCENT, port=50000)
    assert [one.verdict for one in fed(judge, (0, hello), (0, innocent))] == ["drop", "accept"]


def test_what_is_no_packet_passes() -> None:
    (judged,) = fed(replay(SNI_RST), (0, b"\x45 cut"))
    assert (judged.verdict, judged.flow, judged.name) == ("accept", "", "")
    assert judged.passed == Sent(T, b"\x45 cut", 5)


def test_padding_is_cut_off() -> None:
    data = client()
    (judged,) = replay().take(T, data + bytes(6), len(data) + 6)
    assert judged.passed == Sent(T, data, len(data))


def test_a_packet_that_was_captured_in_part_keeps_its_length() -> None:
    data = client(INNOCENT)
    (judged,) = replay().take(T, data[:60], len(data))
    assert judged.passed == Sent(T, data[:60], len(data))


class TestFragments:
    PIECES = fragments_of(client(HELLO), 200)

    def head(self, policy: str) -> str:
        return f'[censor.fragments]\npolicy = "{policy}"\n'

    def test_reassembled_ones_are_judged_together(self) -> None:
        judge = replay(SNI_RST)
        pieces = self.PIECES
        for number, piece in enumerate(pieces[:-1]):
            assert fed(judge, (number, piece)) == []
        judged = fed(judge, (9, pieces[-1]))
        assert [one.number for one in judged] == list(range(1, len(pieces) + 1))
        assert {(one.verdict, one.name) for one in judged} == {("drop", "www.messenger.example")}
        assert [len(one.injected) for one in judged] == [0] * (len(pieces) - 1) + [2]
        assert {sent.t for sent in judged[-1].injected} == {T + 9}
        told = judge.as_dict()
        assert (told["packets"], told["dropped"], told["injected"]) == (len(pieces), len(pieces), 2)

    def test_those_that_pass_leave_when_the_last_has_come(self) -> None:
        pieces = fragments_of(client(INNOCENT), 200)
        judged = fed(replay(SNI_RST), *enumerate(pieces))
        assert [one.passed for one in judged] == [Sent(T + len(pieces) - 1, piece, len(piece)) for piece in pieces]
        assert [one.verdict for one in judged] == ["delayed"] * (len(pieces) - 1) + ["accept"]
        assert judged[0].as_dict()["delay_seconds"] == len(pieces) - 1

    def test_what_never_becomes_whole_is_dropped_in_the_end(self) -> None:
        judge = replay(SNI_RST)
        assert fed(judge, (0, self.PIECES[0])) == []
        (judged,) = judge.finish()
        told = judged.as_dict()
        assert (told["verdict"], told["rule"], told["action"]) == ("drop", None, "fragments")
        assert told["flow"] == f"tcp {CLIENT}:40000 > {SERVER}:443"
        assert (judge.as_dict()["dropped"], judge.as_dict()["fragments_dropped"]) == (1, 1)

    def test_all_are_dropped(self) -> None:
        judged = fed(replay(head=self.head("drop")), (0, self.PIECES[1]), (0, client()))
        assert [one.as_dict()["action"] for one in judged] == ["fragments", None]
        assert [one.verdict for one in judged] == ["drop", "accept"]

    def test_each_is_judged_by_itself(self) -> None:
        judged = fed(replay(SNI_RST, head=self.head("pass")), *((0, piece) for piece in self.PIECES))
        assert {one.verdict for one in judged} == {"accept"}

    def test_held_ones_leave_with_the_first_ones_ttl(self) -> None:
        first, *others = self.PIECES
        aged = IP(others[-1])
        aged.ttl = 7
        del aged.chksum
        pieces = [first, *others[:-1], bytes(aged)]
        judged = fed(replay(SNI_RST, head=self.head("hold")), *enumerate(pieces))
        assert [IP(one.passed.data).ttl for one in judged if one.passed] == [64] * len(pieces)
        assert {one.passed.t for one in judged if one.passed} == {T + len(pieces) - 1}

    def test_of_ipv6(self) -> None:
        whole = bytes(IPv6(src="2001:db8::1", dst="2001:db8::2") / UDP(sport=5000, dport=53) / bytes(600))
        judged = fed(replay(), *((0, piece) for piece in fragments_of(whole, 300, identification=9)))
        assert [one.flow for one in judged] == ["udp [2001:db8::1]:5000 > [2001:db8::2]:53"] * 3


def test_the_same_capture_gives_the_same() -> None:
    table = EVERY_TLS + 'probability = 0.5\nactions = [{ kind = "drop" }]'
    head = "[censor]\nseed = 3\n"

    def verdicts() -> list[str]:
        judge = replay(table, head=head)
        return [judge.take(T, client(HELLO, port=port), 0)[0].verdict for port in range(40000, 40040)]

    assert verdicts() == verdicts()
    assert set(verdicts()) == {"accept", "drop"}


def test_a_later_fragments_flow_has_no_ports() -> None:
    (judged,) = fed(replay(head='[censor.fragments]\npolicy = "drop"\n'), (0, fragments_of(client(HELLO), 200)[1]))
    assert (judged.flow, judged.name) == (f"tcp {CLIENT}:0 > {SERVER}:0", "")


PACKETS = (client(HELLO), server(b"x" * 50), query("messenger.example"), *fragments_of(client(HELLO), 200), b"")
damage = st.tuples(st.sampled_from(PACKETS), st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=3))


@given(st.lists(st.tuples(st.floats(-1, 40), damage), max_size=20), st.sampled_from(["reassemble", "hold", "pass"]))
def test_every_packet_gets_one_verdict_whatever_it_is(given_: list[Any], policy: str) -> None:
    judge = replay(SNI_RST, NXDOMAIN, head=f'[censor.fragments]\npolicy = "{policy}"\n')
    t, numbers = T, []
    for step, (packet, changes) in given_:
        data = bytearray(packet)
        for at, byte in changes:
            data[at : at + 1] = bytes([byte])
        t += step
        numbers += [judged.number for judged in judge.take(t, bytes(data), len(data))]
    numbers += [judged.number for judged in judge.finish()]
    assert sorted(numbers) == list(range(1, len(given_) + 1))
    assert judge.as_dict()["packets"] == len(given_)
