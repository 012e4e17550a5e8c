"""Connections to targets, and what the client is told when there is none."""

from __future__ import annotations

import asyncio
import errno
import socket

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


class DialFailed(Exception):
    """No connection to the target; `code` is the reply to send."""

    def __init__(self, code: ReplyCode) -> None:
        super().__init__(code.name)
        self.code = code


async def dial(target: Address, resolver: Resolver, *, connect_seconds: float) -> socket.socket:
    """A connected non-blocking socket to `target`, within `connect_seconds`, name resolution included.

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


def local_address(sock: socket.socket) -> Address:
    """The local address of a connected socket, for BND.ADDR."""
    host, port = sock.getsockname()[:2]
    return Address(AddressType.IPV6 if sock.family == socket.AF_INET6 else AddressType.IPV4, host, port)


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
        async with asyncio.timeout(seconds):
            await loop.sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock
