"""censor/profiles/kazakhstan-2021.toml, number by number."""

from __future__ import annotations

import pytest

from censor.packets import ACK, SYN
from tests.unit.censor.analyzers.test_tls import real_hello
from tests.unit.censor.profiles.connection import Connection, core_of, entries, offloaded, passed, vanished

PROFILE = "kazakhstan-2021"
HELLO = real_hello("www.messenger.example")
REQUEST = b"GET / HTTP/1.1\r\nHost: blocked.example\r\n\r\n"


def opened(*tables: str) -> Connection:
    return Connection(core_of(PROFILE, *tables)).open()


@pytest.mark.parametrize("payload", [HELLO, REQUEST])
def test_the_request_and_all_packets_of_both_ends_vanish(payload: bytes) -> None:
    connection = opened()
    decision = connection.send(payload)
    assert vanished(decision)
    assert [one.rule for one in decision.hits] == ["names"]
    assert vanished(connection.send(flags=ACK))
    assert vanished(connection.receive(b"answer"))


@pytest.mark.parametrize(("t", "hit"), [(119.9, True), (120.1, False)])
def test_for_120_seconds(t: float, *, hit: bool) -> None:
    connection = opened()
    connection.send(HELLO)
    assert vanished(connection.again(t=t).send(flags=SYN)) == hit


def test_retransmissions_start_the_120_seconds_anew() -> None:
    connection = opened()
    start = connection.client_sequence
    for step in range(4):
        connection.client_sequence, connection.t = start, step * 100.0
        assert vanished(connection.send(HELLO))
    later = connection.again(t=419.9)
    assert vanished(later.send(flags=SYN))
    assert passed(connection.again(t=419.9 + 120.1).send(flags=SYN))


def test_it_is_a_4_tuple() -> None:
    connection = opened()
    connection.send(HELLO)
    assert passed(Connection(connection.core, 40001).send(flags=SYN))
    assert vanished(connection.again(t=1.0).send(flags=SYN))


@pytest.mark.parametrize("payload", [HELLO, REQUEST])
def test_two_segments_evade(payload: bytes) -> None:
    connection = opened()
    middle = len(payload) // 2
    assert passed(connection.send(payload[:middle]))
    assert passed(connection.send(payload[middle:]))
    assert passed(connection.receive(b"answer"))


def test_the_list_is_the_users() -> None:
    assert passed(opened(entries("blocked", "other.example")).send(HELLO))


@pytest.mark.parametrize(
    "payload", [real_hello("innocent.example"), b"GET / HTTP/1.1\r\nHost: innocent.example\r\n\r\n", b"\x05\x01\x00"]
)
def test_innocents_are_offloaded_at_once(payload: bytes) -> None:
    connection = opened()
    assert offloaded(connection.core, connection.client_packet(payload))
