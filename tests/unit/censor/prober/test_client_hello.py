"""censor/prober/client_hello.py: OpenSSL, which did not write it, takes it for what it is."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from censor.prober.client_hello import client_hello
from client.certificates import write_self_signed

ALERT, HANDSHAKE = 21, 22
SERVER_HELLO = 2
PROTOCOL_VERSION = 70  # RFC 8446 section 6


def answer(data: bytes, least: ssl.TLSVersion, folder: Path) -> bytes:
    """What a TLS server says to `data`."""
    files = write_self_signed(folder, ["messenger.example"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    context.minimum_version = least
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    incoming.write(data)
    with pytest.raises(ssl.SSLError):  # SSLWantReadError among them
        context.wrap_bio(incoming, outgoing, server_side=True).do_handshake()
    return outgoing.read()


def test_it_is_one_record_with_one_hello() -> None:
    data = client_hello(bytes(range(32)))
    assert data[:3] == b"\x16\x03\x01"
    assert int.from_bytes(data[3:5], "big") == len(data) - 5
    assert data[5] == 1
    assert int.from_bytes(data[6:9], "big") == len(data) - 9
    assert data[11:43] == bytes(range(32))


def test_a_server_greets_back(tmp_path: Path) -> None:
    said = answer(client_hello(bytes(32)), ssl.TLSVersion.TLSv1_2, tmp_path)
    assert (said[0], said[5]) == (HANDSHAKE, SERVER_HELLO)


def test_one_that_has_tls_1_3_alone_says_so(tmp_path: Path) -> None:
    said = answer(client_hello(bytes(32)), ssl.TLSVersion.TLSv1_3, tmp_path)
    assert (said[0], said[6]) == (ALERT, PROTOCOL_VERSION)
