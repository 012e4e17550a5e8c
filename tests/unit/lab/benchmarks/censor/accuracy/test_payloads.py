"""lab/benchmarks/censor/accuracy/payloads.py: read by the censor's analyzers and by others."""

from __future__ import annotations

import random

import dns.message
import pytest

from censor.analyzers import Analyzer, Finding, entropy, http, quic, tls
from censor.properties import Properties
from lab.benchmarks.censor.accuracy import payloads


def read(analyzer: Analyzer, data: bytes) -> Properties:
    wanted = frozenset(analyzer.properties)
    if analyzer.stream is not None:
        found = analyzer.stream(data, wanted)
    elif analyzer.datagram is not None:
        found = analyzer.datagram()(data, wanted)
    else:
        assert analyzer.first_payload is not None
        found = analyzer.first_payload(data, wanted)
    assert isinstance(found, Finding)
    return found.properties


def test_hello() -> None:
    found = read(tls.ANALYZER, payloads.client_hello("a.example"))
    assert (found["tls.sni"], found["tls.records"]) == ("a.example", 1)


def test_hello_in_records() -> None:
    found = read(tls.ANALYZER, payloads.in_records(payloads.client_hello("a.example"), 30))
    assert (found["tls.sni"], found["tls.records"]) == ("a.example", 2)


def test_hello_with_another_extension() -> None:
    plain = payloads.client_hello("a.example")
    assert not read(tls.ANALYZER, plain)["tls.esni"]
    more = payloads.with_extension(plain, payloads.ESNI, bytes(64))
    assert len(more) == len(plain) + 4 + 64
    found = read(tls.ANALYZER, more)
    assert (found["tls.sni"], found["tls.esni"]) == ("a.example", True)


def test_request() -> None:
    found = read(http.ANALYZER, payloads.http_request("a.example", "/x?y"))
    assert (found["http.host"], found["http.path"]) == ("a.example", "/x?y")


@pytest.mark.parametrize("version", [1, 2])
def test_initial(version: int) -> None:
    data = payloads.quic_initial("a.example", version)
    assert len(data) >= 1200  # RFC 9000, section 14.1
    found = read(quic.ANALYZER, data)
    assert (found["quic.sni"], found["quic.version"]) == ("a.example", {1: 1, 2: 0x6B3343CF}[version])


def test_query() -> None:
    wire = payloads.dns_query("a.example", "AAAA", 7)
    assert dns.message.from_wire(wire).question[0].to_text() == "a.example. IN AAAA"
    assert payloads.over_tcp(wire) == len(wire).to_bytes(2, "big") + wire


@pytest.mark.parametrize("seed", range(20))
def test_bytes_like_nothing(seed: int) -> None:
    chance = random.Random(seed)
    assert read(entropy.ANALYZER, payloads.encrypted(chance, 800))["entropy"] is True
    few = payloads.few_bits(chance, 800)
    found = read(entropy.ANALYZER, few)
    assert (len(few), found["entropy"], found["entropy.printable_first"]) == (800, False, False)
    assert isinstance(bits := found["entropy.bits_per_byte"], float)
    assert bits < 3.4
