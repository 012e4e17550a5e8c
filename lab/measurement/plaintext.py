"""Plaintext: whether what the users said can be read anywhere on the way, out of a run's captures, key log and logs.

Each message of a run begins with the run's marker, random text that is nowhere else. It is looked for as it is and as
hexadecimal or Base64 text, in every packet, in every TCP stream of the client's put together (a marker may be split
over segments), and in what is inside TLS (`lab.measurement.tls_records`): what the origin can read, and, where TLS
leads to a proxy first, what that can read. WebSocket masks (RFC 6455 section 5.3) are taken off.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from lab.measurement.packets import Endpoint, Packet
from lab.measurement.streams import conversations
from lab.measurement.tls_records import KeyLog, decrypt
from lab.measurement.websocket_frames import messages

LEAST_MARKER_BYTES = 12
"""A shorter one is found by chance, sooner or later."""
_LAYERS = 2  # TLS to a proxy, and inside it TLS to the origin


def body(marker: str, message_bytes: int, filler: bytes) -> bytes:
    """A message of `message_bytes`: the marker, then random bytes (`filler`, at least so many)."""
    return (marker.encode() + filler)[:message_bytes]


def find_plaintext(
    packets: Sequence[Packet], key_log: KeyLog, marker: str, *, client_addresses: Iterable[str]
) -> list[str]:
    """Where the marker can be read, each place as a line for a person; empty: nowhere.

    Raises ValueError for a marker of less than LEAST_MARKER_BYTES.
    """
    if len(marker) < LEAST_MARKER_BYTES:
        raise ValueError(f"a marker of {len(marker)} bytes, expected at least {LEAST_MARKER_BYTES}")
    needles = _forms(marker.encode())
    found = [f"{p.t:.3f} s: in a packet {_flow(p.source, p.destination)}" for p in packets if _has(p.payload, needles)]
    for one in conversations(packets, client_addresses):
        flow = _flow(one.client, one.server)
        sides = bytes(one.upstream.data), bytes(one.downstream.data)
        if any(_has(side, needles) for side in sides):
            found.append(f"{one.opened:.3f} s: in the stream {flow}")
        for layer, insides in enumerate(_insides(*sides, key_log), 1):
            if any(_has(inside, needles) for inside in insides):
                found.append(f"{one.opened:.3f} s: inside TLS ({layer}) in the stream {flow}")
    return found


def find_in_files(files: Iterable[Path], marker: str) -> list[str]:
    """The files that have the marker: logs of those who are not to know it. Raises OSError."""
    needles = _forms(marker.encode())
    return [f"in the file {file.name}" for file in files if _has(file.read_bytes(), needles)]


def _insides(upstream: bytes, downstream: bytes, key_log: KeyLog) -> Iterator[tuple[bytes, ...]]:
    """What is inside the streams' TLS, layer by layer, the bytes of both directions and the WebSocket messages."""
    for _ in range(_LAYERS):
        records = decrypt(upstream, downstream, key_log)
        upstream, downstream = (b"".join(record.data for record in side) for side in records)
        if not upstream and not downstream:
            return
        unmasked = (message.data for side in (upstream, downstream) for message in messages(side))
        yield upstream, downstream, *unmasked


def _forms(marker: bytes) -> list[bytes]:
    """The marker as it is, as hexadecimal, and as Base64 text at each of the three places where it may begin."""
    forms = [marker, marker.hex().encode(), marker.hex().upper().encode()]
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + marker)
        # What also depends on the bytes before and behind is left out.
        forms.append(encoded[(before * 8 + 5) // 6 : (before + len(marker)) * 8 // 6])
    return forms


def _has(data: bytes, needles: Iterable[bytes]) -> bool:
    return any(needle in data for needle in needles)


def _flow(source: Endpoint, destination: Endpoint) -> str:
    return f"{source[0]} port {source[1]} > {destination[0]} port {destination[1]}"
