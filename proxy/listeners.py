"""Listening sockets, and accepting on them without ever waiting for one client."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from socket import SocketType

from proxy.relay.flow import close_orderly, prepare
from proxy.relay.poller import READ, Poller
from proxy.settings import parse_listen
from sidedoor.settings import UsageError

BACKLOG = 1024
ACCEPTS_AT_ONCE = 64
BACK_OFF_SECONDS = 0.1

_OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


@dataclass(frozen=True, slots=True)
class Bound:
    """A listening, non-blocking socket, and the address in the settings that it is for."""

    address: str
    sock: socket.socket

    @property
    def name(self) -> str:
        """The "HOST:PORT" that it listens on."""
        return name_of(self.sock.getsockname())


def bind(addresses: Iterable[str], *, shared: bool = False) -> list[Bound]:
    """Sockets on all of `addresses`, or on none of them. Raises UsageError.

    `shared` ones (SO_REUSEPORT) can be bound again and again by the same user, and share the connections.
    """
    found: list[Bound] = []
    try:
        for address in addresses:
            found += [Bound(address, sock) for sock in _bind(address, shared)]
    except BaseException:
        for one in found:
            one.sock.close()
        raise
    return found


def bind_again(bound: Iterable[Bound]) -> list[Bound]:
    """More sockets on the same ports as these `shared` ones. Raises UsageError."""
    found: list[Bound] = []
    try:
        for one in bound:
            found += [Bound(one.address, sock) for sock in _bind(one.name, shared=True)]
    except BaseException:
        for one in found:
            one.sock.close()
        raise
    return found


def _bind(address: str, shared: bool) -> list[socket.socket]:
    host, port = parse_listen(address)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise UsageError(f"cannot listen on {address}: {error.strerror}; check the name") from error
    made: list[socket.socket] = []
    try:
        for family, _, _, _, sockaddr in found:
            sock = socket.socket(family, socket.SOCK_STREAM)
            made.append(sock)
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if shared:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            prepare(sock, str(sockaddr[0]))  # accepted sockets inherit it
            sock.bind(sockaddr)
            sock.listen(BACKLOG)
    except OSError as error:
        for sock in made:
            sock.close()
        raise UsageError(f"cannot listen on {address}: {os.strerror(error.errno or 0)}; {_remedy(error)}") from error
    return made


def _remedy(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "another program has this port: stop it, or choose another with --listen"
        case errno.EACCES:
            return "ports below 1024 need root or CAP_NET_BIND_SERVICE: choose a higher one with --listen"
        case errno.EADDRNOTAVAIL:
            return "this host has no such address: `ip address` shows those it has"
        case _:
            return "choose another address with --listen"


def name_of(sockaddr: tuple[object, ...]) -> str:
    """ "HOST:PORT" of a socket address, IPv6 in brackets."""
    host, port = sockaddr[:2]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


class Acceptor:
    """Accepts on one listening socket and hands connections on. Out of descriptors, it refuses one and backs off. A
    `Watcher` of `poller`.

    `exhausted` is called with the error at each such back-off. `close()` closes the listening socket.
    """

    pending = 0

    def __init__(
        self,
        listener: socket.socket,
        poller: Poller,
        accepted: Callable[[SocketType, tuple[object, ...]], object],
        exhausted: Callable[[OSError], object],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._poller = poller
        self._family = int(listener.family)
        # accept() of the socket module costs more than the system call: an object in Python, and three enums.
        self._take = listener._accept  # type: ignore[attr-defined]  # typeshed does not have it
        self._accepted = accepted
        self._exhausted = exhausted
        self._reserve: int | None = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._timer: asyncio.Handle | None = None
        poller.watch(listener, self)

    @property
    def reading(self) -> bool:
        """See `Watcher`."""
        return self._timer is None

    def close(self) -> None:
        """Stop accepting."""
        if self._timer is not None:
            self._timer.cancel()
        self._poller.forget(self._listener)
        self._listener.close()
        if self._reserve is not None:
            os.close(self._reserve)

    def finish(self) -> None:
        """Accept those who have connected already, and stop."""
        while not isinstance(self._timer, asyncio.TimerHandle) and self._accept():
            pass
        self.close()

    def ready(self, mask: int) -> None:
        """See `Watcher`."""
        if self._timer is not None:
            return  # it backs off, or goes on soon (`_go_on`)
        if self._accept():
            self._timer = self._loop.call_soon(self._go_on)  # those that wait were reported, and will not be again

    def _accept(self) -> bool:
        """Accept ACCEPTS_AT_ONCE at most; returns whether more may wait."""
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                fd, peer = self._take()
            except BlockingIOError:
                return False
            except OSError as error:
                if error.errno in _OUT_OF_RESOURCES:
                    self._back_off(error)
                    return False
                continue  # this one connection failed before we took it (accept(2): treat them like EAGAIN)
            sock = SocketType(self._family, socket.SOCK_STREAM, 0, fd)
            sock.setblocking(False)
            self._accepted(sock, peer)
        return True

    def _back_off(self, error: OSError) -> None:
        """Refuse one connection on the reserve descriptor, so that its client need not wait; then pause."""
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None
        try:
            close_orderly(self._listener.accept()[0])
        except OSError:
            pass
        self._exhausted(error)
        self._timer = self._loop.call_later(BACK_OFF_SECONDS, self._resume)

    def _resume(self) -> None:
        if self._reserve is None:
            try:
                self._reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                pass  # still out of descriptors
        self._go_on()

    def _go_on(self) -> None:
        self._timer = None
        self._poller.watch(self._listener, self)
        self.ready(READ)
