"""censor/fingerprints.py"""

from __future__ import annotations

import pytest

from censor.fingerprints import ja3, ja4


@pytest.mark.parametrize(
    ("fields", "digest"),
    [  # from JA3's README
        (
            "769,47-53-5-10-49161-49162-49171-49172-50-56-19-4,0-10-11,23-24-25,0",
            "ada70206e40642a3e4461f35503241d5",
        ),
        ("769,4-5-10-9-100-98-3-6-19-18-99,,,", "de350869b8c85de67a350c8d186f11e6"),
    ],
)
def test_published_ja3(fields: str, digest: str) -> None:
    lists = [[int(number) for number in field.split("-") if number] for field in fields.split(",")]
    [version], suites, extensions, groups, point_formats = lists
    assert ja3(version, suites, extensions, groups, point_formats) == digest
    suites, extensions, groups = [0x0A0A, *suites], [*extensions, 0xFAFA], [0x1A1A, *groups]
    assert ja3(version, suites, extensions, groups, point_formats) == digest


def numbers(text: str) -> list[int]:
    return [int(number, 16) for number in text.split(",")]


# From technical_details/JA4.md
SUITES = numbers("1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035")
EXTENSIONS = numbers("001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,0015")
SIGNATURES = numbers("0403,0804,0401,0503,0805,0501,0806,0601")


def test_published_ja4() -> None:
    published = "t13d1516h2_8daaf6152771_e5627efa2ab1"
    assert ja4("t", 0x0304, SUITES, EXTENSIONS, b"h2", SIGNATURES) == published
    grease = [0x1A1A]
    assert ja4("t", 0x0304, grease + SUITES, EXTENSIONS + grease, b"h2", grease + SIGNATURES) == published
    assert ja4("q", 0x0304, SUITES, EXTENSIONS, b"h2", []) == "q13d1516h2_8daaf6152771_6d807ffa2a79"


def test_ja4_of_what_is_not_there() -> None:
    assert ja4("t", 0x0303, [], [], b"", []) == "t12i000000_000000000000_000000000000"
    assert ja4("t", 0x0303, [], [0, 16], b"", [0x0403]) == "t12d000200_000000000000_000000000000"
    assert ja4("t", 0x7F1C, range(1, 150), range(1, 150), b"", []).startswith("t00i999900_")


@pytest.mark.parametrize(
    ("alpn", "ends"),
    [  # the last five from technical_details/JA4.md
        (b"http/1.1", "h1"),
        (b"x", "xx"),
        (b"\xab", "ab"),
        (b"\xab\xcd", "ad"),
        (b"\x30\xab", "3b"),
        (b"\x30\x31\xab\xcd", "3d"),
        (b"\x30\xab\xcd\x31", "01"),
    ],
)
def test_ja4_of_the_first_protocol(alpn: bytes, ends: str) -> None:
    assert ja4("t", 0x0300, [1], [], alpn, []).startswith(f"ts3i0100{ends}_")
