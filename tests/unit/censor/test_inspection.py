"""censor/inspection.py: which bytes of a flow are looked at; told by what a rule finds in them."""

from __future__ import annotations

import dataclasses

import pytest

from censor.actions import Drop
from censor.analyzers import Outcome, entropy
from censor.censor_table import TcpTable
from censor.core import Core
from censor.flows import Flow
from censor.inspection import Inspection
from censor.packets import ACK, parse
from tests.unit.censor.analyzers.initials import crypto_frame, initial
from tests.unit.censor.analyzers.initials import hello as quic_hello
from tests.unit.censor.analyzers.test_tls import real_hello
from tests.unit.censor.traffic import HELLO, INNOCENT, TLS, Ends, acting, core, fates, names, over_tcp, query

DROP = acting('kind = "drop"')
GET = b"GET /%d HTTP/1.1\r\nHost: messenger.example\r\n\r\n"
OTHER = b"GET / HTTP/1.1\r\nHost: innocent.example\r\n\r\n"
LOG_HTTP = acting('kind = "log"', "when = 'http.host == \"messenger.example\"'")
SPLIT = HELLO.index(b"messenger") + 4


def tcp(text: str) -> str:
    return f"[censor.tcp]\n{text}"


def caught(judge: Core, sent: list[bytes]) -> bool:
    """Whether the ClientHello was found: its last packet dropped."""
    return not fates(judge, sent)[-1]


def opened(**keys: int) -> tuple[Ends, list[bytes]]:
    ends = Ends(**keys)  # type: ignore[arg-type]  # ports and numbers
    return ends, ends.handshake()


class TestReassembly:
    """Each evasion by segmentation, against each way to put segments together."""

    def pieces(self, evasion: str) -> list[bytes]:
        ends, sent = opened()
        match evasion:
            case "whole":
                return [*sent, ends.data(HELLO)]
            case "split":
                return [*sent, ends.data(HELLO[:SPLIT]), ends.data(HELLO[SPLIT:])]
            case "bytes":
                return [*sent, *(ends.data(HELLO[i : i + 1]) for i in range(len(HELLO)))]
            case "swapped":
                return [*sent, ends.data(HELLO[SPLIT:], SPLIT), ends.data(HELLO[:SPLIT], 0)]
            case "swapped, then again":
                return [
                    *sent,
                    ends.data(HELLO[SPLIT:], SPLIT),
                    ends.data(HELLO[:SPLIT], 0),
                    ends.data(HELLO[SPLIT:], SPLIT),
                ]
            case "retransmitted":
                return [*sent, *[ends.data(HELLO[:SPLIT], 0)] * 2, ends.data(HELLO[SPLIT:], SPLIT)]
            case "small before":
                return [*sent, ends.data(b"\x15"), ends.data(HELLO)]
        raise AssertionError(evasion)

    @pytest.mark.parametrize(
        ("evasion", "by"),
        [
            ("whole", {"none", "arrival", "in_order", "full"}),
            ("split", {"arrival", "in_order", "full"}),
            ("bytes", {"arrival", "in_order", "full"}),
            ("swapped", {"full"}),
            ("swapped, then again", {"in_order", "full"}),
            ("retransmitted", {"in_order", "full"}),
            ("small before", set()),
        ],
    )
    def test_who_is_evaded(self, evasion: str, by: set[str]) -> None:
        modes = ("none", "arrival", "in_order", "full")
        found = {mode for mode in modes if caught(core(DROP, head=tcp(f'reassembly = "{mode}"')), self.pieces(evasion))}
        assert found == by

    @pytest.mark.parametrize(("overlap", "seen"), [("first", False), ("last", True)])
    def test_overlapping_copies(self, overlap: str, seen: bool) -> None:
        ends, sent = opened()
        judge = core(DROP, head=tcp(f'overlap = "{overlap}"'))
        size = len(HELLO)
        decoy = HELLO.replace(b"messenger", b"massenger")
        sent += [ends.data(decoy[9:], 9), ends.data(HELLO[9:], 9), ends.data(HELLO[:9], 0)]
        assert caught(judge, sent) is seen
        assert size == len(decoy)

    def test_several_records(self) -> None:
        ends, sent = opened()
        body = HELLO[5:]
        records = [b"\x16\x03\x01" + len(part).to_bytes(2, "big") + part for part in (body[:100], body[100:])]
        assert caught(core(DROP), [*sent, ends.data(b"".join(records))])

    def test_bytes_on_the_syn(self) -> None:
        ends = Ends()
        judge = core(DROP)
        assert judge.decide(ends.syn(HELLO[:100])).accept
        assert not judge.decide(ends.data(HELLO[100:], 100)).accept

    def test_sequence_numbers_that_wrap(self) -> None:
        ends, sent = opened(isn=0xFFFFFFF0)
        assert caught(core(DROP), [*sent, ends.data(HELLO[SPLIT:], SPLIT), ends.data(HELLO[:SPLIT], 0)])

    def test_a_flow_whose_beginning_was_not_seen(self) -> None:
        assert caught(core(DROP), [Ends().data(HELLO, 5000)])


