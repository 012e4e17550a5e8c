"""The packet sources against the real kernel, on loopback of a namespace of their own."""

from __future__ import annotations

import select
import socket
import sys

import pytest

from censor.packet_io.nflog import NfLog
from censor.packet_io.nfqueue import CopyMode, NfQueue, QueuedPacket, QueueSettings, Verdict
from sidedoor.settings import UsageError
from tests.integration.censor.namespace import run_in_namespace

_SETUP = """ip link set lo mtu 1500
iptables -A OUTPUT -p tcp --dport 9997 -m length --length 100: -j NFQUEUE --queue-num 6 --queue-bypass
iptables -A OUTPUT -p udp --dport 9999 -j NFQUEUE --queue-num 5
nft -f - <<END
table inet t {
chain c { type filter hook output priority 0; udp dport 9998 log prefix "here" group 6 queue-threshold 1 drop; }
}
END
"""


def _readable(source: NfQueue | NfLog) -> bool:
    return bool(select.select([source], [], [], 2)[0])


def _sockets() -> tuple[socket.socket, socket.socket]:
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 9999))
    receiver.settimeout(2)
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM), receiver


def verdicts() -> None:
    sender, receiver = _sockets()
    with NfQueue(QueueSettings(5)) as queue:
        for number in range(5):
            sender.sendto(b"%d" % number, ("127.0.0.1", 9999))
        assert _readable(queue)
        packets = queue.read()
        assert [packet.payload[28:] for packet in packets] == [b"0", b"1", b"2", b"3", b"4"]
        assert [(packet.id, packet.length, packet.hw_protocol) for packet in packets[:1]] == [(1, 29, 0x0800)]
        queue.verdict(packets[0].id, Verdict.DROP)
        queue.verdict(packets[1].id, Verdict.ACCEPT, mark=7)
        assert receiver.recv(9) == b"1"
        queue.verdict_batch(packets[-1].id, Verdict.ACCEPT)
        assert [receiver.recv(9) for _ in range(3)] == [b"2", b"3", b"4"]
        queue.verdict(77, Verdict.DROP)
        assert _readable(queue)
        assert (queue.read(), queue.failed_verdicts, queue.missed) == ([], 1, 0)


def many_verdicts_in_one_call() -> None:
    sender, receiver = _sockets()
    with NfQueue(QueueSettings(5)) as queue:
        for number in range(5):
            sender.sendto(b"%d" % number, ("127.0.0.1", 9999))
        assert _readable(queue)
        for packet in queue.read():
            queue.add_verdict(packet.id, Verdict.DROP if packet.id in (2, 3) else Verdict.ACCEPT, packet.id)
        assert not select.select([receiver], [], [], 0)[0]
        queue.flush()
        assert [receiver.recv(9) for _ in range(3)] == [b"0", b"3", b"4"]
        queue.add_verdict(77, Verdict.DROP)
        queue.add_verdict(78, Verdict.DROP)
        queue.flush()
        assert (queue.read(), queue.failed_verdicts) == ([], 2)


def _segments(settings: QueueSettings) -> list[QueuedPacket]:
    """The packets in which 20,000 bytes go over TCP, on a link of 1500 bytes."""
    with socket.create_server(("127.0.0.1", 9997)) as listener, NfQueue(settings) as queue:
        client = socket.create_connection(("127.0.0.1", 9997))
        server, _ = listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.send(bytes(20_000))
        packets: list[QueuedPacket] = []
        while sum(packet.length - 52 for packet in packets) < 20_000:
            assert _readable(queue)
            for packet in queue.read():
                packets.append(packet)
                queue.verdict(packet.id, Verdict.ACCEPT)
        client.close()
        server.close()
        return packets


def super_packets_and_their_single_segments() -> None:
    large = _segments(QueueSettings(6))
    assert any(packet.gso and packet.length > 1500 for packet in large)
    assert not any(packet.checksum_ready for packet in large)
    small = _segments(QueueSettings(6, gso=False))
    assert len(small) == 14
    assert all(packet.length <= 1500 and packet.checksum_ready and not packet.gso for packet in small)


def repeat_runs_through_the_hook_again() -> None:
    sender, receiver = _sockets()
    with NfQueue(QueueSettings(5, copy_mode=CopyMode.META)) as queue:
        sender.sendto(b"x", ("127.0.0.1", 9999))
        assert _readable(queue)
        (first,) = queue.read()
        assert (first.payload, first.length) == (b"", 0)
        queue.verdict(first.id, Verdict.REPEAT, mark=9)
        (again,) = queue.read()
        assert (again.id, again.mark) == (2, 9)
        queue.verdict(again.id, Verdict.ACCEPT)
        assert receiver.recv(9) == b"x"


def losses_are_counted() -> None:
    with NfQueue(QueueSettings(5, receive_buffer_bytes=4096)) as queue:
        senders = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(40)]
        for sender in senders:
            for _ in range(10):
                sender.sendto(bytes(1000), ("127.0.0.1", 9999))
        seen = 0
        while packets := queue.read():
            seen += len(packets)
            queue.verdict_batch(packets[-1].id, Verdict.DROP)
        assert 0 < seen < 400
        senders[0].sendto(b"x", ("127.0.0.1", 9999))
        assert _readable(queue)
        assert len(queue.read()) == 1
        assert seen + queue.missed == 400


def numbers_in_use_are_refused() -> None:
    with NfQueue(QueueSettings(5)), NfLog(6):
        with pytest.raises(UsageError, match="binding NFQUEUE 5: refused; another process"):
            NfQueue(QueueSettings(5))
        with pytest.raises(UsageError, match="binding NFLOG group 6: refused"):
            NfLog(6)
    NfQueue(QueueSettings(5)).close()


def log_is_prompt() -> None:
    with NfLog(6) as log:
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for number in range(3):
            try:
                sender.sendto(b"%d" % number, ("127.0.0.1", 9998))
            except PermissionError:  # what a drop in OUTPUT looks like to the sender
                pass
            assert select.select([log], [], [], 0.2)[0]
            (packet,) = log.read()
            assert (packet.prefix, packet.payload[28:]) == ("here", b"%d" % number)
        assert log.missed == 0


@pytest.mark.netns
@pytest.mark.parametrize(
    "body",
    [
        verdicts,
        many_verdicts_in_one_call,
        super_packets_and_their_single_segments,
        repeat_runs_through_the_hook_again,
        losses_are_counted,
        numbers_in_use_are_refused,
        log_is_prompt,
    ],
    ids=lambda body: body.__name__,
)
def test_in_a_namespace(body: object) -> None:
    run_in_namespace(__name__, getattr(body, "__name__", ""), _SETUP)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
