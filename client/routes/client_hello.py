"""Where the server's name stands in a ClientHello, and how it is cut up (RFC 8446 sections 4.1.2 and 5.1, RFC 6066
section 3). Sans-IO.

A TLS client writes whole records. Those of its first flight are looked at one by one, up to the first one of
application data: after a HelloRetryRequest there is a second ClientHello, with the name in it again.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

HEADER_BYTES = 5
_HANDSHAKE, _APPLICATION_DATA = 22, 23
_CLIENT_HELLO = 1
_SERVER_NAME = 0  # the extension's type, and that of a host's name in it


def server_name_span(record: bytes) -> tuple[int, int] | None:
    """Begin and end of the server's name in a TLS record; None if the record is no ClientHello that has one."""
    try:
        return _span(record)
    except IndexError:
        return None


def in_records(record: bytes, count: int) -> bytes:
    """The same handshake message in up to `count` records, all cuts inside the server's name; else as it is."""
    span = server_name_span(record)
    if span is None:
        return record
    begin, end = span
    cuts = sorted({begin + (end - begin) * number // count for number in range(1, count)})
    edges = [HEADER_BYTES, *cuts, len(record)]
    pieces = [record[start:stop] for start, stop in itertools.pairwise(edges)]
    return b"".join(record[:3] + len(piece).to_bytes(2, "big") + piece for piece in pieces)


def cut_in_two(data: bytes) -> tuple[bytes, bytes]:
    """What a TLS client writes at once, cut in the middle of the server's name; without one there is no second part."""
    at = 0
    for record in records(data):
        if (span := server_name_span(record)) is not None:
            middle = at + (span[0] + span[1]) // 2
            return data[:middle], data[middle:]
        at += len(record)
    return data, b""


def records(data: bytes) -> Iterator[bytes]:
    """The TLS records in `data`, the last one as long as it is."""
    while data:
        length = HEADER_BYTES + int.from_bytes(data[3:5], "big")
        yield data[:length]
        data = data[length:]


def begins_application_data(data: bytes) -> bool:
    """Whether one of the records has application data: there is no ClientHello after it."""
    return any(record[0] == _APPLICATION_DATA for record in records(data))


def _span(record: bytes) -> tuple[int, int] | None:
    whole = HEADER_BYTES + int.from_bytes(record[3:5], "big")
    message_bytes = int.from_bytes(record[6:9], "big")
    if record[0] != _HANDSHAKE or record[HEADER_BYTES] != _CLIENT_HELLO:
        return None
    if len(record) != whole or whole != HEADER_BYTES + 4 + message_bytes:
        return None
    at = HEADER_BYTES + 4 + 2 + 32
    at += 1 + record[at]  # session id
    at += 2 + _number(record, at)  # cipher suites
    at += 1 + record[at]  # compression methods
    end = at + 2 + _number(record, at)
    at += 2
    while at + 4 <= end:
        type_, length = _number(record, at), _number(record, at + 2)
        # The list's length, then the type and the length of its first name.
        if type_ == _SERVER_NAME and length > 5 and record[at + 6] == _SERVER_NAME:
            begin, name_end = at + 9, at + 9 + _number(record, at + 7)
            return (begin, name_end) if name_end <= len(record) else None
        at += 4 + length
    return None


def _number(record: bytes, at: int) -> int:
    """Two bytes. Raises IndexError behind the end."""
    return record[at] << 8 | record[at + 1]
