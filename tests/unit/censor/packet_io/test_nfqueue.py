"""censor/packet_io/nfqueue.py"""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from censor.packet_io import nfqueue
from censor.packet_io.netlink import NLMSG_ERROR, attribute, message
from censor.packet_io.nfqueue import CopyMode, NfQueue, QueueSettings, Verdict
from tests.unit.censor.packet_io.fake_netlink import FakeNetfilterSocket, RefusingNetfilterSocket


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> NfQueue:
    monkeypatch.setattr(nfqueue, "NetfilterSocket", FakeNetfilterSocket)
    return NfQueue(QueueSettings(5, fail_open=False, maxlen_packets=1000, copy_range_bytes=128))


def kernel(queue: NfQueue) -> FakeNetfilterSocket:
    fake = queue._socket
    assert isinstance(fake, FakeNetfilterSocket)
    return fake


def queued(id_: int, payload: bytes = b"", *more: bytes) -> bytes:
    header = attribute(1, struct.pack("!IHB", id_, 0x0800, 2))
    return message(3, 0, 5, header + b"".join(more) + (attribute(10, payload) if payload else b""))


def be32(value: int) -> bytes:
    return struct.pack("!I", value)


def test_binding(queue: NfQueue) -> None:
    bind, limits, copying = kernel(queue).requests
    assert bind == (3, 2, 5, attribute(1, b"\x01\0\0\0"))
    assert limits[3] == attribute(3, be32(1000)) + attribute(5, be32(4)) + attribute(4, be32(5))
    assert copying[3] == attribute(2, be32(128) + bytes([CopyMode.PACKET]))
    assert queue.fileno() == 99
    assert queue.receive_buffer_bytes == 4096


def test_a_refused_queue_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nfqueue, "NetfilterSocket", RefusingNetfilterSocket)
    with pytest.raises(OSError, match="binding NFQUEUE 5"):
        NfQueue(QueueSettings(5))
    assert RefusingNetfilterSocket.made.closed


def test_context_closes(queue: NfQueue) -> None:
    with queue:
        pass
    assert kernel(queue).closed


def test_packet(queue: NfQueue) -> None:
    more = [
        attribute(3, be32(7)),
        attribute(5, be32(2)),
        attribute(6, be32(3)),
        attribute(13, be32(1500)),
        attribute(9, b"x"),
    ]
    kernel(queue).incoming.append(queued(1, b"payload", *more))
    (packet,) = queue.read()
    assert packet[:7] == (1, b"payload", 0x0800, 2, 3, 7, 1500)
    assert packet.t > 0


def test_what_is_absent_is_zero(queue: NfQueue) -> None:
    kernel(queue).incoming += [queued(1), queued(2, b"whole")]
    assert [packet[1:7] for packet in queue.read()] == [(b"", 0x0800, 0, 0, 0, 0), (b"whole", 0x0800, 0, 0, 0, 5)]


def test_the_order_of_attributes_does_not_matter(queue: NfQueue) -> None:
    """The forward hook's packets come in one order; where others are between, each is looked for."""
    devices = [attribute(5, be32(2)), attribute(6, be32(3))]
    hardware = attribute(9, bytes(12))
    orders = (
        [*devices, hardware],
        [hardware, *devices],
        devices[::-1],
        [attribute(5, be32(2)), attribute(99, be32(9))],
    )
    kernel(queue).incoming += [queued(number, b"payload", *one) for number, one in enumerate(orders, 1)]
    found = [(packet.id, packet.hw_protocol, packet.indev, packet.outdev, packet.payload) for packet in queue.read()]
    assert found == [(number, 0x0800, 2, 3 if number < 4 else 0, b"payload") for number in range(1, 5)]


