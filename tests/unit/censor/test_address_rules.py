"""censor/address_rules.py; that the kernel takes these scripts and acts on them is shown in tests/lab."""

from __future__ import annotations

import ipaddress

import pytest

from censor import address_rules
from censor.address_rules import AddressRule

BOTH = AddressRule(3, (4, 6))
FOUR = AddressRule(2, (4,), reject=True, ports=(443, 80))


def test_chains_and_sets_are_made_before_anything_uses_them() -> None:
    script = address_rules.addresses_script([BOTH], log_group=9)
    assert "set rule3_v4 { type ipv4_addr; flags interval; }" in script
    assert "set rule3_v6 { type ipv6_addr; flags interval; }" in script
    assert 'log prefix "rule3" group 9 snaplen 128 queue-threshold 1' in script
    assert "add rule" not in script
    assert "elements" not in script
    assert "v6" not in address_rules.addresses_script([FOUR], log_group=9)


def test_the_switch_is_one_transaction() -> None:
    lines = address_rules.switch_script([BOTH, FOUR], [AddressRule(1, (4,))]).splitlines()
    assert lines[0] == "flush chain inet sidedoor forward"
    assert [line.removeprefix("add rule inet sidedoor forward ") for line in lines[1:7]] == [
        "ip daddr @rule3_v4 goto rule3",
        "ip saddr @rule3_v4 goto rule3",
        "ip6 daddr @rule3_v6 goto rule3",
        "ip6 saddr @rule3_v6 goto rule3",
        "ip daddr @rule2_v4 meta l4proto { tcp, udp } th dport { 443, 80 } goto rule2",
        "ip saddr @rule2_v4 meta l4proto { tcp, udp } th sport { 443, 80 } goto rule2",
    ]
    assert lines[7:] == [
        "flush chain inet sidedoor rule1",
        "flush chain inet sidedoor rule1_act",
        "delete chain inet sidedoor rule1",
        "delete chain inet sidedoor rule1_act",
        "delete set inet sidedoor rule1_v4",
        "delete set inet sidedoor rule1_seen_v4",
    ]


def test_actions_and_protocol() -> None:
    assert "{ counter drop; }" in address_rules.addresses_script([BOTH], 9)
    assert "reject with tcp reset; reject; counter drop; }" in address_rules.addresses_script([FOUR], 9)
    udp = AddressRule(1, (4,), protocol="udp", ports=(443,))
    assert "@rule1_v4 meta l4proto udp th dport { 443 } goto" in address_rules.switch_script([udp], [])


def test_intervals_are_in_order_and_apart() -> None:
    many = ("192.0.2.128/25", "192.0.2.0/25", "10.0.0.7", "192.0.2.7", "10.0.0.9", "2001:db8::/64")
    assert address_rules.intervals(map(ipaddress.ip_network, many)) == {
        4: [(0x0A000007, 0x0A000007), (0x0A000009, 0x0A000009), (0xC0000200, 0xC00002FF)],
        6: [(0x20010DB8 << 96, (0x20010DB8 << 96) + (1 << 64) - 1)],
    }


@pytest.mark.parametrize(("prefix", "serial"), [("rule12", 12), ("rule", None), ("other1", None), ("", None)])
def test_serials(prefix: str, serial: int | None) -> None:
    assert address_rules.serial_of(prefix) == serial
    assert serial is None or address_rules.log_prefix(serial) == prefix
