"""censor/analyzers/ssh.py"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from censor.analyzers import Finding, Outcome
from censor.analyzers.ssh import ANALYZER, identification

BANNER = b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n"


def read(data: bytes) -> Finding | Outcome:
    return identification(data, frozenset(ANALYZER.properties))


def ssh(version: str, software: str, consumed: int) -> Finding:
    return Finding({"ssh": True, "ssh.version": version, "ssh.software": software}, consumed)


def test_an_identification_whole_byte_by_byte_and_with_bytes_behind_it() -> None:
    found = ssh("2.0", "OpenSSH_9.2p1", len(BANNER))
    assert read(BANNER) == found
    assert read(BANNER + b"\0\0\5\x2c") == found
    assert [read(BANNER[:length]) for length in range(len(BANNER))] == [Outcome.MORE] * len(BANNER)


def test_what_clients_may_leave_out() -> None:
    assert read(b"SSH-1.99-x\n") == ssh("1.99", "x", 11)  # no comment, no CR
    assert read(b"SSH-2.0-PuTTY_Release-0.8\r\n") == ssh("2.0", "PuTTY_Release-0.8", 27)
    assert read(b"SSH-2.0-\xff\r\n") == ssh("2.0", "\\xff", 11)


@pytest.mark.parametrize(
    "data", [b"ssh-2.0-x\r\n", b"GET /", b"SSH2", b"SSH-2.0\r\n", b"SSH--x\r\n", b"SSH-2.0-\r\n", b"SSH-2.0- x\r\n"]
)
def test_something_else(data: bytes) -> None:
    assert read(data) is Outcome.OTHER


def test_255_bytes_at_most() -> None:
    longest = b"SSH-2.0-".ljust(253, b"x") + b"\r\n"
    assert read(longest) == ssh("2.0", "x" * 245, 255)
    assert read(b"SSH-2.0-".ljust(254, b"x")) is Outcome.MORE
    assert read(b"SSH-2.0-".ljust(254, b"x") + b"\r\n") is Outcome.OTHER
    assert ANALYZER.limit_bytes == 255


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda tail: b"SSH-" + tail))
def test_any_bytes_are_good_input_and_cuts_do_not_matter(data: bytes) -> None:
    whole = read(data)
    first = next((o for n in range(len(data)) if (o := read(data[:n])) is not Outcome.MORE), whole)
    assert first == whole
    assert whole is not Outcome.MORE or len(data) < ANALYZER.limit_bytes
