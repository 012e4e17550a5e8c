from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest

from proxy.policy.networks import Networks, parse_address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", IPv4Address("192.0.2.1")),
        ("::ffff:192.0.2.1", IPv4Address("192.0.2.1")),
        ("::ffff:192.0.2.1%eth0", IPv4Address("192.0.2.1")),
        ("2001:db8::1", IPv6Address("2001:db8::1")),
        ("fe80::1%eth0", IPv6Address("fe80::1")),
    ],
)
def test_addresses(text: str, expected: object) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize("text", ["", "localhost", "127.1", "0177.0.0.1", "[::1]", "%eth0"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="does not appear"):
        parse_address(text)


def test_an_address_gets_the_bits_of_all_its_networks() -> None:
    texts = ["192.0.2.0/24", "192.0.2.0/24", "192.0.2.128/25", "0.0.0.0/0", "2001:db8::/32", "::/0", "198.51.100.1"]
    networks = Networks((ip_network(text), 1 << i) for i, text in enumerate(texts))
    assert networks.bits(parse_address("192.0.2.1")) == 0b1011
    assert networks.bits(parse_address("192.0.2.129")) == 0b1111
    assert networks.bits(parse_address("198.51.100.1")) == 0b1001000
    assert networks.bits(parse_address("2001:db8::1")) == 0b110000
    assert networks.bits(parse_address("2001:db9::1")) == 0b100000


def test_mapped_networks_are_ipv4_networks() -> None:
    networks = Networks([(ip_network("::ffff:192.0.2.0/120"), 1)])
    assert networks.bits(parse_address("192.0.2.9")) == 1
    assert networks.bits(parse_address("::ffff:192.0.2.9")) == 1
    assert networks.bits(parse_address("192.0.3.9")) == 0
