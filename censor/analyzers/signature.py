"""Sans-IO: whether a connection begins like DNS, HTTP or TLS, by its very first bytes, as Iran's filter did in 2020.

Bock and others (FOCI 2020): the first bytes must be a TLS record header (5 bytes), or an HTTP verb with 8 bytes
of request at least, or a DNS message; nothing beyond is looked at. The first two data packets count together, as they
come: the filter put no stream together.
"""

from __future__ import annotations

from censor.analyzers import Analyzer, Finding, Outcome, Wanted
from censor.properties import Type

_VERBS = (b"GET ", b"POST ", b"HEAD ", b"PUT ", b"DELETE ", b"CONNECT ", b"OPTIONS ", b"TRACE ", b"PATCH ")
_HTTP_BYTES = 8
_TLS_BYTES = 5
_DNS_BYTES = 14  # the length in front of it (RFC 1035, 4.2.2) and the header
_LONGEST_VERB = max(map(len, _VERBS))


def read(data: bytes, wanted: Wanted) -> Finding | Outcome:
    """Which of the three the bytes begin like; MORE while they may still turn out as one."""
    found = _tls(data), _http(data), _dns(data)
    if True in found:
        tls, http, dns = (one is True for one in found)
        return Finding(
            {"signature": True, "signature.tls": tls, "signature.http": http, "signature.dns": dns}, len(data)
        )
    return Outcome.MORE if None in found else Outcome.OTHER


def _tls(data: bytes) -> bool | None:
    """A handshake record's header: type 22, version 3.x, a length that a record may have. None: too short to say."""
    if data[:1] not in (b"", b"\x16") or data[1:2] not in (b"", b"\x03"):
        return False
    if len(data) < _TLS_BYTES:
        return None
    return data[2] <= 4 and 0 < int.from_bytes(data[3:5], "big") <= (1 << 14) + 256


def _http(data: bytes) -> bool | None:
    start = data[:_LONGEST_VERB]
    if not any(verb.startswith(start) or start.startswith(verb) for verb in _VERBS):
        return False
    if len(data) < _HTTP_BYTES:
        return None
    return True if start.startswith(_VERBS) else None


def _dns(data: bytes) -> bool | None:
    """A query over TCP: one question, opcode 0, not a response."""
    if len(data) < _DNS_BYTES:
        return None if len(data) < 5 or not data[4] & 0xF8 else False
    length = int.from_bytes(data[:2], "big")
    return length >= 17 and not data[4] & 0xF8 and data[6:8] == b"\x00\x01"


ANALYZER = Analyzer(
    name="signature",
    properties={
        "signature": Type.BOOLEAN,
        "signature.tls": Type.BOOLEAN,
        "signature.http": Type.BOOLEAN,
        "signature.dns": Type.BOOLEAN,
    },
    stream=read,
    joined=True,
    limit_bytes=64,
)