class TestWindows:
    def test_limit_bytes(self) -> None:
        for limit, found in ((len(HELLO), True), (len(HELLO) - 1, False)):
            ends, sent = opened()
            judge = core(DROP, head=tcp(f"limit_bytes = {limit}"))
            assert caught(judge, [*sent, ends.data(HELLO[:200]), ends.data(HELLO[200:])]) is found

    def test_segments(self) -> None:
        for segments, found in ((2, False), (3, True)):
            ends, sent = opened()
            judge = core(DROP, head=tcp(f"segments = {segments}"))
            assert caught(judge, [*sent, *(ends.data(part) for part in (HELLO[:5], HELLO[5:50], HELLO[50:]))]) is found

    def test_segments_end_the_reading_of_later_messages(self) -> None:
        ends = Ends()
        judge = core(LOG_HTTP, head=tcp("segments = 2"))
        assert [bool(judge.decide(ends.data(GET % i)).hits) for i in range(4)] == [True, True, False, False]

    def test_segments_by_themselves(self) -> None:
        ends = Ends()
        judge = core(DROP, head=tcp('reassembly = "none"\nsegments = 3'))
        assert fates(judge, [ends.data(b"x"), ends.data(b"y"), ends.data(HELLO)]) == [True, True, False]
        ends = Ends(client_port=40001)
        assert fates(judge, [ends.data(b"x"), ends.data(b"y"), ends.data(b"z"), ends.data(HELLO)]) == [True] * 4

    @pytest.mark.parametrize(("size", "found"), [(100, True), (101, False)])
    def test_unparsed_bytes(self, size: int, found: bool) -> None:
        ends = Ends()
        judge = core(DROP, head=tcp('reassembly = "none"\nsegments = 5\nunparsed_bytes = 101'))
        assert caught(judge, [ends.data(b"\1" * size), ends.data(HELLO)]) is found

    def extended(self, first: bytes, after: int) -> bool:
        ends = Ends()
        head = tcp('reassembly = "none"\nextend_segments = 3\nextend_for = ["http", "tls"]')
        return caught(
            core(DROP, head=head), [ends.data(first), *(ends.data(b"x") for _ in range(after)), ends.data(HELLO)]
        )

    def test_extension(self) -> None:
        assert [self.extended(OTHER, after) for after in (0, 1, 2, 3)] == [True, True, True, False]
        assert self.extended(INNOCENT, 2)
        assert not self.extended(b"\1\2\3", 0)

    def test_drawn_extension(self) -> None:
        head = tcp('reassembly = "none"\nextend_segments = [1, 3]\nextend_for = ["http"]')
        found = []
        for port in range(40000, 40060):
            ends, judge = Ends(client_port=port), core(DROP, head=head)
            judge.decide(ends.data(OTHER))
            judge.decide(ends.data(b"x"))
            found.append(judge.decide(ends.data(HELLO)).accept)
        assert 8 <= sum(found) <= 32  # one third of 60: the window was one

    def test_a_message_is_acted_on_once_in_a_window(self) -> None:
        ends = Ends()
        judge = core(acting('kind = "log"'), head=tcp('reassembly = "none"\nextend_segments = 2\nextend_for = ["tls"]'))
        assert [len(judge.decide(ends.data(one)).hits) for one in (HELLO, b"x", b"y", b"z")] == [1, 0, 0, 0]
        ends = Ends(client_port=40001)
        assert [len(judge.decide(ends.data(one)).hits) for one in (HELLO, HELLO)] == [1, 1]


