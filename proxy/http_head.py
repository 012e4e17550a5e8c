"""HTTP CONNECT as a client speaks it (RFC 9110 section 9.3.6, RFC 9112). Sans-IO."""

from __future__ import annotations

import base64
import re

from proxy.wire import Address, Fault, ProtocolError

RESPONSE_LIMIT_BYTES = 16384

_END = re.compile(rb"\r?\n\r?\n")
# RFC 9112 section 4: the reason may be empty, and some leave out the space in front of it.
_STATUS_LINE = re.compile(rb"HTTP/1\.[0-9] ([1-9][0-9]{2})(?: [^\r\n]*)?\r?\n")


def write_http_connect(target: Address, user: str = "", password: str = "") -> bytes:
    """The request for a tunnel to `target`, with Basic credentials (RFC 7617) where there are any."""
    name = str(target)
    if not name.isprintable() or " " in name or ":" in user:
        raise ProtocolError("HTTP cannot carry this target, or a user with a colon", fault=Fault.LOCAL)
    lines = [f"CONNECT {name} HTTP/1.1", f"Host: {name}"]
    if user or password:
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        lines.append(f"Proxy-Authorization: Basic {token}")
    return "\r\n".join([*lines, "", ""]).encode()


def read_http_response(buffer: bytearray) -> int | None:
    """Take the head of a response off the front of `buffer`: its status. None: it is not complete, the buffer is
    untouched. Raises ProtocolError for what is no response, and for one of more than RESPONSE_LIMIT_BYTES."""
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
    status = int(line[1])
    del buffer[: end.end()]
    return status
