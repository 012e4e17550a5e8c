"""censor/packet_io/nftables.py, with a kernel that answers what it is told to."""

from __future__ import annotations

import errno
import struct

import pytest

from censor.packet_io import nft_messages, nftables
from censor.packet_io.netlink import KernelError
from censor.packet_io.nft_messages import Field
from censor.packet_io.nftables import NfTables
from tests.unit.censor.packet_io.fake_netlink import FakeNetfilterSocket


class Kernel(FakeNetfilterSocket):
    """refused: error numbers by the position in the batch; silent: answers nothing; limit_bytes: of a batch."""

    limit_bytes = 1 << 20

    def __init__(self, receive_buffer_bytes: int) -> None:
        super().__init__(receive_buffer_bytes)
        self.refused: dict[int, int] = {}
        self.silent = False

    def enlarge_send_buffer(self, wanted_bytes: int) -> int:
        return min(wanted_bytes, self.limit_bytes)

    def batch(self, number: int = -1) -> list[bytes]:
        """The messages of a batch that was sent."""
        data, found = self.sent[number], []
        while data:
            (length,) = struct.unpack_from("=I", data)
            found.append(data[:length])
            data = data[length:]
        return found

    def answers(self) -> dict[int, int]:
        sequences = [struct.unpack_from("=I", one, 8)[0] for one in self.batch()]
        assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))
        if self.silent:
            return {77777: 1}  # some other request's
        return {
            one: self.refused.get(one - sequences[0], 0) for one in sequences[1:-1] + sequences[:1] * bool(self.refused)
        }


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> NfTables:
    monkeypatch.setattr(nftables, "NetfilterSocket", Kernel)
    return NfTables()


def kernel(tables: NfTables) -> Kernel:
    fake = tables._socket
    assert isinstance(fake, Kernel)
    return fake


def requests(tables: NfTables, number: int = -1) -> list[bytes]:
    """What was in a batch, without its frame and without sequence numbers."""
    first, *middle, last = [one[:8] + bytes(4) + one[12:] for one in kernel(tables).batch(number)]
    assert (first, last) == (nft_messages.begin(0), nft_messages.end(0))
    return middle


def test_a_transaction_is_one_datagram(tables: NfTables) -> None:
    with tables.transaction("x") as one:
        one.add_set("t", "new", [Field.IPV4_ADDRESS], intervals=True)
        one.add_intervals("t", "new", [(1, 2)], version=4)
        one.delete_intervals("t", "old", [(3, 4)], version=6)
        one.switch_chain("t", "base", "a", "b")
        one.delete_chain("t", "c")
        one.flush_set("t", "old")
        one.delete_set("t", "old")
        size = one.size_bytes
    assert requests(tables) == [
        nft_messages.add_set("t", "new", [Field.IPV4_ADDRESS], intervals=True),
        *nft_messages.add_intervals("t", "new", [(1, 2)], version=4),
        *nft_messages.delete_intervals("t", "old", [(3, 4)], version=6),
        nft_messages.flush_chain("t", "base"),
        nft_messages.add_jump("t", "base", "a"),
        nft_messages.add_jump("t", "base", "b"),
        nft_messages.flush_chain("t", "c"),
        nft_messages.delete_chain("t", "c"),
        nft_messages.flush_set("t", "old"),
        nft_messages.delete_set("t", "old"),
    ]
    assert size == len(kernel(tables).sent[0])


def test_a_timeout_begins_anew(tables: NfTables) -> None:
    with tables.transaction("x") as one:
        one.add_elements("t", "s", iter([b"key1", b"key2"]), timeout_ms=9)
    adding = nft_messages.add_elements("t", "s", [b"key1", b"key2"], timeout_ms=9)
    assert requests(tables) == [*adding, *nft_messages.delete_elements("t", "s", [b"key1", b"key2"]), *adding]


