"""Netfilter's netlink family (nfnetlink) as bytes and one socket: what the packet queue and the packet log both speak.

A message is `nlmsghdr` (16 bytes, host order), `nfgenmsg` (4 bytes: family, version, queue or group number in network
order) and attributes (length, type, value, padded to 4 bytes); linux/netlink.h, linux/netfilter/nfnetlink.h.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from collections.abc import Iterator

from sidedoor.settings import UsageError

NETLINK_NETFILTER = 12
NLMSG_ERROR = 2
NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
HEADER_BYTES = 20  # nlmsghdr and nfgenmsg

_SOL_NETLINK = 270
_NETLINK_NO_ENOBUFS = 5
_NETLINK_CAP_ACK = 10
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_REPLY_SECONDS = 5.0

_header = struct.Struct("=IHHIIBBH")
_attribute = struct.Struct("=HH")
_answer = struct.Struct("=IH2xI4xi")


class KernelError(Exception):
    """The kernel, or a program that talks to it, refused; the message says what was tried and why it was refused."""


def attribute(type_: int, value: bytes) -> bytes:
    """One attribute, padded."""
    return _attribute.pack(4 + len(value), type_) + value + bytes(-len(value) % 4)


def message(
    subsystem: int, type_: int, number: int, body: bytes, *, flags: int = 0, sequence: int = 0, family: int = 0
) -> bytes:
    """One request of `subsystem` about queue or group `number`, with the attributes in `body`."""
    length = HEADER_BYTES + len(body)
    kind = subsystem << 8 | type_
    return _header.pack(length, kind, NLM_F_REQUEST | flags, sequence, 0, family, 0, socket.htons(number)) + body


def attributes(data: memoryview, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(type, first byte, byte after the last) of each attribute in data[start:end]; ends at the first malformed one."""
    while start + 4 <= end:
        length, type_ = _attribute.unpack_from(data, start)
        if length < 4 or start + length > end:
            return
        yield type_ & 0x3FFF, start + 4, start + length
        start += length + 3 & ~3


class NetfilterSocket:
    """A netlink socket to netfilter of the network namespace that the calling thread is in; never blocks on reading.

    Overruns do not surface as ENOBUFS (NETLINK_NO_ENOBUFS): who reads counts gaps. The receive buffer is
    `receive_buffer_bytes` where the process may (SO_RCVBUFFORCE, refused in user namespaces), else net.core.rmem_max.
    """

    def __init__(self, receive_buffer_bytes: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        self._sequence = 0
        try:
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_NO_ENOBUFS, 1)
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)  # a refusal need not repeat the request
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, receive_buffer_bytes)
            except PermissionError:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
            self._socket.bind((0, 0))
            self._socket.setblocking(False)
        except BaseException:
            self._socket.close()
            raise

    @property
    def receive_buffer_bytes(self) -> int:
        """What the kernel granted (it counts its own overhead in, so twice what was asked for)."""
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    def enlarge_send_buffer(self, wanted_bytes: int) -> int:
        """The bytes that one `send` may have from now on: `wanted_bytes`, or what net.core.wmem_max leaves of them."""
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, wanted_bytes)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, wanted_bytes)
        # The kernel keeps 32 bytes for itself (netlink_sendmsg).
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) - 32

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def receive_into(self, buffer: bytearray) -> int:
        """The bytes of the next datagram put into `buffer`; 0: nothing there."""
        try:
            return self._socket.recv_into(buffer)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            if error.errno == errno.ENOBUFS:  # some kernels report it all the same; the gap in the ids is counted
                return 0
            raise

    def send(self, data: bytes) -> None:
        """Hand messages to the kernel, which acts on them before this returns."""
        self._socket.send(data)

    def request(self, subsystem: int, type_: int, number: int, body: bytes, *, what: str) -> None:
        """Send a configuration message and wait for the kernel's answer.

        Raises UsageError (no permission or already in use: the kernel says EPERM for both) or OSError; `what` says in
        the message what was tried. To be called before packets arrive: other datagrams are thrown away.
        """
        self._sequence += 1
        sequence = self._sequence
        self.send(message(subsystem, type_, number, body, flags=NLM_F_ACK, sequence=sequence))
        code = self._answer(sequence)
        if code in (errno.EPERM, errno.EBUSY):
            raise UsageError(
                f"{what}: refused; another process has this number, or NET_ADMIN is missing (root, or a user namespace)"
            )
        if code:
            raise OSError(code, f"{what}: {os.strerror(code)}")

    def answers(self) -> dict[int, int]:
        """The error number (0: none) by sequence number of the requests that the kernel has answered.

        The kernel has answered before `send` returns, unless the socket's buffer was full.
        """
        buffer = bytearray(70_000)
        found: dict[int, int] = {}
        while size := self.receive_into(buffer):
            position = 0
            while position + _answer.size <= size:
                length, kind, answered, code = _answer.unpack_from(buffer, position)
                if kind == NLMSG_ERROR:
                    found[answered] = found.get(answered, 0) or -code
                position += max(length + 3 & ~3, HEADER_BYTES)
        return found

    def _answer(self, sequence: int) -> int:
        """The error number (0: none) of the kernel's answer to request `sequence`."""
        buffer = bytearray(70_000)
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        while poll.poll(_REPLY_SECONDS * 1000):
            size = self.receive_into(buffer)
            if size < HEADER_BYTES:
                continue
            kind, answered = struct.unpack_from("=4xH2xI", buffer)
            if kind == NLMSG_ERROR and answered == sequence:
                return -int(struct.unpack_from("=i", buffer, 16)[0])
        return errno.ETIMEDOUT
