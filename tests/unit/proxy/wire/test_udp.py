"""Datagrams of UDP ASSOCIATE, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire import Address, AddressType, Datagram, Fault, ProtocolError, read_datagram, write_datagram
from proxy.wire.udp import DATAGRAM_HEADER_LIMIT_BYTES
from tests.unit.proxy.wire.contract import clean_addresses

TARGET = Address.of("192.0.2.1", 53)
HEADER = b"\x00\x00\x00\x01\xc0\x00\x02\x01\x00\x35"


def test_bytes_of_a_datagram() -> None:
    assert write_datagram(Datagram(0, TARGET, b"data")) == HEADER + b"data"
    assert write_datagram(Datagram(0x82, TARGET, b"")) == b"\x00\x00\x82" + HEADER[3:]


@given(st.builds(Datagram, st.integers(0, 255), clean_addresses, st.binary()))
def test_what_is_written_is_read(datagram: Datagram) -> None:
    data = write_datagram(datagram)
    assert read_datagram(data) == datagram
    assert len(data) - len(datagram.data) <= DATAGRAM_HEADER_LIMIT_BYTES


@given(st.one_of(st.binary(), st.binary().map(lambda data: b"\x00\x00\x00\x03" + data)))
def test_any_bytes_give_a_datagram_or_a_remote_error(data: bytes) -> None:
    try:
        outcome: object = read_datagram(data)
    except ProtocolError as error:
        outcome = error.fault, error.reply
    assert isinstance(outcome, Datagram) or outcome == (Fault.REMOTE, b"")


def test_every_datagram_that_ends_within_its_header_is_refused() -> None:
    for header in (HEADER, write_datagram(Datagram(0, Address.of("a.example", 53), b""))):
        assert read_datagram(header).data == b""
        for size in range(len(header)):
            with pytest.raises(ProtocolError):
                read_datagram(header[:size])


@pytest.mark.parametrize("data", [b"\x00\x00\x00\x02" + bytes(20), b"\x00\x00\x00\x03\x03a\r\n\x00\x35"])
def test_what_is_no_datagram(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        read_datagram(data)


def test_an_ip_literal_in_the_place_of_a_domain_is_an_address() -> None:
    data = write_datagram(Datagram(0, Address(AddressType.DOMAIN, "[::1]", 53), b""))
    assert read_datagram(data).target == Address.of("::1", 53)


@pytest.mark.parametrize(
    "datagram", [Datagram(256, TARGET, b""), Datagram(-1, TARGET, b""), Datagram(0, Address.of("a" * 256, 1), b"")]
)
def test_what_the_format_cannot_carry_is_our_fault(datagram: Datagram) -> None:
    with pytest.raises(ProtocolError) as raised:
        write_datagram(datagram)
    assert raised.value.fault is Fault.LOCAL


def test_data_is_not_shown() -> None:
    assert "secret" not in repr(Datagram(0, TARGET, b"secret"))