class TestMessages:
    """Messages that follow one another."""

    def hits(self, *payloads: bytes, judge: Core | None = None, port: int = 80) -> list[int]:
        judge, ends = judge or core(LOG_HTTP), Ends(server_port=port)
        fates(judge, ends.handshake())
        return [len(judge.decide(ends.data(payload)).hits) for payload in payloads]

    def test_pipelined(self) -> None:
        assert self.hits(GET % 1 + GET % 2 + OTHER + GET % 3) == [3]

    def test_kept_alive(self) -> None:
        assert self.hits(OTHER, GET % 1, OTHER, GET % 2) == [0, 1, 0, 1]

    def test_split_over_segments(self) -> None:
        assert self.hits(GET % 1 + (GET % 2)[:10], (GET % 2)[10:] + GET % 3) == [1, 2]

    def test_more_than_are_read_of_one_segment(self) -> None:
        many = (GET % 1) * 70
        assert self.hits(many, GET % 2) == [64, 7]

    def test_a_body_of_known_length(self) -> None:
        post = b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: %d\r\n\r\n"
        inside = GET % 1
        assert self.hits(post % len(inside) + inside, GET % 2) == [0, 1]
        assert self.hits(post % 100 + b"x" * 60, b"x" * 40 + GET % 2) == [0, 1]

    def test_a_chunked_body(self) -> None:
        post = b"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
        assert self.hits(post, b"5\r\nhello\r\n", b"0\r\n\r\n", GET % 1, GET % 2) == [0, 0, 0, 1, 1]

    def test_what_is_no_message_ends_the_reading(self) -> None:
        assert self.hits(OTHER, b"\0\1\2\3\r\n", GET % 1) == [0, 0, 0]

    def test_dns_over_tcp(self) -> None:
        judge = core(acting('kind = "log"', "when = 'dns.name under \"messenger.example\"'"))
        one = over_tcp(query("messenger.example"))
        assert self.hits(one + one, one[:5], one[5:], judge=judge, port=53) == [2, 0, 1]

    def test_datagrams(self) -> None:
        judge, ends = (
            core(acting('kind = "log"', "when = 'dns.name under \"messenger.example\"'")),
            Ends(server_port=53),
        )
        sent = [query("messenger.example"), b"nothing", query("innocent.example"), query("messenger.example")]
        assert [len(judge.decide(ends.datagram(one)).hits) for one in sent] == [1, 0, 0, 1]

    def test_a_rule_that_decides_goes_for_its_message(self) -> None:
        judge = core(
            acting('kind = "allow"', "when = 'http.path == \"/1\"'"),
            acting('kind = "reset"', "when = 'http.host == \"messenger.example\"'"),
        )
        ends = Ends()
        assert [names(judge.decide(ends.data(GET % i))) for i in (1, 2, 1)] == [[], [("rule1", "reset")], []]


class TestBothEnds:
    def test_what_the_server_says(self) -> None:
        for inspect, found in (("client", False), ("both", True)):
            ends, sent = opened()
            judge = core(acting('kind = "drop"', "when = 'ssh'"), head=tcp(f'inspect = "{inspect}"'))
            assert caught(judge, [*sent, ends.answer(b"SSH-2.0-OpenSSH_9.6\r\n")]) is found

    def test_absent_when_neither_end_can_tell_any_more(self) -> None:
        ends, sent = opened()
        judge = core(acting('kind = "drop"', "when = 'not ssh'"), head=tcp('inspect = "both"'))
        assert fates(judge, [*sent, ends.data(b"GET"), ends.answer(b"HTTP")]) == [*[True] * 4, False]


class TestFirstPayload:
    def test_alone_whatever_follows(self) -> None:
        table = acting('kind = "drop"', "when = 'entropy.length == 300'")
        for sizes, found in (((300,), True), ((150, 150), False), ((301,), False)):
            ends, sent = opened()
            assert caught(core(table), [*sent, *(ends.data(b"\xa5" * size) for size in sizes)]) is found

    def test_what_an_analyzer_cannot_tell_is_absent(self) -> None:
        blind = dataclasses.replace(entropy.ANALYZER, first_payload=lambda data, wanted: Outcome.OTHER)
        packet = parse(Ends().datagram(b"x"))
        assert packet is not None
        flow, inspection = Flow(packet, 0.0, from_client=True), Inspection(TcpTable(), 0)
        flow.client = inspection.side((), (blind,), None)
        known = core(acting('kind = "log"', "when = 'entropy'")).compiled
        assert inspection.datagram(known, flow, flow.client, b"x")
        assert flow.properties == {"entropy": None}
        assert flow.client.closed

    def test_an_empty_datagram_tells_nothing(self) -> None:
        judge = core(acting('kind = "drop"', "when = 'not exists entropy.length'"))
        assert judge.decide(Ends().datagram(b"")).accept

    def test_of_a_datagram(self) -> None:
        assert caught(core(acting('kind = "drop"', "when = 'entropy.length == 9'")), [Ends().datagram(b"123456789")])


