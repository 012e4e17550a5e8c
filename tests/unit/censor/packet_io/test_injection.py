"""censor/packet_io/injection.py"""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest

from censor.packet_io.injection import Injector
from sidedoor.settings import UsageError


class FakeRawSocket:
    """A raw socket that keeps what is sent; `made`: all of them, by family."""

    made: dict[int, FakeRawSocket]
    refuse: type[OSError] | None = None
    families: tuple[int, ...] = (socket.AF_INET, socket.AF_INET6)

    def __init__(self, family: int, kind: int, protocol: int) -> None:
        assert (kind, protocol) == (socket.SOCK_RAW, socket.IPPROTO_RAW)
        if family not in FakeRawSocket.families:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        self.sent: list[tuple[bytes, Any]] = []
        self.options: list[tuple[int, int, int]] = []
        self.closed = False
        FakeRawSocket.made[family] = self

    def setblocking(self, flag: bool) -> None:
        assert not flag

    def setsockopt(self, level: int, name: int, value: int) -> None:
        if FakeRawSocket.refuse:
            raise FakeRawSocket.refuse
        self.options.append((level, name, value))

    def sendto(self, packet: bytes, address: Any) -> None:
        if packet.endswith(b"refused"):
            raise OSError("network is unreachable")
        self.sent.append((packet, address))

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def raw_sockets(monkeypatch: pytest.MonkeyPatch) -> type[FakeRawSocket]:
    FakeRawSocket.made, FakeRawSocket.refuse = {}, None
    FakeRawSocket.families = (socket.AF_INET, socket.AF_INET6)
    monkeypatch.setattr("censor.packet_io.injection.socket.socket", FakeRawSocket)
    return FakeRawSocket


def test_packets_go_to_their_destination_with_the_mark(raw_sockets: type[FakeRawSocket]) -> None:
    injector = Injector()
    v4 = b"\x45" + bytes(15) + bytes([203, 0, 113, 10])
    v6 = b"\x60" + bytes(23) + bytes.fromhex("20010db8000200000000000000000010")
    injector.send(v4)
    injector.send(v6)
    assert raw_sockets.made[socket.AF_INET].sent == [(v4, ("203.0.113.10", 0))]
    assert raw_sockets.made[socket.AF_INET6].sent == [(v6, ("2001:db8:2::10", 0))]
    assert all((socket.SOL_SOCKET, 36, 0x60000000) in one.options for one in raw_sockets.made.values())
    injector.close()
    assert all(one.closed for one in raw_sockets.made.values())


def test_refused_packets_are_counted() -> None:
    injector = Injector()
    injector.send(b"\x45" + bytes(19) + b"refused")
    assert injector.failed == 1


def test_a_host_without_ipv6(raw_sockets: type[FakeRawSocket]) -> None:
    raw_sockets.families = (socket.AF_INET,)
    injector = Injector()
    injector.send(b"\x45" + bytes(19))
    assert (list(raw_sockets.made), injector.failed) == ([socket.AF_INET], 0)
    raw_sockets.families = ()
    with pytest.raises(OSError, match="family"):
        Injector()


@pytest.mark.parametrize(("refusal", "raised"), [(PermissionError, UsageError), (OSError, OSError)])
def test_without_permission(raw_sockets: type[FakeRawSocket], refusal: type[OSError], raised: type[Exception]) -> None:
    raw_sockets.refuse = refusal
    with pytest.raises(raised):
        Injector()
    assert all(one.closed for one in raw_sockets.made.values())
