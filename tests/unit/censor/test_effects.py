"""censor/effects.py; what effects do to flows: test_acting.py"""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, TCP

from censor.actions import Drop, Reset
from censor.compiled import CompiledRule
from censor.decision import Decision
from censor.effects import Effect, dropping, refusal, resets
from censor.flows import Flow
from censor.packets import ACK, FIN, RST, Packet, parse
from censor.rules import Rule
from tests.unit.censor.traffic import CLIENT, ISN, SERVER, SERVER_ISN, Ends

RULE = CompiledRule(Rule(name="rule", when="tls", actions=(Drop(),)), {}, frozenset())


def parsed(data: bytes) -> Packet:
    packet = parse(data)
    assert packet is not None
    return packet


def seen(made: tuple[bytes, ...]) -> list[tuple[str, str, int]]:
    return [(IP(one).dst, str(IP(one)[TCP].flags), IP(one)[TCP].seq) for one in made]


class TestResets:
    def test_are_exact_for_what_each_end_expects(self) -> None:
        packet = parsed(Ends().data(b"12345"))
        for dropped, sequence in ((True, ISN + 1), (False, ISN + 6)):
            made = resets(Reset(), packet, from_client=True, dropped=dropped)
            assert seen(made) == [(CLIENT, "RA", SERVER_ISN + 1), (SERVER, "R", sequence)]

    def test_of_what_the_server_says(self) -> None:
        packet = parsed(Ends().answer(b"12345"))
        made = resets(Reset(to="client"), packet, from_client=False, dropped=True)
        assert seen(made) == [(CLIENT, "R", SERVER_ISN + 1)]
        made = resets(Reset(to="server"), packet, from_client=False, dropped=True)
        assert seen(made) == [(SERVER, "RA", ISN + 1)]

    def test_a_fin_takes_a_number(self) -> None:
        packet = parsed(Ends().data(b"12", flags=FIN | ACK))
        assert IP(resets(Reset(), packet, from_client=True, dropped=False)[0])[TCP].ack == ISN + 4

    def test_order_is_by_offset(self) -> None:
        action = Reset(offsets=(0, 1460), count=2)
        made = resets(action, parsed(Ends().data(b"")), from_client=True, dropped=False)
        assert [one[0] for one in seen(made)] == [CLIENT, SERVER] * 4
        assert [one[2] - SERVER_ISN - 1 for one in seen(made)[::2]] == [0, 1460, 0, 1460]

    @pytest.mark.parametrize("data", [Ends().data(b"", flags=RST), Ends().datagram(b"x")])
    def test_none(self, data: bytes) -> None:
        assert resets(Reset(), parsed(data), from_client=True, dropped=True) == ()


class TestRefusal:
    def test_by_protocol(self) -> None:
        for data in (Ends().syn(), Ends().data(b"x")):
            (made,) = refusal(parsed(data), data)
            assert seen((made,)) == [(CLIENT, "RA", IP(data)[TCP].ack)]
        datagram = Ends().datagram(b"x")
        (made,) = refusal(parsed(datagram), datagram)
        assert (IP(made)[ICMP].type, IP(made)[ICMP].code) == (3, 3)

    @pytest.mark.parametrize(
        "data",
        [
            Ends().data(b"", flags=RST),
            bytes(IP(src=CLIENT, dst=SERVER) / ICMP()),
            bytes(IP(src=CLIENT, dst="224.0.0.1", proto=47) / b"gre"),
        ],
    )
    def test_none(self, data: bytes) -> None:
        assert refusal(parsed(data), data) == ()


def test_spans_of_a_drop_are_settled_by_the_draw() -> None:
    for drawn, after, until in ((0.0, 2, 110.0), (0.99, 4, 119.9)):
        effect = dropping(RULE, Drop(after_packets=(2, 4), seconds=(10, 20)), 100.0, drawn, collateral=False)
        assert effect.packets_left == after
        assert effect.until == pytest.approx(until)
    assert dropping(RULE, Drop(), 100.0, 0.5, collateral=False).until is None


def test_the_base_does_nothing_by_itself() -> None:
    data = Ends().data(b"x")
    effect = Effect(RULE, "drop", "both", 0.0, collateral=False)
    with pytest.raises(NotImplementedError):
        effect.apply(Flow(parsed(data), 0.0, from_client=True), parsed(data), data, 0.0, Decision())
