"""censor/decision.py"""

from __future__ import annotations

from censor.decision import PASS, Decision, hit
from censor.packets import parse
from tests.unit.censor.traffic import CLIENT, SERVER, Ends


def test_nothing_is_to_be_done() -> None:
    assert Decision() == PASS
    assert PASS.accept
    assert (PASS.before, PASS.after, PASS.later, PASS.hits, PASS.blocked, PASS.suspects) == ((),) * 6
    assert (PASS.watch, PASS.mark, PASS.delay_seconds) == (False, None, 0.0)


def test_hit_is_told_from_the_clients_side() -> None:
    for data, from_client, ends in (
        (Ends().data(b"x"), True, (CLIENT, SERVER)),
        (Ends().answer(), False, (SERVER, CLIENT)),
    ):
        packet = parse(data)
        assert packet is not None
        told = hit("rule", "drop", packet, "a.example", from_client=from_client, collateral=True)
        assert told.flow == f"tcp {CLIENT}:40000 > {SERVER}:443"
        assert (told.source_address, told.destination_address) == ends
        assert (told.rule, told.action, told.name, told.packet_bytes) == ("rule", "drop", "a.example", len(data))
        assert told.collateral
