"""censor/address_rules.py; that the kernel takes these scripts and acts on them is shown in tests/lab."""

from __future__ import annotations

import ipaddress
import re

import pytest

from censor import address_rules
from censor.address_rules import AddressRule

BOTH = AddressRule(3, (4, 6))
FOUR = AddressRule(2, (4,), reject=True, ports=(443, 80))


def script(rule: AddressRule) -> str:
    return address_rules.addresses_script([rule], [rule], 1, 9)


def plan(*rules: AddressRule) -> list[str]:
    """The jumps of the rules that are in force."""
    text = address_rules.addresses_script([], rules, 7, 9)
    assert text.splitlines()[:2] == ["table inet sidedoor {", "chain plan7 {"]
    assert address_rules.plan_chain(7) == "plan7"
    return text.splitlines()[2:-2]


def test_chains_and_sets() -> None:
    text = script(BOTH)
    assert "set rule3_v4 { type ipv4_addr; flags interval; }" in text
    assert "set rule3_v6 { type ipv6_addr; flags interval; }" in text
    assert 'log prefix "rule3" group 9 snaplen 128 queue-threshold 1' in text
    assert "elements" not in text
    assert "v6" not in script(FOUR)


def test_what_is_made_is_what_is_removed() -> None:
    made = re.findall(r"^(?:chain|set) (\S+)", script(BOTH), re.MULTILINE)
    assert sorted(made) == sorted((*address_rules.chains(BOTH), *address_rules.sets(BOTH), "plan1"))
    assert address_rules.chains(BOTH) == ("rule3", "rule3_act")  # the first goes to the second


def test_a_plan_leads_to_all_rules() -> None:
    assert plan(BOTH, FOUR) == [
        "ip daddr @rule3_v4 goto rule3",
        "ip saddr @rule3_v4 goto rule3",
        "ip6 daddr @rule3_v6 goto rule3",
        "ip6 saddr @rule3_v6 goto rule3",
        "ip daddr @rule2_v4 meta l4proto { tcp, udp } th dport { 443, 80 } goto rule2",
        "ip saddr @rule2_v4 meta l4proto { tcp, udp } th sport { 443, 80 } goto rule2",
    ]
    assert plan() == []


def test_actions_and_protocol() -> None:
    assert "{ counter drop; }" in script(BOTH)
    assert "reject with tcp reset; reject; counter drop; }" in script(FOUR)
    udp = AddressRule(1, (4,), protocol="udp", ports=(443,))
    assert plan(udp)[0] == "ip daddr @rule1_v4 meta l4proto udp th dport { 443 } goto rule1"


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