class TestPartial:
    def test_a_socks_greeting_is_known_before_the_request(self) -> None:
        table = (
            acting('kind = "log"', "when = 'socks'"),
            acting('kind = "drop"', "when = 'socks.host == \"a.example\"'"),
        )
        ends, judge = Ends(), core(*table)
        assert names(judge.decide(ends.data(b"\x05\x01\x00"))) == [("rule0", "log")]
        assert names(judge.decide(ends.data(b"\x05\x01\x00\x03\x09a.example\x00\x50"))) == [("rule1", "drop")]

    def test_a_name_in_the_second_datagram_of_a_browsers_hello(self) -> None:
        table = (
            acting('kind = "log"', "when = 'quic.version == 1'"),
            acting('kind = "drop"', "when = 'quic.sni == \"messenger.example\"'"),
        )
        ends, judge, whole = Ends(), core(*table), quic_hello(padding_bytes=700)
        pieces = [crypto_frame(600, whole[600:]), crypto_frame(0, whole[:600])]
        sent = [ends.datagram(initial(piece, number=number, pad_to=1200)) for number, piece in enumerate(pieces)]
        assert [names(judge.decide(one)) for one in sent] == [[("rule0", "log")], [("rule1", "drop")]]


class TestReload:
    """Rules come while a message is being read."""

    def test_what_was_read_stays(self) -> None:
        ends, judge = Ends(), core(acting('kind = "log"'))
        judge.decide(ends.data(HELLO[:100]))
        judge.set_rules(core(DROP).rules)
        assert caught(judge, [ends.data(HELLO[100:])])

    @pytest.mark.parametrize(
        ("before", "after", "left"),
        [("", "segments = 2", 2), ("segments = 9", "segments = 2", 2), ("segments = 2", "segments = 9", 1)],
    )
    def test_the_window_is_the_smaller(self, before: str, after: str, left: int) -> None:
        ends, judge = Ends(), core(acting('kind = "log"'), head=tcp(before))
        judge.decide(ends.data(HELLO[:10]))
        judge.set_rules(core(DROP, head=tcp(after)).rules)
        sent = [HELLO[10 + i : 11 + i] for i in range(left - 1)]
        assert caught(judge, [*map(ends.data, sent), ends.data(HELLO[ends.sent :])])

    def test_the_servers_end_is_not_read_any_more(self) -> None:
        ends, judge = Ends(), core(acting('kind = "log"', "when = 'ssh'"), head=tcp('inspect = "both"'))
        judge.decide(ends.syn())
        judge.set_rules(core(acting('kind = "drop"', "when = 'ssh'"), head=tcp('reassembly = "none"')).rules)
        assert judge.decide(ends.answer(b"SSH-2.0-x\r\n")).accept

    def test_a_message_behind_one_that_was_dropped(self) -> None:
        forge = acting('kind = "forge_dns", drop = true', "when = 'dns.name under \"messenger.example\"'")
        ends, judge = Ends(server_port=53), core(forge)
        assert not judge.decide(ends.data(over_tcp(query("messenger.example", 1)))).accept
        judge.set_rules(core(forge, acting('kind = "log"')).rules)
        decision = judge.decide(ends.data(over_tcp(query("messenger.example", 2))))
        assert len(decision.before) == 1


def test_long_names_and_no_name() -> None:
    for hello in (real_hello(None), real_hello("a" * 60 + ".example")):
        assert core(DROP).decide(Ends().data(hello, flags=ACK)).accept


def test_the_table_is_what_the_rules_say() -> None:
    assert core(f"{TLS}\nactions = [{{ kind = 'drop' }}]").compiled.rules[0].actions == (Drop(),)


@pytest.mark.parametrize(("resync", "read"), [("", False), ("resync_segments = 2\n", True)])
def test_a_gap_that_is_never_filled_is_given_up(resync: str, read: bool) -> None:
    request = b"GET / HTTP/1.1\r\nHost: blocked.example\r\n\r\n"
    when = "when = 'http.host under [\"blocked.example\"]'"
    judge, ends = core(acting('kind = "drop"', when), head=f"[censor.tcp]\n{resync}"), Ends()
    fates(judge, ends.handshake())
    assert judge.decide(ends.data(request[20:], 120)).accept  # a hundred bytes before it are missing
    assert judge.decide(ends.data(request, 100)).accept is not read