@pytest.mark.parametrize(
    ("info", "checksum_ready", "gso"), [(0, True, False), (1, False, False), (3, False, True), (4, True, False)]
)
def test_what_is_left_to_the_network_card(queue: NfQueue, info: int, checksum_ready: bool, gso: bool) -> None:
    kernel(queue).incoming.append(queued(1, b"x", *([attribute(14, be32(info))] if info else [])))
    (packet,) = queue.read()
    assert (packet.checksum_ready, packet.gso) == (checksum_ready, gso)


@pytest.mark.parametrize("broken", [b"\x03\0\x0a\0", b"\x09\0\x0a\0abcd", b"\x09\0"])
def test_what_is_malformed_ends_the_packet(queue: NfQueue, broken: bytes) -> None:
    header = attribute(1, struct.pack("!IHB", 1, 0x0800, 2))
    kernel(queue).incoming.append(message(3, 0, 5, header + attribute(3, be32(7)) + broken))
    (packet,) = queue.read()
    assert packet[:7] == (1, b"", 0x0800, 0, 0, 7, 0)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_packet(data: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nfqueue, "NetfilterSocket", FakeNetfilterSocket)
        queue = NfQueue(QueueSettings(5))
    kernel(queue).incoming.append(message(3, 0, 5, data))
    assert len(queue.read()) == 1


def test_gaps_are_missed_packets(queue: NfQueue) -> None:
    kernel(queue).incoming += [queued(1), queued(2), queued(5), queued(6)]
    assert len(queue.read()) == 4
    assert queue.missed == 2


def test_ids_wrap(queue: NfQueue) -> None:
    queue._last_id = 0xFFFFFFFF
    kernel(queue).incoming.append(queued(0))
    queue.read()
    assert queue.missed == 0


def test_reading_is_bounded(queue: NfQueue) -> None:
    kernel(queue).incoming += [queued(id_) for id_ in range(1, 101)]
    assert [len(queue.read()), len(queue.read(30)), len(queue.read()), len(queue.read())] == [64, 30, 6, 0]


def test_refused_verdicts_are_counted(queue: NfQueue) -> None:
    error = struct.pack("=IHHII", 36, NLMSG_ERROR, 0, 0, 0) + struct.pack("=i", -2) + bytes(16)
    kernel(queue).incoming += [error, queued(1)]
    assert len(queue.read()) == 1
    assert queue.failed_verdicts == 1


def test_verdicts(queue: NfQueue) -> None:
    queue.verdict(9, Verdict.DROP)
    queue.verdict(9, Verdict.ACCEPT, mark=7)
    queue.verdict_batch(9, Verdict.REPEAT)
    assert kernel(queue).sent == [
        message(3, 1, 5, attribute(2, be32(0) + be32(9))),
        message(3, 1, 5, attribute(2, be32(1) + be32(9)) + attribute(3, be32(7))),
        message(3, 3, 5, attribute(2, be32(4) + be32(9))),
    ]


def test_verdicts_are_kept_until_they_are_flushed(queue: NfQueue) -> None:
    queue.add_verdict(8, Verdict.DROP)
    queue.add_verdict(9, Verdict.ACCEPT, mark=7)
    assert kernel(queue).sent == []
    queue.flush()
    queue.flush()
    drop = message(3, 1, 5, attribute(2, be32(0) + be32(8)))
    assert kernel(queue).sent == [drop + message(3, 1, 5, attribute(2, be32(1) + be32(9)) + attribute(3, be32(7)))]


@pytest.mark.parametrize(("gso", "fail_open", "flags"), [(True, True, 5), (True, False, 4), (False, True, 1)])
def test_delivery_can_be_changed(queue: NfQueue, gso: bool, fail_open: bool, flags: int) -> None:
    queue.configure(copy_range_bytes=1 << 20, gso=gso, fail_open=fail_open)
    assert kernel(queue).sent == [
        message(3, 2, 5, attribute(5, be32(flags)) + attribute(4, be32(5))),
        message(3, 2, 5, attribute(2, be32(0xFFFF - 4) + bytes([CopyMode.PACKET]))),
    ]
