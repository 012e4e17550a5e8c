"""Connections to targets, and what the client is told when there is none."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from socket import SocketType

from proxy.relay.flow import prepare
from proxy.relay.poller import ERROR, HANGUP, WRITE
from proxy.resolver import Resolver, SocketAddress
from proxy.wire import Address, AddressType, ReplyCode

REPLIES = {
    errno.ECONNREFUSED: ReplyCode.CONNECTION_REFUSED,
    errno.ECONNRESET: ReplyCode.CONNECTION_REFUSED,
    errno.ENETUNREACH: ReplyCode.NETWORK_UNREACHABLE,
    errno.ENETDOWN: ReplyCode.NETWORK_UNREACHABLE,
    errno.EADDRNOTAVAIL: ReplyCode.NETWORK_UNREACHABLE,  # no address of ours could reach it
    errno.EHOSTUNREACH: ReplyCode.HOST_UNREACHABLE,
    errno.EHOSTDOWN: ReplyCode.HOST_UNREACHABLE,
    errno.ETIMEDOUT: ReplyCode.HOST_UNREACHABLE,
    errno.EACCES: ReplyCode.NOT_ALLOWED,  # this host's firewall, or a broadcast address
    errno.EPERM: ReplyCode.NOT_ALLOWED,
    errno.EAFNOSUPPORT: ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED,  # a kernel without IPv6
}
"""errno of connect() -> REP; docs/proxy.md has it as a table. Anything else is GENERAL_FAILURE."""

# Of several addresses that failed, the client hears of the one that got farthest.
_FARTHEST_FIRST = (
    ReplyCode.CONNECTION_REFUSED,
    ReplyCode.NOT_ALLOWED,
    ReplyCode.HOST_UNREACHABLE,
    ReplyCode.NETWORK_UNREACHABLE,
    ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED,
    ReplyCode.GENERAL_FAILURE,
)


_NON_BLOCKING: int = getattr(socket, "SOCK_NONBLOCK", 0)


class DialFailed(Exception):
    """No connection to the target; `code` is the reply to send."""

    def __init__(self, code: ReplyCode) -> None:
        super().__init__(code.name)
        self.code = code


class Dial:
    """A connect to an IP address that is under way; a `Watcher` of its socket. Raises DialFailed where it cannot begin.

    `done` is called once, with what to reply to the client, or with None when the connection stands. The socket stays
    the caller's.
    """

    __slots__ = ("_done", "pending", "sock")
    reading = False

    def __init__(self, target: Address, done: Callable[[ReplyCode | None], object]) -> None:
        self._done: Callable[[ReplyCode | None], object] | None = done
        self.pending = 0
        family = socket.AF_INET6 if target.type is AddressType.IPV6 else socket.AF_INET
        try:
            self.sock = SocketType(family, socket.SOCK_STREAM | _NON_BLOCKING)
        except OSError as error:
            raise DialFailed(reply_of(error)) from error
        if not _NON_BLOCKING:
            self.sock.setblocking(False)
        prepare(self.sock, target.host)
        number = self.sock.connect_ex((target.host, target.port))
        if number not in (0, errno.EINPROGRESS):
            self.sock.close()
            raise DialFailed(REPLIES.get(number, ReplyCode.GENERAL_FAILURE))

    def ready(self, mask: int) -> None:
        """See `Watcher`: the first time it is about the connect, then about bytes that the flow will read."""
        self.pending |= mask & ~WRITE
        done, self._done = self._done, None
        if done is not None:
            number = 0
            if mask & (ERROR | HANGUP):
                number = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            done(REPLIES.get(number, ReplyCode.GENERAL_FAILURE) if number else None)


async def dial(target: Address, resolver: Resolver, *, connect_seconds: float) -> socket.socket:
    """A connected non-blocking socket to `target`, `prepare`d, within `connect_seconds`, name resolution included.

    A name's addresses are tried one after the other; each may take an equal share of the time that is left, so that a
    dead first one does not eat all of it. Raises DialFailed.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + connect_seconds
    failures = []
    addresses = await _addresses(target, resolver, connect_seconds)
    for index, (family, address) in enumerate(addresses):
        share = (deadline - loop.time()) / (len(addresses) - index)
        try:
            return await _connect(loop, family, address, share)
        except OSError as error:
            failures.append(reply_of(error))
    raise DialFailed(min(failures, key=_FARTHEST_FIRST.index, default=ReplyCode.HOST_UNREACHABLE))


def reply_of(error: OSError) -> ReplyCode:
    """The reply for a connect() that failed with `error`; TimeoutError without a number is our own deadline."""
    if error.errno is None and isinstance(error, TimeoutError):
        return ReplyCode.HOST_UNREACHABLE
    return REPLIES.get(error.errno or 0, ReplyCode.GENERAL_FAILURE)


def local_address(sock: SocketType) -> Address:
    """The local address of a connected socket, for BND.ADDR."""
    name = sock.getsockname()
    return Address(AddressType.IPV4 if len(name) == 2 else AddressType.IPV6, name[0], name[1])


async def _addresses(target: Address, resolver: Resolver, seconds: float) -> list[SocketAddress]:
    match target.type:
        case AddressType.IPV4:
            return [(socket.AF_INET, (target.host, target.port))]
        case AddressType.IPV6:
            return [(socket.AF_INET6, (target.host, target.port))]
    try:
        async with asyncio.timeout(seconds):
            return await resolver.resolve(target.host, target.port)
    except OSError as error:  # gaierror and TimeoutError among them
        raise DialFailed(ReplyCode.HOST_UNREACHABLE) from error


async def _connect(
    loop: asyncio.AbstractEventLoop, family: socket.AddressFamily, address: tuple[object, ...], seconds: float
) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        prepare(sock, str(address[0]))
        async with asyncio.timeout(seconds):
            await loop.sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock
