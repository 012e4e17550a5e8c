"""HTTP CONNECT as a client speaks it (RFC 9110 section 9.3.6, RFC 9112). Sans-IO."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from proxy.wire import Address, Credentials, Fault, ProtocolError

RESPONSE_LIMIT_BYTES = 16384

_END = re.compile(rb"\r?\n\r?\n")
# RFC 9112 section 4: the reason may be empty, and some leave out the space in front of it.
_STATUS_LINE = re.compile(rb"HTTP/1\.[0-9] ([1-9][0-9]{2})(?: [^\r\n]*)?\r?\n")


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """Server: the head of a response, as far as it matters here."""

    status: int


def write_http_connect(target: Address, credentials: Credentials | None = None) -> bytes:
    """The request for a tunnel to `target`, with Basic credentials (RFC 7617) where there are any.

    Raises ProtocolError (fault LOCAL) for a target or a user that HTTP cannot carry.
    """
    name = str(target)
    if not name.isprintable() or " " in name:
        raise ProtocolError("address cannot be written: white space or a control character", fault=Fault.LOCAL)
    head = f"CONNECT {name} HTTP/1.1\r\nHost: {name}\r\n"
    if credentials is not None:
        if b":" in credentials.user:
            raise ProtocolError("user: has a colon, which ends a user in HTTP", fault=Fault.LOCAL)
        token = base64.b64encode(credentials.user + b":" + credentials.password).decode()
        head += f"Proxy-Authorization: Basic {token}\r\n"
    return f"{head}\r\n".encode()


def read_http_response(buffer: bytearray) -> HttpResponse | None:
    """Take the head of a response off the front of `buffer`. None: it is not complete, the buffer is untouched.
    Raises ProtocolError for what is no response, and for one of more than RESPONSE_LIMIT_BYTES."""
    end = _END.search(buffer, 0, RESPONSE_LIMIT_BYTES)
    if end is None:
        if len(buffer) >= RESPONSE_LIMIT_BYTES:
            raise ProtocolError(f"response: its head has more than {RESPONSE_LIMIT_BYTES} bytes")
        if not (buffer.startswith(b"HTTP/1.") or b"HTTP/1.".startswith(buffer)):
            raise ProtocolError("response: is no HTTP/1")
        return None
    line = _STATUS_LINE.match(buffer)
    if line is None:
        raise ProtocolError("response: has no status line of HTTP/1")
    response = HttpResponse(int(line[1]))
    del buffer[: end.end()]
    return response
