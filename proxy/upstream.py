"""Going through another proxy: the client's side of SOCKS5 (RFC 1928, RFC 1929) and of HTTP CONNECT (RFC 9110)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from proxy import log
from proxy.dial import NO_EGRESS, DialFailed, dial_any
from proxy.resolver import Resolver, SocketAddress
from proxy.settings import Upstream, parse_upstream
from proxy.wire import (
    UNSPECIFIED,
    Address,
    AddressType,
    Command,
    Credentials,
    Greeting,
    Method,
    ProtocolError,
    Reply,
    ReplyCode,
    Request,
    read_auth_result,
    read_http_response,
    read_method_choice,
    read_reply,
    write_credentials,
    write_greeting,
    write_http_connect,
    write_request,
)

PEEK_BYTES = 4096

Message = TypeVar("Message")


@dataclass(frozen=True, slots=True)
class Hop:
    """An upstream proxy: `scheme` is "socks5" or "http"; without user and password it is asked without any."""

    scheme: str
    host: str
    port: int
    user: str = ""
    password: str = field(default="", repr=False)

    @classmethod
    def of(cls, name: str, upstream: Upstream) -> Hop:
        """The one that the settings call `name`. Raises SettingsError."""
        return cls(*parse_upstream(name, upstream.url), upstream.user, upstream.password)

    @property
    def address(self) -> Address:
        """Where it is; a name where it has one."""
        return Address.of(self.host, self.port)

    @property
    def credentials(self) -> Credentials | None:
        """What it is told when it asks who we are."""
        return Credentials(self.user.encode(), self.password.encode()) if self.user or self.password else None

    def __str__(self) -> str:
        return f"{self.scheme}://{self.address}"


async def through(
    hop: Hop, target: Address, resolver: Resolver, *, egress: Mapping[int, str] = NO_EGRESS, seconds: float
) -> tuple[socket.socket, Address]:
    """A connected non-blocking socket, `prepare`d, that leads to `target`, and the address that `hop` connects from.

    A name in `target` goes to `hop` as it is; the name of `hop` itself is resolved here. HTTP says no address:
    0.0.0.0:0. Raises DialFailed: with what `hop` said about the target; HOST_UNREACHABLE where it said nothing within
    `seconds`; GENERAL_FAILURE, and a line in the log, where `hop` itself is what fails.
    """
    deadline = asyncio.get_running_loop().time() + seconds
    with _blamed(hop):
        async with asyncio.timeout_at(deadline):
            sock = await _reach(hop, resolver, egress, seconds)
    try:
        with _blamed(hop):
            reply = await _answer(sock, hop, target, deadline)
        if reply.code is not ReplyCode.SUCCEEDED:
            raise DialFailed(reply.code)
    except BaseException:
        sock.close()
        raise
    return sock, reply.bound


def reply_of_status(status: int) -> ReplyCode:
    """The reply for the status with which an HTTP proxy answers CONNECT."""
    if 200 <= status < 300:
        return ReplyCode.SUCCEEDED
    if status in (403, 407):
        return ReplyCode.NOT_ALLOWED
    if status in (502, 503, 504):
        return ReplyCode.HOST_UNREACHABLE
    return ReplyCode.GENERAL_FAILURE


@contextlib.contextmanager
def _blamed(hop: Hop) -> Iterator[None]:
    """What fails in here is `hop`, not the target: the log says so, the client hears of a general failure."""
    try:
        yield
    except DialFailed as failed:
        why: object = f"no connection to it: {failed.code.name}"
    except TimeoutError:
        why = "it did not answer in time"
    except (ProtocolError, OSError) as error:
        why = error
    else:
        return
    _warn(hop, why)
    raise DialFailed(ReplyCode.GENERAL_FAILURE)


def _warn(hop: Hop, why: object) -> None:
    log.warning("upstream_failed", upstream=str(hop), error=str(why))


async def _reach(hop: Hop, resolver: Resolver, egress: Mapping[int, str], seconds: float) -> socket.socket:
    """A connection to `hop` on which it waits for a request."""
    addresses = await _addresses_of(hop.address, resolver)
    sock, _ = await dial_any(addresses, egress=egress, seconds=seconds)
    try:
        if hop.scheme == "socks5":
            await _log_in(sock, hop)
    except BaseException:
        sock.close()
        raise
    return sock


async def _log_in(sock: socket.socket, hop: Hop) -> None:
    loop = asyncio.get_running_loop()
    credentials = hop.credentials
    methods = (Method.NO_AUTH,) if credentials is None else (Method.NO_AUTH, Method.USER_PASSWORD)
    await loop.sock_sendall(sock, write_greeting(Greeting(methods)))
    choice = await _read(sock, read_method_choice)
    if choice.method not in methods:
        raise ProtocolError(f"it accepts none of the authentication methods {[int(method) for method in methods]}")
    if credentials is not None and choice.method == Method.USER_PASSWORD:
        await loop.sock_sendall(sock, write_credentials(credentials))
        if not (await _read(sock, read_auth_result)).ok:
            raise ProtocolError("it does not accept user and password; see upstreams in the settings")


async def _answer(sock: socket.socket, hop: Hop, target: Address, deadline: float) -> Reply:
    """What `hop` says about `target`; HOST_UNREACHABLE where it is still trying at the deadline."""
    ask = _ask_socks5 if hop.scheme == "socks5" else _ask_http
    try:
        async with asyncio.timeout_at(deadline) as timeout:
            return await ask(sock, hop, target)
    except TimeoutError:
        if not timeout.expired():
            raise  # the system's: the connection to `hop` broke
        return Reply(ReplyCode.HOST_UNREACHABLE)


async def _addresses_of(target: Address, resolver: Resolver) -> list[SocketAddress]:
    """The socket addresses of `target`: itself, or what its name stands for. Raises OSError as `Resolver` does."""
    match target.type:
        case AddressType.IPV4:
            return [(socket.AF_INET, (target.host, target.port))]
        case AddressType.IPV6:
            return [(socket.AF_INET6, (target.host, target.port))]
    return await resolver.resolve(target.host, target.port)


async def _ask_socks5(sock: socket.socket, hop: Hop, target: Address) -> Reply:
    await asyncio.get_running_loop().sock_sendall(sock, write_request(Request(Command.CONNECT, target)))
    return await _read(sock, read_reply)


async def _ask_http(sock: socket.socket, hop: Hop, target: Address) -> Reply:
    await asyncio.get_running_loop().sock_sendall(sock, write_http_connect(target, hop.credentials))
    status = 100
    while status < 200:  # an interim response (RFC 9110 section 15.2)
        status = (await _read(sock, read_http_response)).status
    if status == 407:
        _warn(hop, "it does not accept user and password; see upstreams in the settings")
    return Reply(reply_of_status(status), UNSPECIFIED)


async def _read(sock: socket.socket, reader: Callable[[bytearray], Message | None]) -> Message:
    """The next message. What is behind it stays in the socket: it is the target's, and the relay will read it.

    So bytes are looked at first, and taken once it is known whose they are: as long as the message is not complete, all
    are its own. Raises ProtocolError, ConnectionError.
    """
    buffer = bytearray()
    while True:
        await _readable(sock)
        try:
            seen = sock.recv(PEEK_BYTES, socket.MSG_PEEK)
        except BlockingIOError:
            continue
        if not seen:
            raise ConnectionAbortedError("it closed the connection in the middle of the handshake")
        buffer += seen
        message = reader(buffer)
        sock.recv(len(seen) if message is None else len(seen) - len(buffer))
        if message is not None:
            return message


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    readable: asyncio.Future[None] = loop.create_future()
    loop.add_reader(sock, _wake, readable)
    try:
        await readable
    finally:
        loop.remove_reader(sock)


def _wake(readable: asyncio.Future[None]) -> None:
    if not readable.done():
        readable.set_result(None)
