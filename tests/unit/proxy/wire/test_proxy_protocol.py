"""The PROXY protocol, both versions, whole and cut; and what is no header."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire import Address, Fault, ProtocolError, ProxyHeader, read_proxy_header, write_proxy_header
from proxy.wire.proxy_protocol import EXTENSIONS_LIMIT_BYTES, PROXY_HEADER_LIMIT_BYTES, SIGNATURE, TEXT_LIMIT_BYTES
from tests.unit.proxy.wire.contract import check_any_bytes, check_message, ipv4_addresses, ipv6_addresses

SOURCE, DESTINATION = Address.of("192.0.2.1", 56324), Address.of("198.51.100.1", 443)
ADDRESSES = b"\xc0\x00\x02\x01\xc6\x33\x64\x01\xdc\x04\x01\xbb"
pairs = st.one_of(
    st.tuples(ipv4_addresses, ipv4_addresses), st.tuples(ipv6_addresses, ipv6_addresses), st.just((None, None))
)


def binary(command: int, kind: int, data: bytes) -> bytes:
    return SIGNATURE + bytes((0x20 | command, kind)) + len(data).to_bytes(2, "big") + data


def test_bytes_of_both_versions() -> None:
    assert write_proxy_header(SOURCE, DESTINATION, 1) == b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n"
    assert write_proxy_header(SOURCE, DESTINATION, 2) == binary(1, 0x11, ADDRESSES)
    assert write_proxy_header(Address.of("::1", 1), Address.of("::2", 2), 1) == b"PROXY TCP6 ::1 ::2 1 2\r\n"
    assert write_proxy_header(None, None, 1) == b"PROXY UNKNOWN\r\n"
    assert write_proxy_header(None, None, 2) == binary(0, 0, b"")


@given(pairs, st.sampled_from([1, 2]), st.binary(max_size=20))
def test_whole_byte_by_byte_and_with_bytes_behind(
    pair: tuple[Address | None, Address | None], version: int, behind: bytes
) -> None:
    data = write_proxy_header(*pair, 1 if version == 1 else 2)
    limit_bytes = TEXT_LIMIT_BYTES if version == 1 else PROXY_HEADER_LIMIT_BYTES
    check_message(read_proxy_header, data, ProxyHeader(*pair), limit_bytes, behind)


@given(
    st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11", SIGNATURE + b"\x21\x21\x00"]),
    st.binary(),
    st.booleans(),
)
def test_any_bytes_give_a_header_or_a_remote_error_and_never_want_more_than_the_limit(
    front: bytes, rest: bytes, full: bool
) -> None:
    check_any_bytes(read_proxy_header, front + rest, PROXY_HEADER_LIMIT_BYTES, full=full)


@pytest.mark.parametrize(
    "data",
    [
        b"PROXY UNKNOWN ffff:f:f:f:f:f:f:f whatever 65535 65535\r\n",
        b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n",
        binary(0, 0x11, ADDRESSES),
        binary(1, 0x00, b""),
        binary(1, 0x12, ADDRESSES),
        binary(1, 0x31, bytes(216)),
        binary(0, 0, bytes(EXTENSIONS_LIMIT_BYTES)),
    ],
)
def test_headers_that_name_no_tcp_addresses(data: bytes) -> None:
    check_message(read_proxy_header, data, ProxyHeader(), PROXY_HEADER_LIMIT_BYTES, b"behind")


def test_extensions_are_skipped() -> None:
    data = binary(1, 0x11, ADDRESSES + b"\x04\x00\x03abc")
    check_message(read_proxy_header, data, ProxyHeader(SOURCE, DESTINATION), PROXY_HEADER_LIMIT_BYTES, b"behind")


@pytest.mark.parametrize(
    "data",
    [
        b"\x05\x01\x00",
        b"PROXZ",
        b"\r\n\r\nX",
        b"PROXY " + b"x" * 101,
        b"PROXY UNKNOWNX\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n",
        b"PROXY TCP4 192.0.2.1  198.51.100.1 56324 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 056324 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 65536 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 65536\r\n",
        b"PROXY TCP4 ::1 198.51.100.1 56324 443\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.256 56324 443\r\n",
        b"PROXY TCP6 ::1 192.0.2.1 56324 443\r\n",
        b"PROXY UDP4 192.0.2.1 198.51.100.1 56324 443\r\n",
        SIGNATURE + b"\x11\x11\x00\x0c" + ADDRESSES,
        SIGNATURE + b"\x22\x11\x00\x0c" + ADDRESSES,
        SIGNATURE + b"\x21\x41\x00\x0c" + ADDRESSES,
        SIGNATURE + b"\x21\x13\x00\x0c" + ADDRESSES,
        binary(1, 0x11, ADDRESSES[:-1]),
        binary(1, 0x21, ADDRESSES),
        SIGNATURE + b"\x21\x11" + (EXTENSIONS_LIMIT_BYTES + 1).to_bytes(2, "big"),
    ],
)
def test_what_is_no_header_is_answered_with_nothing(data: bytes) -> None:
    with pytest.raises(ProtocolError) as raised:
        read_proxy_header(bytearray(data))
    assert (raised.value.fault, raised.value.reply) == (Fault.REMOTE, b"")


@pytest.mark.parametrize(
    ("source", "destination"),
    [
        (SOURCE, Address.of("::1", 1)),
        (Address.of("a.example", 1), Address.of("b.example", 1)),
        (SOURCE, Address.of("192.0.2.1", 65536)),
    ],
)
def test_what_the_format_cannot_carry_is_our_fault(source: Address, destination: Address) -> None:
    for version in (1, 2):
        with pytest.raises(ProtocolError) as raised:
            write_proxy_header(source, destination, 1 if version == 1 else 2)
        assert raised.value.fault is Fault.LOCAL
