"""Bytes to messages. Sans-IO.

A reader takes the buffer that bytes off the connection are appended to. It consumes one whole message from its front
and returns it; or returns None, the buffer untouched, when the message is not complete; or raises ProtocolError as soon
as what is there cannot become one. It never looks behind its message: that is the next reader's, or early data.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address

from proxy.wire.codes import AUTH_VERSION, SOCKS_VERSION, AddressType, AuthStatus, Command, ReplyCode
from proxy.wire.errors import ProtocolError
from proxy.wire.messages import Address, AuthResult, Credentials, Greeting, MethodChoice, Reply, Request
from proxy.wire.writers import write_auth_result, write_reply

GREETING_LIMIT_BYTES = 2 + 255
METHOD_CHOICE_LIMIT_BYTES = 2
CREDENTIALS_LIMIT_BYTES = 1 + 1 + 255 + 1 + 255
AUTH_RESULT_LIMIT_BYTES = 2
REQUEST_LIMIT_BYTES = 4 + 1 + 255 + 2
REPLY_LIMIT_BYTES = 4 + 1 + 255 + 2

_AUTH_FAILED = write_auth_result(AuthResult(AuthStatus.FAILED))
_GENERAL_FAILURE = write_reply(Reply(ReplyCode.GENERAL_FAILURE))
_COMMAND_NOT_SUPPORTED = write_reply(Reply(ReplyCode.COMMAND_NOT_SUPPORTED))
_ADDRESS_TYPE_NOT_SUPPORTED = write_reply(Reply(ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED))


def read_greeting(buffer: bytearray) -> Greeting | None:
    """A client's first message (RFC 1928 section 3). A wrong version is answered with nothing: it is no SOCKS5."""
    if not buffer:
        return None
    _check_version(buffer, SOCKS_VERSION, "greeting")
    if len(buffer) < 2 or len(buffer) < (size := 2 + buffer[1]):
        return None
    return _greeting(take(buffer, size))


def read_method_choice(buffer: bytearray) -> MethodChoice | None:
    """A server's first message (RFC 1928 section 3)."""
    if not buffer:
        return None
    _check_version(buffer, SOCKS_VERSION, "method choice")
    if len(buffer) < 2:
        return None
    return MethodChoice(take(buffer, 2)[1])


def read_credentials(buffer: bytearray) -> Credentials | None:
    """User and password (RFC 1929 section 2). A wrong version is answered with a failure."""
    if not buffer:
        return None
    _check_version(buffer, AUTH_VERSION, "credentials", reply=_AUTH_FAILED)
    if len(buffer) < 2 or len(buffer) < (user_end := 2 + buffer[1]) + 1:
        return None
    if len(buffer) < (size := user_end + 1 + buffer[user_end]):
        return None
    data = take(buffer, size)
    return Credentials(data[2:user_end], data[user_end + 1 :])


def read_auth_result(buffer: bytearray) -> AuthResult | None:
    """The server's verdict on the credentials (RFC 1929 section 2)."""
    if not buffer:
        return None
    _check_version(buffer, AUTH_VERSION, "authentication result")
    if len(buffer) < 2:
        return None
    return AuthResult(take(buffer, 2)[1])


def read_request(buffer: bytearray) -> Request | None:
    """A client's request (RFC 1928 section 4). Every error carries the reply to send, a full one of 10 bytes."""
    if not buffer:
        return None
    _check_version(buffer, SOCKS_VERSION, "request", reply=_GENERAL_FAILURE)
    if len(buffer) < 4:
        return None
    size = address_end(buffer, refusal=_ADDRESS_TYPE_NOT_SUPPORTED)
    if size is None or len(buffer) < size:
        return None
    # The whole message is consumed before its command is judged: unread bytes would turn our close into a reset.
    return _request(take(buffer, size))


def read_reply(buffer: bytearray) -> Reply | None:
    """A server's reply (RFC 1928 section 6)."""
    if not buffer:
        return None
    _check_version(buffer, SOCKS_VERSION, "reply")
    if len(buffer) < 4:
        return None
    size = address_end(buffer, refusal=b"")
    if size is None or len(buffer) < size:
        return None
    data = take(buffer, size)
    try:
        code = ReplyCode(data[1])
    except ValueError:
        raise ProtocolError(f"reply: code {data[1]} does not exist") from None
    return Reply(code, parse_address(data, refusal=b""))


# Messages are values: clients that say the same get the same one.


@lru_cache(64)
def _greeting(data: bytes) -> Greeting:
    return Greeting(tuple(data[2:]))


@lru_cache(1024)
def _request(data: bytes) -> Request:
    try:
        command = Command(data[1])
    except ValueError:
        what = f"request: command {data[1]} does not exist"
        raise ProtocolError(what, reply=_COMMAND_NOT_SUPPORTED) from None
    return Request(command, parse_address(data, refusal=_GENERAL_FAILURE))


def take(buffer: bytearray, size: int) -> bytes:
    """Consume `size` bytes."""
    data = bytes(buffer[:size])
    del buffer[:size]
    return data


def _check_version(buffer: bytearray, version: int, what: str, *, reply: bytes = b"") -> None:
    if buffer[0] != version:
        raise ProtocolError(f"{what}: version {buffer[0]}, expected {version}", reply=reply)


def address_end(buffer: bytearray | bytes, *, refusal: bytes) -> int | None:
    """Where address and port behind the ATYP at offset 3 end; None where the length byte is not there yet."""
    match buffer[3]:
        case AddressType.IPV4:
            return 4 + 4 + 2
        case AddressType.IPV6:
            return 4 + 16 + 2
        case AddressType.DOMAIN:
            return 4 + 1 + buffer[4] + 2 if len(buffer) > 4 else None
        case other:
            raise ProtocolError(f"address type {other} does not exist", reply=refusal)


def parse_address(data: bytes, *, refusal: bytes) -> Address:
    """The address of a complete message with ATYP at offset 3, whose last two bytes are the port."""
    type_, port = AddressType(data[3]), int.from_bytes(data[-2:], "big")
    if type_ is AddressType.IPV4:
        host = ".".join(map(str, data[4:8]))
    elif type_ is AddressType.IPV6:
        host = str(IPv6Address(data[4:20]))
    else:
        host = parse_domain(data[5:-2], refusal)
    return Address(type_, host, port)


def parse_domain(data: bytes, refusal: bytes) -> str:
    """The domain as text: UTF-8, not empty, nothing in it that could forge a log line or end a C string early.

    Raises ProtocolError with `refusal` as its reply.
    """
    try:
        domain = data.decode()
    except UnicodeDecodeError as error:
        raise ProtocolError("domain: is not UTF-8", reply=refusal) from error
    if not domain or not domain.isprintable() or " " in domain:
        what = "has a control character or white space" if domain else "is empty"
        raise ProtocolError(f"domain: {what}", reply=refusal)
    return domain
