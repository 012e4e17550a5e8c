"""TLS 1.3 records opened with the key log, on what OpenSSL writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from lab.measurement.tls_records import _SUITES, KeyLog, _application_data, _Keys, decrypt, parse_key_log
from tests.unit.lab.measurement.traffic import Tls


@pytest.fixture
def talk(tmp_path: Path) -> tuple[bytes, bytes, KeyLog]:
    """Both directions of a short conversation, and its keys."""
    tls = Tls(tmp_path)
    sides = {"up": b"", "down": b""}
    for direction, data in tls.handshake():
        sides[direction] += data
    sides["up"] += tls.up(b"ping") + tls.up(b"x" * 20000)
    sides["down"] += tls.down(b"pong")
    return sides["up"], sides["down"], parse_key_log((tmp_path / "keys.log").read_text())


def test_application_data_in_both_directions(talk: tuple[bytes, bytes, KeyLog]) -> None:
    up, down, keys = talk
    sent, received = decrypt(up, down, keys)
    assert b"".join(record.data for record in sent) == b"ping" + b"x" * 20000
    assert [record.data for record in received] == [b"pong"]
    assert sent[-1].end == len(up)
    assert all(up[record.start : record.start + 3] == b"\x17\x03\x03" for record in sent)


def test_a_proxys_handshake_may_stand_in_front(talk: tuple[bytes, bytes, KeyLog]) -> None:
    up, down, keys = talk
    socks = b"\x05\x01\x00\x05\x01\x00\x03\x04\x16\x03ab\x01\xbb"  # a name that looks like the start of a record
    sent, received = decrypt(socks + up, b"\x05\x00\x05\x00\x00\x01\0\0\0\0\0\0" + down, keys)
    assert (sent[0].data, received[0].data) == (b"ping", b"pong")


@pytest.mark.parametrize("cut", [2, 40])
def test_a_hello_may_be_split_over_records(talk: tuple[bytes, bytes, KeyLog], cut: int) -> None:
    up, down, keys = talk
    hello_end = 5 + int.from_bytes(up[3:5])
    parts = up[5 : 5 + cut], up[5 + cut : hello_end]
    split = b"".join(up[:3] + len(part).to_bytes(2) + part for part in parts)
    assert decrypt(split + up[hello_end:], down, keys)[0][0].data == b"ping"
    assert decrypt(split[: 5 + cut], down, keys) == ([], [])  # the rest of the hello never came


def test_every_cut_gives_what_was_whole(talk: tuple[bytes, bytes, KeyLog]) -> None:
    up, down, keys = talk
    sent, _ = decrypt(up, down, keys)
    for cut in range(0, len(up), 97):
        assert decrypt(up[:cut], down, keys)[0] == [record for record in sent if record.end <= cut]


def test_a_record_that_does_not_open_ends_its_direction_quietly(talk: tuple[bytes, bytes, KeyLog]) -> None:
    up, down, keys = talk
    sent, _ = decrypt(up, down, keys)
    broken = bytearray(up)
    broken[sent[1].start + 10] ^= 1
    assert decrypt(bytes(broken), down, keys)[0] == sent[:1]


def test_a_record_that_is_none_ends_its_direction(talk: tuple[bytes, bytes, KeyLog]) -> None:
    up, down, keys = talk
    assert decrypt(up + b"GET / HTTP/1.1\r\n", down, keys)[0] == decrypt(up, down, keys)[0]


@pytest.mark.parametrize("label", ["CLIENT_TRAFFIC_SECRET_0", "CLIENT_HANDSHAKE_TRAFFIC_SECRET"])
def test_a_key_that_is_not_in_the_log(talk: tuple[bytes, bytes, KeyLog], label: str) -> None:
    up, down, keys = talk
    poorer = {random: {k: v for k, v in of_it.items() if k != label} for random, of_it in keys.items()}
    assert decrypt(up, down, poorer)[0] == []
    assert decrypt(up, down, {}) == ([], [])


def test_without_tls_there_is_nothing(talk: tuple[bytes, bytes, KeyLog]) -> None:
    up, down, keys = talk
    assert decrypt(b"GET / HTTP/1.1\r\n\r\n", down, keys) == ([], [])
    assert decrypt(up, b"HTTP/1.1 200 OK\r\n\r\n", keys) == ([], [])
    assert decrypt(up[:20], down, keys) == ([], [])


def test_an_unknown_cipher_suite_is_nothing(talk: tuple[bytes, bytes, KeyLog]) -> None:
    up, down, keys = talk
    at = down.index(b"\x16\x03\x03") + 5 + 4 + 2 + 32
    suite_at = at + 1 + down[at]
    assert decrypt(up, down[:suite_at] + b"\xc0\x2f" + down[suite_at + 2 :], keys) == ([], [])


def test_only_lines_that_are_keys_count() -> None:
    assert parse_key_log("# a comment with words\n\nLABEL 0a0b ff\nLABEL\n") == {b"\x0a\x0b": {"LABEL": b"\xff"}}


# RFC 8448 section 3, "Simple 1-RTT Handshake": the server's application keys and its record with 50 bytes.
SECRET = bytes.fromhex("a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643")


def test_keys_are_derived_as_in_rfc_8448() -> None:
    keys = _Keys(_SUITES[0x1301], SECRET)
    assert keys._expand("key", 16).hex() == "9f02283b6c9c07efc26bb9f2ac92e356"
    assert keys._expand("iv", 12).hex() == "cf782b88dd83549aadf1e984"


def test_a_key_update_changes_the_keys() -> None:
    suite, secret = _SUITES[0x1303], bytes(range(32))

    def seal(keys: _Keys, count: int, content: bytes, kind: int) -> bytes:
        inner = content + bytes([kind]) + bytes(3)  # with padding
        header = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2)
        nonce = (int.from_bytes(keys._expand("iv", 12)) ^ count).to_bytes(12)
        return header + ChaCha20Poly1305(keys._expand("key", 32)).encrypt(nonce, inner, header)

    handshake, first = _Keys(suite, bytes(32)), _Keys(suite, secret)
    stream = seal(handshake, 0, b"\x14\0\0\0", 22)  # Finished
    stream += (
        seal(first, 0, b"before", 23) + seal(first, 1, b"\x18\0\0\x01\0", 22) + seal(first.next(), 0, b"after", 23)
    )
    empty = seal(first.next(), 1, b"", 0)  # nothing but padding: no content type
    secrets = {"CLIENT_HANDSHAKE_TRAFFIC_SECRET": bytes(32), "CLIENT_TRAFFIC_SECRET_0": secret}
    records = _application_data(stream + empty, 0, suite, secrets, "CLIENT")
    assert [record.data for record in records] == [b"before", b"after"]
