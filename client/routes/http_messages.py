"""The two messages of HTTP CONNECT (RFC 9110 section 9.3.6, RFC 9112). Sans-IO."""

from __future__ import annotations

import base64

HEAD_LIMIT_BYTES = 16384
"""The longest answer, status line and fields, that is read; what common servers take."""
HEAD_END = b"\r\n\r\n"


class ConnectRefused(Exception):
    """The proxy has answered with another status than 2xx, or with something that is no HTTP."""


def connect_request(host: str, port: int, username: str | None = None, password: str | None = None) -> bytes:
    """The request, with a login if there is one (RFC 7617, in UTF-8). Raises UnicodeError for an impossible host."""
    name = f"[{host}]" if ":" in host else host.encode("idna").decode("ascii")
    lines = [f"CONNECT {name}:{port} HTTP/1.1", f"Host: {name}:{port}"]
    if username is not None and password is not None:
        login = base64.b64encode(f"{username}:{password}".encode()).decode("ascii")
        lines.append(f"Proxy-Authorization: Basic {login}")
    return "\r\n".join(lines).encode("ascii") + HEAD_END


def check_reply(head: bytes) -> None:
    """Whether the answer, up to the end of its fields, opens the tunnel. Raises ConnectRefused, which says why not."""
    line = head.partition(b"\r\n")[0].decode("latin-1")
    version, _, rest = line.partition(" ")
    status, _, reason = rest.partition(" ")
    if not version.startswith("HTTP/1.") or len(status) != 3 or not status.isdecimal():
        raise ConnectRefused(f"no HTTP: {line[:80]!r}")
    if not status.startswith("2"):
        raise ConnectRefused(f"HTTP status {status} {reason}".rstrip())
