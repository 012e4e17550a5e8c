"""Sans-IO: the head of an HTTP/1 request out of a client's stream (RFC 9112), as leniently as middleboxes read it.

LF alone ends a line, empty lines may come first, spaces may stand before a header's colon, names of headers are in any
case, of a header that is there twice the first counts, a method need not be a known one, and a target that looks like
one needs no version. Whether it is HTTP is decided by the first line, as soon as this cannot become a request's.
"""

from __future__ import annotations

import re

from censor.analyzers import Analyzer, Finding, Outcome, Wanted
from censor.properties import Properties, Type

# The first line as far as it has come: the method alone, or with the target's beginning.
_beginning = re.compile(rb"[A-Z][A-Z0-9_-]{0,19}\Z|[A-Z][A-Z0-9_-]{2,19}[ \t][^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*\Z")
_version = re.compile(rb"HTTP/(\d(?:\.\d)?)", re.IGNORECASE)
_targets = re.compile(rb"/|[a-z][a-z0-9+.-]{0,19}://", re.IGNORECASE)
_end = re.compile(rb"\n\r?\n")
_header = re.compile(rb"\n(host|user-agent|content-length|transfer-encoding)[ \t]*:([^\r\n]*)", re.IGNORECASE)
_absolute = re.compile(rb"[a-z][a-z0-9+.-]{0,19}://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_length = re.compile(rb"\d{1,15}")
_TO_THE_NEXT_REQUEST = -1


def _read(data: bytes, wanted: Wanted) -> Finding | Outcome:
    start = len(data) - len(data.lstrip(b"\r\n"))
    line_end = data.find(b"\n", start)
    line = data[start : line_end if line_end >= 0 else len(data)]
    if line and not _beginning.match(line):
        return Outcome.OTHER
    if line_end < 0:
        return Outcome.MORE
    request = _request_line(line)
    if request is None:
        return Outcome.OTHER
    end = _end.search(data, line_end)
    if end is None:
        return Outcome.MORE
    return _finding(request, data[line_end : end.end()], end.end())


def _request_line(line: bytes) -> tuple[bytes, bytes, bytes | None] | None:
    """(method, target, version) of the complete first line."""
    method, *targets = line.split()
    version = _version.fullmatch(targets[-1]) if targets else None
    if version:
        targets.pop()
    target = b" ".join(targets)  # with spaces that should not be in it
    if not target or not (version or _targets.match(target)):
        return None
    return method, target, version and version[1]


def _finding(request: tuple[bytes, bytes, bytes | None], headers: bytes, consumed: int) -> Finding:
    """headers: from the end of the first line on."""
    found: dict[bytes, bytes] = {}
    for name, value in _header.findall(headers):
        found.setdefault(name.lower(), value.strip())
    method, target, version = request
    host_header = host = _host(found.get(b"host", b""))
    path: bytes | None = target
    connect = method == b"CONNECT"
    absolute = None if connect else _absolute.match(target)
    if connect:
        host, path = _host(target), None
    elif absolute:
        host, path = _host(absolute[1]), absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2]
    properties: Properties = {
        "http": True,
        "http.method": _text(method),
        "http.host": host,
        "http.host_header": host_header,
        "http.path": path and _text(path),
        "http.url": host and host + _text(b"" if path in (None, b"*") else path),
        "http.user_agent": _text(found[b"user-agent"]) if b"user-agent" in found else None,
        "http.version": version and _text(version),
        "http.proxy": connect or absolute is not None,
    }
    return Finding(properties, consumed, 0 if connect else _body(found))


def _body(found: dict[bytes, bytes]) -> int:
    """The bytes of the body (RFC 9112, section 6.3); what is not a number is none."""
    if b"chunked" in found.get(b"transfer-encoding", b"").lower():
        return _TO_THE_NEXT_REQUEST
    length = found.get(b"content-length", b"")
    return int(length) if _length.fullmatch(length) else 0


def _host(authority: bytes) -> str | None:
    """The host of `[user@]host[:port]`, an IPv6 address without brackets; None if it is empty."""
    host = authority.rpartition(b"@")[2]
    host = host[1:].partition(b"]")[0] if host.startswith(b"[") else host.partition(b":")[0]
    return _text(host).lower().rstrip(".") or None


def _text(data: bytes) -> str:
    return data.decode("ascii", "backslashreplace")


ANALYZER = Analyzer(
    "http",
    properties={
        "http": Type.BOOLEAN,
        "http.method": Type.TEXT,
        "http.host": Type.NAME,  # the target's if it names one (CONNECT, absolute form), else the Host header's
        "http.host_header": Type.NAME,  # both without port
        "http.path": Type.TEXT,  # with the query; none with CONNECT
        "http.url": Type.TEXT,  # host and path
        "http.user_agent": Type.TEXT,
        "http.version": Type.TEXT,  # 1.1, or none
        "http.proxy": Type.BOOLEAN,  # such as only proxies are asked: CONNECT or absolute form
    },
    stream=_read,
    repeats=True,
)