def test_presence_is_a_table_with_a_rule(tables: NfTables) -> None:
    with tables.transaction("x") as one:
        one.add_presence("alive", -170, 8)
    assert requests(tables) == [
        nft_messages.add_owned_table("alive"),
        nft_messages.add_forward_chain("alive", "forward", -170),
        nft_messages.add_mark("alive", "forward", 8),
    ]


def test_elements_without_a_timeout_are_added_once(tables: NfTables) -> None:
    with tables.transaction("x") as one:
        one.add_elements("t", "s", [b"key1"])
    assert requests(tables) == nft_messages.add_elements("t", "s", [b"key1"])


def test_deleting_what_is_not_there_is_no_mistake(tables: NfTables) -> None:
    with tables.transaction("x") as one:
        one.delete_elements("t", "s", iter([b"key1"]))
    add, delete = nft_messages.add_elements("t", "s", [b"key1"]), nft_messages.delete_elements("t", "s", [b"key1"])
    assert requests(tables) == add + delete


def test_nothing_to_do_is_not_sent(tables: NfTables) -> None:
    with tables.transaction("x"):
        pass
    tables.load("t", "s", [], version=4, what="x")
    assert kernel(tables).sent == []


def test_an_exception_ends_a_transaction_without_commit(tables: NfTables) -> None:
    with pytest.raises(ZeroDivisionError), tables.transaction("x") as one:
        one.add_elements("t", "s", (key for key in [bytes(1 // 0)]))
    assert kernel(tables).sent == []


def test_the_first_refusal_is_told(tables: NfTables) -> None:
    kernel(tables).refused = {2: errno.ENOENT, 3: errno.EEXIST}
    one = tables.transaction("lifting x")
    for name in "abc":
        one.flush_set("t", name)
    with pytest.raises(KernelError, match=r"^lifting x \(request 2 of 3\): No such file or directory$"):
        one.commit()


def test_a_refused_batch_is_told(tables: NfTables) -> None:
    kernel(tables).refused = {0: errno.EPERM}
    with pytest.raises(KernelError, match=r"^x: Operation not permitted$"), tables.transaction("x") as one:
        one.flush_set("t", "s")


def test_a_kernel_that_says_nothing(tables: NfTables) -> None:
    kernel(tables).silent = True
    with pytest.raises(KernelError, match="x: the kernel did not answer"), tables.transaction("x") as one:
        one.flush_set("t", "s")


def test_a_transaction_too_large_is_not_sent(tables: NfTables) -> None:
    tables.limit_bytes = 100
    one = tables.transaction("x")
    one.add_intervals("t", "s", [(1, 2), (4, 5)], version=4)
    with pytest.raises(KernelError, match=r"^x: \d+ bytes in one transaction, where .* allows 100; run as root"):
        one.commit()
    assert kernel(tables).sent == []


def test_loading_takes_as_many_transactions_as_it_needs(tables: NfTables) -> None:
    tables.limit_bytes = 50_000
    intervals = [(number * 4, number * 4 + 1) for number in range(2600)]
    tables.load("t", "s", intervals, version=4, what="x")
    sent = kernel(tables).sent
    assert len(sent) == 3
    assert max(map(len, sent)) <= 50_000
    messages = [message for number in range(3) for message in requests(tables, number)]
    assert messages == nft_messages.add_intervals("t", "s", intervals, version=4)


def test_closing(tables: NfTables, monkeypatch: pytest.MonkeyPatch) -> None:
    with tables:
        assert tables.limit_bytes == 1 << 20
    assert kernel(tables).closed


def test_a_socket_that_cannot_be_set_up_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Kernel] = []

    class Refusing(Kernel):
        def enlarge_send_buffer(self, _wanted_bytes: int) -> int:
            made.append(self)
            raise OSError("no")

    monkeypatch.setattr(nftables, "NetfilterSocket", Refusing)
    with pytest.raises(OSError, match="no"):
        NfTables()
    assert made[0].closed
