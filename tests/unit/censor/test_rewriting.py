"""censor/core.py, censor/acting.py: flows that a rule still lets go on, and residual blocks that rewrite."""

from __future__ import annotations

import pytest

from censor.actions import Reset
from censor.core import Core
from censor.kernel.residual_blocks import shapes
from censor.packets import ACK, SYN, parse
from censor.rules_file import parse_rules
from tests.unit.censor.analyzers.initials import crypto_frame, hello, initial, zero_rtt
from tests.unit.censor.analyzers.test_tls import real_hello
from tests.unit.censor.profiles.connection import RESET, Connection, passed, udp_packet, vanished

HELLO = real_hello("messenger.example")
INNOCENT = real_hello("innocent.example")


def core(actions: str, tables: str = "") -> Core:
    made = Core()
    rule = f'[[rule]]\nname = "x"\nwhen = \'tls.sni under "messenger.example"\'\nactions = [{actions}]'
    made.set_rules(parse_rules(f"{tables}\n{rule}"))
    return made


def test_rewriting_ends_after_its_seconds() -> None:
    connection = Connection(core('{kind = "reset", rewrite = true, seconds = 75}')).open()
    assert passed(connection.send(HELLO))
    connection.t = 74.9
    decision = connection.receive(b"hello")
    assert not decision.accept
    (rewritten,) = decision.after
    packet = parse(rewritten)
    assert packet is not None
    assert packet.flags == RESET
    connection.t = 75.1
    assert passed(connection.receive(b"hello"))


def test_seconds_of_a_span_are_drawn_for_each_flow() -> None:
    judge = core('{kind = "reset", rewrite = true, seconds = [10, 20]}')
    ends = []
    for port in range(40000, 40020):
        connection = Connection(judge, port).open()
        connection.send(HELLO)
        connection.t = 15.0
        ends.append(passed(connection.receive(b"hello")))
    assert {True, False} == set(ends)


def test_seconds_without_rewrite_mean_nothing() -> None:
    with pytest.raises(ValueError, match="`seconds` goes with `rewrite` only"):
        Reset(seconds=1.0)


def test_a_residual_block_rewrites_what_the_server_says_to_the_next_connection() -> None:
    first = Connection(core('{kind = "residual", key = "4-tuple", seconds = 75, then = "rewrite"}')).open()
    assert passed(first.send(HELLO))
    second = first.again(t=1.0)
    assert passed(second.send(flags=SYN))
    assert not second.receive(flags=SYN | ACK).accept
    assert passed(second.send(INNOCENT))


def test_datagrams_cannot_be_rewritten_and_vanish() -> None:
    judge = Core()
    action = '{kind = "residual", seconds = 9, then = "rewrite"}'
    judge.set_rules(parse_rules(f'[[rule]]\nname = "x"\nwhen = "quic"\nactions = [{action}]'))
    assert passed(judge.decide(udp_packet(initial(crypto_frame(0, hello()), pad_to=1200))))
    assert passed(judge.decide(udp_packet(zero_rtt(), port=40001), t=1.0))
    assert vanished(judge.decide(udp_packet(b"answer", port=40001, back=True), t=2.0))


def test_the_flow_itself_is_left_to_what_the_rule_does_to_it() -> None:
    judge = core('{kind = "drop", after_packets = 5, seconds = 60}, {kind = "residual", key = "4-tuple", seconds = 60}')
    connection = Connection(judge).open()
    decision = connection.send(HELLO)
    assert passed(decision)
    # The kernel alone would not let the five packets pass.
    assert shapes(connection.core.compiled)["x"].action == "queue"
    assert all(passed(connection.receive(b"data")) for _ in range(5))
    assert vanished(connection.receive(b"data"))
    assert vanished(connection.again(t=1.0).send(flags=SYN))


@pytest.mark.parametrize(
    ("actions", "alone"),
    [
        ('{kind = "drop"}', True),
        ('{kind = "drop", direction = "to_server"}', False),
        ('{kind = "reset", drop = true, repeat = true}', False),
        ('{kind = "reset", drop = true}', True),
        ('{kind = "reset", repeat = true}', False),
        ('{kind = "reset", rewrite = true}', False),
        ('{kind = "police", rate_bytes_per_second = 1, burst_bytes = 1}', False),
        ('{kind = "log"}', True),
    ],
)
def test_the_kernel_blocks_alone_only_what_vanishes_anyway(actions: str, alone: bool) -> None:
    judge = core(f'{actions}, {{kind = "residual", seconds = 60}}')
    assert (shapes(judge.compiled)["x"].action == "drop") is alone


def test_what_extends_the_looking_is_recognised_even_if_no_rule_asks_for_it() -> None:
    tables = (
        '[censor.tcp]\nreassembly = "none"\nsegments = 2\nunparsed_bytes = 101\nextend_segments = 5\n'
        'extend_for = ["http"]'
    )
    connection = Connection(core('{kind = "drop"}', tables)).open()
    request = b"CONNECT messenger.example:443 HTTP/1.1\r\nHost: x\r\nPadding: " + bytes(100) + b"\r\n\r\n"
    for payload in (request, *[bytes(10)] * 4):
        assert passed(connection.send(payload))
    assert vanished(connection.send(HELLO))
    connection = Connection(core('{kind = "drop"}', tables), 40001).open()
    for payload in (request, *[bytes(10)] * 5):
        assert passed(connection.send(payload))
    assert passed(connection.send(HELLO))
