"""Connections to targets, and what the client is told when there is none."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from socket import SocketType
from types import MappingProxyType
from typing import TypeVar

from proxy import log
from proxy.eyeballs import Schedule, interleave
from proxy.relay.flow import prepare
from proxy.relay.poller import ERROR, HANGUP, WRITE
from proxy.resolver import SocketAddress
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

ADDRESSES_MOST = 20
"""So many of a name's addresses are tried, no more: its owner decides what a request for it costs us."""

NO_EGRESS: Mapping[int, str] = MappingProxyType({})
"""Address family -> local address to connect from. A family that is not in it: as the system chooses."""

# From Python 3.12 on socket has it.
_BIND_ADDRESS_NO_PORT: int | None = getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24 if sys.platform == "linux" else None)
_NON_BLOCKING: int = getattr(socket, "SOCK_NONBLOCK", 0)

Socket = TypeVar("Socket", bound=SocketType)


def family_of(address: Address) -> socket.AddressFamily:
    """What a socket to or from an IP address is made for."""
    return socket.AF_INET6 if address.type is AddressType.IPV6 else socket.AF_INET


def by_family(addresses: Sequence[str]) -> Mapping[int, str]:
    """Local addresses, as the settings name them, by their address family."""
    if not addresses:
        return NO_EGRESS
    return {family_of(Address.of(one, 0)): one for one in addresses}


class DialFailed(Exception):
    """No connection to the target; `code` is the reply to send, `why` is for logs."""

    def __init__(self, code: ReplyCode, why: str = "") -> None:
        super().__init__(why or code.name)
        self.code = code
        self.why = why


class Dial:
    """A connect to an IP address that is under way; a `Watcher` of its socket. Raises DialFailed where it cannot begin.

    `done` is called once, with what to reply to the client, or with None when the connection stands. The socket stays
    the caller's. `source` is the local address to connect from; empty: as the system chooses.
    """

    __slots__ = ("_done", "pending", "sock")
    reading = False

    def __init__(self, target: Address, done: Callable[[ReplyCode | None], object], source: str = "") -> None:
        self._done: Callable[[ReplyCode | None], object] | None = done
        self.pending = 0
        family = family_of(target)
        self.sock = _open(SocketType, family, target.host, source)
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


async def dial_any(
    addresses: Sequence[SocketAddress], *, egress: Mapping[int, str] = NO_EGRESS, seconds: float
) -> tuple[socket.socket, SocketAddress]:
    """A connected non-blocking socket, `prepare`d, to the one of `addresses` that is there first, and which it is.

    They are tried as RFC 8305 says, the first ADDRESSES_MOST of them. The others are closed at once. Raises DialFailed:
    of several failures that of the address that got farthest; one that did not answer within `seconds` is
    HOST_UNREACHABLE.
    """
    race = _Race(interleave(addresses)[:ADDRESSES_MOST], egress)
    try:
        async with asyncio.timeout(seconds):
            won = await race.run()
    except TimeoutError:
        race.failures.append(ReplyCode.HOST_UNREACHABLE)
    else:
        if won is not None:
            race.sockets.remove(won[0])
            return won
    finally:
        for sock in race.sockets:
            sock.close()
    raise DialFailed(min(race.failures, key=_FARTHEST_FIRST.index, default=ReplyCode.HOST_UNREACHABLE))


class _Race:
    """Connects to several addresses, one more every now and then, until one of them stands.

    `sockets` are all that were opened; closing them is the caller's.
    """

    def __init__(self, addresses: Sequence[SocketAddress], egress: Mapping[int, str]) -> None:
        self.sockets: list[socket.socket] = []
        self.failures: list[ReplyCode] = []
        self._addresses = addresses
        self._egress = egress
        self._loop = asyncio.get_running_loop()
        self._schedule = Schedule(len(addresses), self._loop.time())
        self._running: dict[asyncio.Task[ReplyCode | None], tuple[socket.socket, SocketAddress]] = {}

    async def run(self) -> tuple[socket.socket, SocketAddress] | None:
        """The first that stands; None: all have failed."""
        async with asyncio.TaskGroup() as group:
            won = None
            while won is None and (self._running or self._schedule.due is not None):
                await self._wait(group)
                won = self._judge()
            for task in self._running:
                task.cancel()
        return won

    async def _wait(self, group: asyncio.TaskGroup) -> None:
        """Begin an attempt where one is due, else wait for that, or for the end of one that runs."""
        due, now = self._schedule.due, self._loop.time()
        if due is not None and due <= now:
            self._begin(group, self._addresses[self._schedule.begin(now)])
            return
        await asyncio.wait(
            self._running, timeout=None if due is None else due - now, return_when=asyncio.FIRST_COMPLETED
        )

    def _begin(self, group: asyncio.TaskGroup, address: SocketAddress) -> None:
        family, name = address
        try:
            sock = _open(socket.socket, family, str(name[0]), self._egress.get(family, ""))
        except DialFailed as failed:
            self._failed(failed.code)
            return
        self.sockets.append(sock)
        task = group.create_task(self._connect(sock, name), name=f"connect to {name[0]} port {name[1]}")
        self._running[task] = sock, address

    async def _connect(self, sock: socket.socket, name: tuple[object, ...]) -> ReplyCode | None:
        try:
            await self._loop.sock_connect(sock, name)
        except OSError as error:
            return reply_of(error)
        return None

    def _judge(self) -> tuple[socket.socket, SocketAddress] | None:
        """Of the attempts that are over, the one that stands, if any."""
        for task in [task for task in self._running if task.done()]:
            attempt = self._running.pop(task)
            failure = task.result()
            if failure is None:
                return attempt
            self._failed(failure)
            self.sockets.remove(attempt[0])
            attempt[0].close()
        return None

    def _failed(self, code: ReplyCode) -> None:
        self.failures.append(code)
        self._schedule.failed(self._loop.time())


def reply_of(error: OSError) -> ReplyCode:
    """The reply for a connect() that failed with `error`; TimeoutError without a number is our own deadline."""
    if error.errno is None and isinstance(error, TimeoutError):
        return ReplyCode.HOST_UNREACHABLE
    return REPLIES.get(error.errno or 0, ReplyCode.GENERAL_FAILURE)


def local_address(sock: SocketType) -> Address:
    """The local address of a connected socket, for BND.ADDR."""
    name = sock.getsockname()
    return Address(AddressType.IPV4 if len(name) == 2 else AddressType.IPV6, name[0], name[1])


def _open(kind: type[Socket], family: int, host: str, source: str) -> Socket:
    """A non-blocking socket for a connect to `host`, `prepare`d and bound to `source`. Raises DialFailed."""
    try:
        sock = kind(family, socket.SOCK_STREAM | _NON_BLOCKING)
    except OSError as error:
        raise DialFailed(reply_of(error)) from error
    try:
        if not _NON_BLOCKING:
            sock.setblocking(False)
        prepare(sock, host)
        if source:
            _bind(sock, source)
    except BaseException:
        sock.close()
        raise
    return sock


def _bind(sock: SocketType, source: str) -> None:
    """Connect from `source`. The port is left for connect(), which may use one again for another target: bind() would
    keep it for this socket alone, and some 28,000 connections would be all that an egress address has."""
    try:
        if _BIND_ADDRESS_NO_PORT is not None:
            sock.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
        sock.bind((source, 0))
    except OSError as error:
        log.warning(
            "egress_unusable", address=source, error=error.strerror, hint="egress: has to be an address of this host"
        )
        raise DialFailed(ReplyCode.GENERAL_FAILURE) from error
