from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.attachments.pieces import (
    CHUNK_BYTES,
    NAME_LIMIT_BYTES,
    Cancel,
    Chunk,
    Offer,
    Piece,
    chunks,
    decode,
    encode,
    safe_name,
)

PIECES: list[Piece] = [Offer(1, "a.txt", 5, b"h" * 32), Chunk(1, 32768, b"\x00\xff"), Cancel(1, "changed")]


@pytest.mark.parametrize("piece", PIECES, ids=lambda piece: type(piece).__name__)
def test_there_and_back_and_no_prefix_is_one(piece: Piece) -> None:
    body = encode(piece)
    assert decode(body) == piece
    for cut in (*(body[:length] for length in range(len(body))), body + b"\0"):
        with pytest.raises(ValueError, match=r"MessagePack|truncated|malformed"):
            decode(cut)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_piece_or_an_error(body: bytes) -> None:
    try:
        piece = decode(body)
    except ValueError:
        return
    assert decode(encode(piece)) == piece


def test_numbers_are_those_that_a_database_takes() -> None:
    for piece in (Offer(2**63, "a", 1, b""), Offer(1, "a", -1, b""), Chunk(1, 2**63, b"")):
        with pytest.raises(ValueError, match="int"):
            decode(encode(piece))


@pytest.mark.parametrize(("size", "count"), [(0, 0), (1, 1), (CHUNK_BYTES, 1), (CHUNK_BYTES + 1, 2), (64 << 20, 2048)])
def test_chunks_of_a_file(size: int, count: int) -> None:
    assert chunks(size) == count


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("holiday photo.jpg", "holiday photo.jpg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Windows\\system.ini", "system.ini"),
        ("/", "attachment"),
        ("..", "attachment"),
        (".bashrc", "bashrc"),
        ("a\nb\0c", "a_b_c"),
        ("invoice\u202efdp.exe", "invoice_fdp.exe"),
        ("what?.txt", "what_.txt"),
        ("Straße.txt", "Straße.txt"),
        ("x" * 300 + ".tar", "x" * (NAME_LIMIT_BYTES - 4) + ".tar"),
        ("ü" * 300, "ü" * (NAME_LIMIT_BYTES // 2)),
        ("a." + "e" * 300, ("a." + "e" * 300)[:NAME_LIMIT_BYTES]),
        ("", "attachment"),
    ],
)
def test_names_stay_in_their_folder_and_are_seen_as_they_are(name: str, safe: str) -> None:
    assert safe_name(name) == safe


@given(st.text(max_size=400))
def test_any_name_becomes_one_that_a_file_can_have(name: str) -> None:
    safe = safe_name(name)
    assert 0 < len(safe.encode()) <= NAME_LIMIT_BYTES
    assert not set(safe) & set('/\\\0\n<>:"|?*')
    assert not safe.startswith(".")
