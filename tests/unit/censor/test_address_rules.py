"""censor/address_rules.py; that the kernel takes these scripts and acts on them is shown in tests/lab."""

from __future__ import annotations

import pytest

from censor import address_rules
from censor.rules import Rule
from censor.rules_file import parse_rules


def rule(text: str) -> Rule:
    return parse_rules(f'[[rule]]\nname = "x"\n{text}').rules[0]


BOTH = rule('action = "drop"\naddresses = ["203.0.113.10", "2001:db8:2::/64"]')
FOUR = rule('action = "reject"\naddresses = ["198.51.100.0/24"]\nports = [443, 80]')


def test_chains_and_sets_are_made_before_anything_uses_them() -> None:
    script = address_rules.addresses_script({3: BOTH}, log_group=9)
    assert "set rule3_v4 { type ipv4_addr; flags interval; }" in script
    assert "set rule3_v6 { type ipv6_addr; flags interval; }" in script
    assert 'log prefix "rule3" group 9 snaplen 128 queue-threshold 1' in script
    assert "add rule" not in script
    assert "elements" not in script
    assert "v6" not in address_rules.addresses_script({2: FOUR}, log_group=9)


def test_the_switch_is_one_transaction() -> None:
    lines = address_rules.switch_script({3: BOTH, 2: FOUR}, {1: FOUR}).splitlines()
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
    assert "{ counter drop; }" in address_rules.addresses_script({1: BOTH}, 9)
    assert "reject with tcp reset; reject; counter drop; }" in address_rules.addresses_script({1: FOUR}, 9)
    udp = rule('action = "drop"\naddresses = ["192.0.2.1"]\nprotocol = "udp"\nports = [443]')
    assert "@rule1_v4 meta l4proto udp th dport { 443 } goto" in address_rules.switch_script({1: udp}, {})


def test_intervals_are_in_order_and_apart() -> None:
    many = '"192.0.2.128/25", "192.0.2.0/25", "10.0.0.7", "192.0.2.7", "10.0.0.9", "2001:db8::/64"'
    assert address_rules.intervals(rule(f'action = "drop"\naddresses = [{many}]')) == {
        4: [(0x0A000007, 0x0A000007), (0x0A000009, 0x0A000009), (0xC0000200, 0xC00002FF)],
        6: [(0x20010DB8 << 96, (0x20010DB8 << 96) + (1 << 64) - 1)],
    }


@pytest.mark.parametrize(("prefix", "serial"), [("rule12", 12), ("rule", None), ("other1", None), ("", None)])
def test_serials(prefix: str, serial: int | None) -> None:
    assert address_rules.serial_of(prefix) == serial
    assert serial is None or address_rules.log_prefix(serial) == prefix
