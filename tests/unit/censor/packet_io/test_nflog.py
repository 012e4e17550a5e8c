"""censor/packet_io/nflog.py"""

from __future__ import annotations

import struct

import pytest

from censor.packet_io import nflog
from censor.packet_io.netlink import attribute, message
from censor.packet_io.nflog import NfLog
from tests.unit.censor.packet_io.fake_netlink import FakeNetfilterSocket, RefusingNetfilterSocket


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> NfLog:
    monkeypatch.setattr(nflog, "NetfilterSocket", FakeNetfilterSocket)
    return NfLog(9)


def kernel(log: NfLog) -> FakeNetfilterSocket:
    fake = log._socket
    assert isinstance(fake, FakeNetfilterSocket)
    return fake


def logged(sequence: int, payload: bytes = b"packet") -> bytes:
    return message(
        4, 0, 9, attribute(10, b"rule1\0") + attribute(9, payload) + attribute(12, struct.pack("!I", sequence))
    )


def test_binding_asks_for_each_packet_at_once(log: NfLog) -> None:
    bodies = [body for _, _, number, body in kernel(log).requests if number == 9]
    assert bodies[0] == attribute(1, b"\x01")
    assert bodies[1] == attribute(2, struct.pack("!IBB", 256, 2, 0))
    assert bodies[2] == attribute(5, struct.pack("!I", 1)) + attribute(6, b"\0\1")
    assert log.fileno() == 99


def test_a_refused_group_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nflog, "NetfilterSocket", RefusingNetfilterSocket)
    with pytest.raises(OSError, match="binding NFLOG group 9"):
        NfLog(9)
    assert RefusingNetfilterSocket.made.closed


def test_packets(log: NfLog) -> None:
    done = struct.pack("=IHHII", 20, 3, 0, 0, 0) + bytes(4)
    kernel(log).incoming += [logged(0) + logged(1, b"odd!!") + done, logged(2)]
    with log:
        packets = log.read()
        assert [(one.prefix, one.payload) for one in packets] == [
            ("rule1", b"packet"),
            ("rule1", b"odd!!"),
            ("rule1", b"packet"),
        ]
        assert packets[0].t > 0
        assert log.read() == []
        assert log.missed == 0
    assert kernel(log).closed


def test_gaps_are_missed_packets(log: NfLog) -> None:
    kernel(log).incoming += [logged(0), logged(3)]
    assert len(log.read(1)) == 1
    assert len(log.read(1)) == 1
    assert log.missed == 2


def test_malformed_datagrams_end(log: NfLog) -> None:
    kernel(log).incoming += [bytes(64), logged(0)[:30]]
    assert [one.payload for one in log.read()] == [b""]
