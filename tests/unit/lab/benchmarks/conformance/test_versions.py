"""Versions of peers, from what they say."""

from __future__ import annotations

import sys

import pytest

from lab.benchmarks.conformance.versions import parse, version
from lab.benchmarks.peers import Peer


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("Dante v1.4.2.  Copyright (c) 1997 - 2014", "1.4.2"),
        ("OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.19", "9.2p1"),
        ("sing-box version 1.14.4\n\nEnvironment: go1.24", "1.14.4"),
        ("1.0.3-2", "1.0.3-2"),
        ("usage: x", ""),
    ],
)
def test_the_first_number_is_the_version(said: str, number: str) -> None:
    assert parse(said) == number


def peer(*command: str, program: str = sys.executable) -> Peer:
    return Peer("x", (program,), "", lambda place: [], version=command)


def test_a_peer_is_asked() -> None:
    assert version(peer("{}", "--version")) == ".".join(map(str, sys.version_info[:3]))


@pytest.mark.parametrize(
    "silent", [peer(), peer("{}", program="no-such-program"), peer("no-such-program")], ids=["", "missing", "unknown"]
)
def test_a_peer_that_cannot_be_asked(silent: Peer) -> None:
    assert version(silent) == ""
