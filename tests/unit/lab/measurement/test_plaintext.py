"""Plaintext is found wherever somebody on the way could read it, and nowhere else."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from lab.measurement.packets import parse
from lab.measurement.plaintext import LEAST_MARKER_BYTES, body, find_in_files, find_plaintext
from lab.measurement.tls_records import parse_key_log
from tests.unit.lab.measurement.traffic import (
    CLIENT,
    MESSENGER,
    PROXY,
    RESOLVER,
    UPGRADE,
    Connection,
    Frame,
    Tls,
    pcap,
    tcp,
    udp,
    websocket,
)

MARKER = "0f1e2d3c4b5a6978"


def found(frames: list[Frame], key_log: str = "") -> list[str]:
    packets = list(parse(pcap(frames), start=1_795_000_000.25))
    return find_plaintext(packets, parse_key_log(key_log), MARKER, client_addresses=[CLIENT])


def test_a_message_begins_with_the_marker() -> None:
    assert body(MARKER, 20, b"filler") == MARKER.encode() + b"fill"
    assert body(MARKER, 4, b"filler") == b"0f1e"
    assert body("", 4, b"filler") == b"fill"


@pytest.mark.parametrize(
    "form",
    [
        MARKER.encode(),
        MARKER.encode().hex().encode(),
        MARKER.encode().hex().upper().encode(),
        *(base64.b64encode(b"x" * before + MARKER.encode() + b"yz") for before in range(4)),
    ],
)
def test_in_a_packet_in_any_form(form: bytes) -> None:
    (line,) = found([(1.5, udp((CLIENT, 5), (RESOLVER, 53), b"..." + form + b"..."))])
    assert line == "1.500 s: in a packet 192.0.2.10 port 5 > 198.18.0.53 port 53"


def test_split_over_two_segments() -> None:
    parts = MARKER[:5].encode(), MARKER[5:].encode()
    frames = [
        (1.0, tcp((CLIENT, 5), (MESSENGER, 80), "PA", 1, 1, parts[0])),
        (1.1, tcp((CLIENT, 5), (MESSENGER, 80), "PA", 6, 1, parts[1])),
    ]
    assert found(frames) == ["1.000 s: in the stream 192.0.2.10 port 5 > 203.0.113.10 port 80"]


@pytest.mark.parametrize("server", [(MESSENGER, 443), (PROXY, 1080)])
def test_inside_tls_under_a_websockets_mask(tmp_path: Path, server: tuple[str, int]) -> None:
    connection = Connection(Tls(tmp_path), 40000, server)
    connection.open(1.0)
    keys = (tmp_path / "keys.log").read_text()
    assert found(connection.home, keys) == []
    masked = websocket(b"record:" + MARKER.encode(), mask=b"\x51\x9c\x03\xee")
    connection.put("up", 2.0, "PA", connection.tls.up(masked))
    (line,) = found(connection.home, keys)
    assert line == f"1.000 s: inside TLS (1) in the stream 192.0.2.10 port 40000 > {server[0]} port {server[1]}"
    assert found(connection.home) == [], "without keys nobody can say"


def test_inside_tls_inside_tls(tmp_path: Path) -> None:
    """TLS to a proxy, and in it, behind the proxy's own words, TLS to the origin."""
    folders = tmp_path / "outer", tmp_path / "inner"
    for folder in folders:
        folder.mkdir()
    outer, inner = (Tls(folder) for folder in folders)
    connection = Connection(outer, 40000, (PROXY, 1443))
    for direction, data in outer.handshake():
        connection.put(direction, 1.0, "PA", data)
    for direction, data in inner.handshake():
        connection.put(direction, 1.1, "PA", outer.up(data) if direction == "up" else outer.down(data))
    connection.put("up", 1.2, "PA", outer.up(inner.up(UPGRADE)))
    connection.put("down", 1.3, "PA", outer.down(inner.down(MARKER.encode())))
    keys = "".join((folder / "keys.log").read_text() for folder in folders)
    (line,) = found(connection.home, keys)
    assert "inside TLS (2)" in line


def test_a_short_marker_is_refused() -> None:
    with pytest.raises(ValueError, match=f"of 2 bytes, expected at least {LEAST_MARKER_BYTES}"):
        find_plaintext([], {}, "ab", client_addresses=[])


def test_in_files(tmp_path: Path) -> None:
    (tmp_path / "quiet.log").write_text("nothing here")
    (tmp_path / "origin.log").write_text(f"got {MARKER}!")
    assert find_in_files(sorted(tmp_path.iterdir()), MARKER) == ["in the file origin.log"]
