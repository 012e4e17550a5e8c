"""A NetfilterSocket whose kernel is the test."""

from __future__ import annotations


class FakeNetfilterSocket:
    """incoming: datagrams to be received; sent: messages; requests: (subsystem, type, number, body) of settings."""

    receive_buffer_bytes = 4096

    def __init__(self, _receive_buffer_bytes: int) -> None:
        self.incoming: list[bytes] = []
        self.sent: list[bytes] = []
        self.requests: list[tuple[int, int, int, bytes]] = []
        self.closed = False

    def fileno(self) -> int:
        return 99

    def close(self) -> None:
        self.closed = True

    def receive_into(self, buffer: bytearray) -> int:
        if not self.incoming:
            return 0
        datagram = self.incoming.pop(0)
        buffer[: len(datagram)] = datagram
        return len(datagram)

    def send(self, data: bytes) -> None:
        self.sent.append(data)

    def request(self, subsystem: int, type_: int, number: int, body: bytes, *, what: str) -> None:
        self.requests.append((subsystem, type_, number, body))


class RefusingNetfilterSocket(FakeNetfilterSocket):
    """One that the kernel refuses everything; `made` is the last one."""

    made: FakeNetfilterSocket

    def __init__(self, receive_buffer_bytes: int) -> None:
        super().__init__(receive_buffer_bytes)
        RefusingNetfilterSocket.made = self

    def request(self, subsystem: int, type_: int, number: int, body: bytes, *, what: str) -> None:
        raise OSError(what)
