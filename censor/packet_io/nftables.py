"""Sets of nf_tables filled and emptied over raw netlink, in the network namespace that the calling thread is in.

The `nft` program is right for making tables, chains and rules; but it reads all there is at every call, which takes
seconds once a set has 100,000 elements. Nothing here depends on what is there.

    with NfTables() as tables:
        with tables.transaction("blocking 192.0.2.1") as one:
            one.add_intervals("sidedoor", "rule1_v4", [(0xC0000201, 0xC0000201)], version=4)
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Sequence
from types import TracebackType

from censor.packet_io import nft_messages
from censor.packet_io.netlink import KernelError, NetfilterSocket
from censor.packet_io.nft_messages import Field, Interval

_SEND_BUFFER_BYTES = 16 << 20  # twice that is granted to root: 500,000 IPv6 intervals in one transaction
_RECEIVE_BUFFER_BYTES = 1 << 20
_ENVELOPE_BYTES = 2 * 20
_sequence = struct.Struct("=I")


class NfTables:
    """A socket to nf_tables of this network namespace. Synchronous; use as a context.

    limit_bytes: the largest transaction that the kernel takes; in a user namespace twice net.core.wmem_max (416 KB
    where nobody has changed it: 10,000 IPv4 intervals).
    """

    def __init__(self, *, send_buffer_bytes: int = _SEND_BUFFER_BYTES) -> None:
        self._socket = NetfilterSocket(_RECEIVE_BUFFER_BYTES)
        self._next = 1
        try:
            self.limit_bytes = self._socket.enlarge_send_buffer(send_buffer_bytes)
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> NfTables:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def transaction(self, what: str) -> Transaction:
        """A transaction to be filled and committed; `what` says in an error message what was tried."""
        return Transaction(self, what)

    def load(self, table: str, name: str, intervals: Iterable[Interval], *, version: int, what: str) -> None:
        """Add intervals to a set that no rule uses yet, in as many transactions as the send buffer makes necessary.

        So it is not all or nothing: after a KernelError the set is to be deleted. The rules that use the set are
        switched over in a transaction of their own (`Transaction.switch_chain`).
        """
        messages = nft_messages.add_intervals(table, name, intervals, version=version)
        batch: list[bytes] = []
        size = _ENVELOPE_BYTES
        for message in messages:
            if batch and size + len(message) > self.limit_bytes:
                self.commit(batch, what)
                batch, size = [], _ENVELOPE_BYTES
            batch.append(message)
            size += len(message)
        if batch:
            self.commit(batch, what)

    def commit(self, messages: Sequence[bytes], what: str) -> None:
        """Have the kernel act on all of `messages` or, when it refuses one of them, on none. Raises KernelError."""
        first = self._next
        self._next = (first + len(messages) + 1) % 0x40000000 + 1
        batch = bytearray(nft_messages.begin(first))
        sequence = first
        for message in messages:
            sequence += 1
            start = len(batch)
            batch += message
            _sequence.pack_into(batch, start + 8, sequence)
        batch += nft_messages.end(sequence + 1)
        if len(batch) > self.limit_bytes:
            raise KernelError(
                f"{what}: {len(batch)} bytes in one transaction, where net.core.wmem_max allows {self.limit_bytes}; "
                "run as root, or raise it"
            )
        self._socket.send(bytes(batch))
        answers = self._socket.answers()
        for refused in sorted(answers):
            if first <= refused <= sequence and answers[refused]:
                code = answers[refused]
                step = f" (request {refused - first} of {len(messages)})" if refused > first else ""
                raise KernelError(f"{what}{step}: {os.strerror(code)}")
        if sequence not in answers:
            raise KernelError(f"{what}: the kernel did not answer")


class Transaction:
    """Requests that the kernel acts on all at once or not at all, in tables of the family `inet`.

    As a context it commits at the end, unless that is reached by an exception. `commit` raises KernelError.
    """

    def __init__(self, tables: NfTables, what: str) -> None:
        self._tables = tables
        self._what = what
        self._messages: list[bytes] = []

    @property
    def size_bytes(self) -> int:
        """To be compared with the tables' `limit_bytes`."""
        return _ENVELOPE_BYTES + sum(map(len, self._messages))

    def add_set(
        self, table: str, name: str, fields: Sequence[Field], *, intervals: bool = False, timeouts: bool = False
    ) -> None:
        """Make an empty set whose keys are the concatenation of `fields`; nothing where it is there already."""
        self._messages.append(nft_messages.add_set(table, name, fields, intervals=intervals, timeouts=timeouts))

    def delete_set(self, table: str, name: str) -> None:
        """Remove a set; EBUSY when a rule still uses it."""
        self._messages.append(nft_messages.delete_set(table, name))

    def flush_set(self, table: str, name: str) -> None:
        """Remove all elements of a set."""
        self._messages.append(nft_messages.flush_set(table, name))

    def delete_chain(self, table: str, name: str) -> None:
        """Remove a chain and its rules; EBUSY when a rule still jumps to it."""
        self._messages += [nft_messages.flush_chain(table, name), nft_messages.delete_chain(table, name)]

    def switch_chain(self, table: str, name: str, *targets: str) -> None:
        """Leave nothing in a chain but jumps to `targets`."""
        self._messages.append(nft_messages.flush_chain(table, name))
        self._messages += [nft_messages.add_jump(table, name, target) for target in targets]

    def add_presence(self, table: str, priority: int, bits: int) -> None:
        """Set `bits` in the mark of every forwarded packet as long as these tables' socket is open.

        The kernel removes `table` then, however the process ends (NFT_TABLE_F_OWNER).
        """
        self._messages += [
            nft_messages.add_owned_table(table),
            nft_messages.add_forward_chain(table, "forward", priority),
            nft_messages.add_mark(table, "forward", bits),
        ]

    def add_elements(self, table: str, name: str, keys: Iterable[bytes], *, timeout_ms: int | None = None) -> None:
        """Add elements (see `nft_messages.key`); those that are there already begin their `timeout_ms` anew."""
        keys = list(keys)
        adding = nft_messages.add_elements(table, name, keys, timeout_ms=timeout_ms)
        self._messages += adding
        if timeout_ms is not None:
            # Kernels before 6.12 leave an element that is there alone; deleting alone fails where it is not.
            self._messages += nft_messages.delete_elements(table, name, keys) + adding

    def delete_elements(self, table: str, name: str, keys: Iterable[bytes]) -> None:
        """Remove elements, whether they are (still) there or not."""
        keys = list(keys)
        self._messages += nft_messages.add_elements(table, name, keys)
        self._messages += nft_messages.delete_elements(table, name, keys)

    def add_intervals(self, table: str, name: str, intervals: Iterable[Interval], *, version: int) -> None:
        """Add intervals; EEXIST when one overlaps another or one that is there."""
        self._messages += nft_messages.add_intervals(table, name, intervals, version=version)

    def delete_intervals(self, table: str, name: str, intervals: Iterable[Interval], *, version: int) -> None:
        """Remove intervals, with the very ends they were added with; ENOENT when one is not there."""
        self._messages += nft_messages.delete_intervals(table, name, intervals, version=version)

    def commit(self) -> None:
        """Hand the requests to the kernel; a transaction without any does nothing."""
        if self._messages:
            self._tables.commit(self._messages, self._what)
            self._messages = []

    def __enter__(self) -> Transaction:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
