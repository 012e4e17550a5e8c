"""HTTP's CONNECT, requests and responses, both directions. Sans-IO.

Sources: RFC 9110 section 9.3.6 (CONNECT), RFC 9112 sections 2 to 5 (the bytes of HTTP/1.1), RFC 7617 (Basic).

The readers keep the contract of `readers`: they consume a head, up to its empty line, and nothing behind it. They are
strict where leniency has been a hole: lines end with CRLF, no bare CR or LF, no NUL, no folded fields. What is wrong
with a request is found as soon as the bytes up to there have come, so it does not matter how they were cut.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol, TypeVar

from proxy.wire.codes import AddressType
from proxy.wire.errors import Fault, ProtocolError
from proxy.wire.messages import Address, Credentials

HTTP_REQUEST_LIMIT_BYTES = 16384
HTTP_RESPONSE_LIMIT_BYTES = 16384
DOMAIN_LIMIT_BYTES = 255

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_VALUE = re.compile(rb"[\t -~\x80-\xff]*")  # RFC 9110 section 5.5
# RFC 9112 sections 3 and 4. Only the version's first digit decides (RFC 9110 section 2.5).
_REQUEST_LINE = re.compile(rb"(%b) ([!-~]+) HTTP/(\d)\.(\d)" % _TOKEN.pattern)
_STATUS_LINE = re.compile(rb"HTTP/1\.\d ([1-5]\d\d)(?: [\t -~\x80-\xff]*)?")
# RFC 9112 section 3.2.3; a name without percent-encoding, which no client uses for a domain.
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._~!$&'()*+,;=-]+):(\d{1,5})", re.ASCII)
_NOT_IN_A_HEAD = re.compile(rb"\0|\r(?=[^\n])|\n(?<!\r\n)")

T = TypeVar("T")


class Bad(Protocol):
    """Makes the error for what is wrong with a head."""

    def __call__(self, why: str, status: HTTPStatus = ...) -> ProtocolError: ...


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """Client: the head of a request. `target` is there for CONNECT only; `credentials` where it has Basic ones.

    Those have no limit but the head's, and may be no UTF-8.
    """

    method: str
    target: Address | None
    credentials: Credentials | None = None
    version: str = "1.1"


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """Server: status and fields, names in lower case when read. `body` is written, and never read."""

    status: int
    fields: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


def write_http_connect(target: Address, credentials: Credentials | None = None) -> bytes:
    """A CONNECT request. Raises ProtocolError (fault LOCAL) for a domain or a user that HTTP cannot carry."""
    authority = str(target)
    if not _AUTHORITY.fullmatch(authority) or len(target.host) > DOMAIN_LIMIT_BYTES or target.port > 65535:
        raise ProtocolError("address cannot be written: no host and port as in a URL", fault=Fault.LOCAL)
    head = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n"
    if credentials is not None:
        if b":" in credentials.user:
            raise ProtocolError("user: has a colon, which ends a user in HTTP", fault=Fault.LOCAL)
        secret = b64encode(credentials.user + b":" + credentials.password)
        head += f"Proxy-Authorization: Basic {secret.decode()}\r\n"
    return f"{head}\r\n".encode()


def write_http_response(message: HttpResponse) -> bytes:
    """A response to CONNECT. Success is a head alone (RFC 9110 section 9.3.6); others tell the length of their body.

    The connection ends behind those, and they say so.
    """
    succeeded = 200 <= message.status < 300
    phrase = "Connection established" if succeeded else HTTPStatus(message.status).phrase
    fields = message.fields
    if not succeeded:
        fields += (("Content-Length", str(len(message.body))), ("Connection", "close"))
    lines = [f"HTTP/1.1 {message.status} {phrase}", *(f"{name}: {value}" for name, value in fields)]
    return "\r\n".join([*lines, "", ""]).encode() + message.body


def write_http_refusal(status: HTTPStatus, why: str, *fields: tuple[str, str]) -> bytes:
    """A response that is no success, with `why` as its text."""
    fields = (*fields, ("Content-Type", "text/plain; charset=utf-8"))
    return write_http_response(HttpResponse(status, fields, f"{why}\n".encode()))


def read_http_request(buffer: bytearray) -> HttpRequest | None:
    """The head of a request, whatever its method. Every error carries the response to send.

    400 for what is malformed, and for a CONNECT with a body, which HTTP does not define (it would pass for early data);
    431 for a head of more than HTTP_REQUEST_LIMIT_BYTES; 505 for another HTTP than 1.
    """
    found = _read_head(buffer, HTTP_REQUEST_LIMIT_BYTES, _request_line, _bad_request)
    if found is None:
        return None
    (method, target, version), fields = found
    hosts = _values(fields, "host")
    if len(hosts) > 1 or (not hosts and version != "1.0"):
        raise _bad_request(f"{len(hosts)} fields Host, expected one")  # RFC 9112 section 3.2
    if method == "CONNECT":
        lengths = _values(fields, "content-length")
        # A length of 0 is no body: WinHTTP sends one.
        if _values(fields, "transfer-encoding") or any(length != "0" for length in lengths):
            raise _bad_request("CONNECT with a body")
    return HttpRequest(method, target, _credentials(_values(fields, "proxy-authorization")), version)


def read_http_response(buffer: bytearray) -> HttpResponse | None:
    """The head of a response. A client that reads a status of 1xx reads on: it is not the last one."""
    found = _read_head(buffer, HTTP_RESPONSE_LIMIT_BYTES, _status_line, _bad_response)
    return None if found is None else HttpResponse(*found)


def _bad_request(why: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> ProtocolError:
    return ProtocolError(f"HTTP request: {why}", reply=write_http_refusal(status, why))


def _bad_response(why: str, status: HTTPStatus = HTTPStatus.BAD_GATEWAY) -> ProtocolError:
    return ProtocolError(f"HTTP response: {why}")


def _read_head(
    buffer: bytearray, limit_bytes: int, parse_line: Callable[[bytes], T], bad: Bad
) -> tuple[T, tuple[tuple[str, str], ...]] | None:
    """A complete head's first line, parsed, and its fields. `bad` makes the errors.

    Errors come in the order of the bytes they are about, so that they are the same however the bytes were cut.
    """
    end = buffer.find(b"\r\n\r\n", 0, limit_bytes)
    head = bytes(buffer[: limit_bytes if end < 0 else end + 4])
    wrong = _wrong_at(head)
    line, line_is_whole, _ = head[:wrong].partition(b"\r\n")
    first = parse_line(line) if line_is_whole else None
    if wrong is not None:
        raise bad("NUL, or CR or LF without the other")
    if first is None or end < 0:
        if len(head) == limit_bytes:
            raise bad(f"head of more than {limit_bytes} bytes", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        return None
    del buffer[: end + 4]
    lines = head[len(line) + 2 : end + 2].split(b"\r\n")[:-1]
    return first, tuple(_field(line, bad) for line in lines)


def _wrong_at(head: bytes) -> int | None:
    """Where the first byte is that no head has. A CR at the end may yet get its LF."""
    lines = head.count(b"\r\n")
    # Counting is what keeps a head that comes byte by byte cheap.
    if head.count(b"\n") == lines == head.count(b"\r", 0, -1) and 0 not in head:
        return None
    match = _NOT_IN_A_HEAD.search(head)
    return match and match.start()


def _request_line(line: bytes) -> tuple[str, Address | None, str]:
    """Method, target and version."""
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise _bad_request("first line is not METHOD TARGET HTTP/VERSION")
    method, target, major, minor = (part.decode() for part in match.groups())
    if major != "1":
        raise _bad_request(f"version {major}, expected 1", HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
    return method, _authority(target) if method == "CONNECT" else None, f"{major}.{minor}"


def _authority(text: str) -> Address:
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        raise _bad_request("target of CONNECT is not HOST:PORT")
    host, port = match[1], int(match[2])
    if len(host) > DOMAIN_LIMIT_BYTES:
        raise _bad_request(f"target of CONNECT: host of {len(host)} bytes, expected at most {DOMAIN_LIMIT_BYTES}")
    if not 0 < port < 65536:
        raise _bad_request("target of CONNECT: port is not 1 to 65535")
    address = Address.of(host, port)
    if host.startswith("[") and address.type is not AddressType.IPV6:
        raise _bad_request("target of CONNECT: no IPv6 address in the brackets")
    return address


def _status_line(line: bytes) -> int:
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise _bad_response("first line is not HTTP/1.x STATUS REASON")
    return int(match[1])


def _field(line: bytes, bad: Bad) -> tuple[str, str]:
    """Name, in lower case, and value (RFC 9112 section 5)."""
    name, _, value = line.partition(b":")
    value = value.strip(b" \t")
    if line.startswith((b" ", b"\t")):
        raise bad("folded field")
    if len(name) == len(line) or not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
        raise bad("a line that is no field NAME: VALUE")
    return name.decode().lower(), value.decode("latin-1")


def _values(fields: tuple[tuple[str, str], ...], wanted: str) -> list[str]:
    return [value for name, value in fields if name == wanted]


def _credentials(values: list[str]) -> Credentials | None:
    """User and password of `Proxy-Authorization: Basic` (RFC 7617 section 2); None for another scheme."""
    if len(values) > 1:
        raise _bad_request(f"{len(values)} fields Proxy-Authorization, expected one")
    scheme, _, secret = values[0].partition(" ") if values else ("", "", "")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = b64decode(secret.strip(" "), validate=True).partition(b":")
    except ValueError:  # binascii.Error, and what is not ASCII
        colon = b""
    if not colon:
        raise _bad_request("Proxy-Authorization: Basic is not followed by Base64 of USER:PASSWORD")
    return Credentials(user, password)
