"""What every reader promises, as checks; and addresses to put into messages."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from hypothesis import strategies as st

from proxy.wire import Address, AddressType, Fault, ProtocolError

Reader = Callable[[bytearray], Any]

ports = st.integers(0, 65535)
domains = (
    st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=255)
    .filter(str.isprintable)
    .filter(lambda text: len(text.encode()) <= 255)
)
ipv4_addresses = st.builds(
    Address, st.just(AddressType.IPV4), st.builds(IPv4Address, st.integers(0, 2**32 - 1)).map(str), ports
)
ipv6_addresses = st.builds(
    Address, st.just(AddressType.IPV6), st.builds(IPv6Address, st.integers(0, 2**128 - 1)).map(str), ports
)
ip_addresses = st.one_of(ipv4_addresses, ipv6_addresses)
addresses = st.one_of(ip_addresses, st.builds(Address, st.just(AddressType.DOMAIN), domains, ports))
clean_addresses = addresses.filter(lambda address: Address.of(address.host, address.port) == address)
"""Addresses whose domain is no IP literal: most readers make that the address that it is."""


def check_message(read: Reader, data: bytes, message: object, limit_bytes: int, behind: bytes) -> None:
    """`data` is read as `message`: whole with bytes behind it, and byte by byte."""
    assert len(data) <= limit_bytes

    buffer = bytearray(data + behind)
    assert read(buffer) == message
    assert buffer == behind

    buffer = bytearray()
    for index in range(len(data)):
        assert read(buffer) is None
        assert buffer == data[:index]
        buffer += data[index : index + 1]
    assert read(buffer) == message
    assert not buffer


def check_any_bytes(read: Reader, data: bytes, limit_bytes: int, *, full: bool) -> None:
    """Whatever `data` is: a message, or the peer's error; no more than the limit is wanted; cuts do not matter."""
    buffer = bytearray(data.ljust(limit_bytes, b"\xff") if full else data)
    whole, piecemeal = outcome(read, bytearray(buffer)), None
    assert not (isinstance(whole, tuple) and Fault.LOCAL in whole)
    assert not (whole is None and len(buffer) >= limit_bytes)

    grown = bytearray()
    for value in buffer:
        grown.append(value)
        if (piecemeal := outcome(read, grown)) is not None:
            break
    assert piecemeal == whole


def outcome(read: Reader, buffer: bytearray) -> object:
    """The message, None, or the error's text, fault and reply."""
    try:
        return read(buffer)
    except ProtocolError as error:
        return str(error), error.fault, error.reply
