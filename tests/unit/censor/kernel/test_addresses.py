"""censor/kernel/addresses.py; that the kernel takes these scripts and acts on them is shown in tests/lab."""

from __future__ import annotations

import re

import pytest

from censor.actions import Drop
from censor.kernel import addresses
from censor.lists.prefixes import PrefixSet
from censor.offload import AddressBlock, Ports
from censor.rules import Rule

RULE = Rule(name="x", when="exists tls", actions=(Drop(),))


def block(
    *, ports: Ports | None = None, protocol: str | None = None, server_only: bool = False, reject: bool = False
) -> AddressBlock:
    networks = PrefixSet(["192.0.2.0/24", "2001:db8::/32"])
    return AddressBlock(RULE, networks, ports, protocol, server_only=server_only, reject=reject)


def script(**fields: object) -> str:
    return addresses.addresses_script({3: block(**fields)}, 9)  # type: ignore[arg-type]  # block's own


def matches(**fields: object) -> list[str]:
    """What of a block's packets is sent to its chain."""
    lines = script(**fields).splitlines()
    start = lines.index(f"chain {addresses.match_chain(3)} {{")
    return [line.removesuffix(" goto rule3") for line in lines[start + 1 : -2]]


def test_chains_and_empty_sets() -> None:
    text = script()
    assert "set rule3_v4 { type ipv4_addr; flags interval; }" in text
    assert "set rule3_v6 { type ipv6_addr; flags interval; }" in text
    assert [addresses.address_set(3, version) for version in (4, 6)] == ["rule3_v4", "rule3_v6"]
    assert 'log prefix "rule3" group 9 snaplen 128 queue-threshold 1' in text
    assert "elements" not in text
    assert addresses.addresses_script({}, 9) == ""


def test_what_is_made_is_what_is_removed() -> None:
    made = re.findall(r"^(?:chain|set) (\S+)", script(), re.MULTILINE)
    assert sorted(made) == sorted((*addresses.chains(3), *addresses.sets(3)))
    assert addresses.chains(3) == ("rule3_match", "rule3", "rule3_act")  # each goes to the next


def test_either_end_or_the_server_alone() -> None:
    assert matches() == [
        "ip daddr @rule3_v4",
        "ip saddr @rule3_v4",
        "ip6 daddr @rule3_v6",
        "ip6 saddr @rule3_v6",
    ]
    assert matches(server_only=True)[:2] == [
        "ct direction original ip daddr @rule3_v4",
        "ct direction reply ip saddr @rule3_v4",
    ]


def test_protocol_and_the_ports_of_that_end() -> None:
    both = " meta l4proto { tcp, udp }"
    assert matches(ports=((80, 80), (8000, 8443)))[:2] == [
        f"ip daddr @rule3_v4{both} th dport {{ 80, 8000-8443 }}",
        f"ip saddr @rule3_v4{both} th sport {{ 80, 8000-8443 }}",
    ]
    assert matches(ports=((443, 443),), protocol="udp")[0] == "ip daddr @rule3_v4 meta l4proto udp th dport { 443 }"
    assert matches(protocol="tcp")[3] == "ip6 saddr @rule3_v6 meta l4proto tcp"


def test_actions() -> None:
    assert "chain rule3_act { counter drop; }" in script()
    assert "chain rule3_act { meta l4proto tcp reject with tcp reset; reject; counter drop; }" in script(reject=True)


def test_first_packets_of_flows_are_logged_before_others() -> None:
    lines = script().splitlines()
    chain = lines[lines.index("chain rule3 {") + 1 : lines.index("chain rule3_match {") - 1]
    assert [("@rule3_seen_v4" in line, "@rule3_seen_v6" in line) for line in chain] == [
        (True, False),
        (False, True),
        (False, False),
        (False, False),
    ]
    assert all(line.endswith("goto rule3_act") for line in (chain[0], chain[1], chain[3]))


@pytest.mark.parametrize(("prefix", "serial"), [("rule12", 12), ("rule", None), ("other1", None), ("", None)])
def test_serials(prefix: str, serial: int | None) -> None:
    assert addresses.serial_of(prefix) == serial
    assert serial is None or addresses.log_prefix(serial) == prefix
