"""The block types: rules that the censor takes, for both families, and commands that name the right addresses.

What they do to packets: tests/lab/test_fallback_blocks.py.
"""

from __future__ import annotations

import pytest

from censor.core import Core
from censor.rules_file import parse_rules
from lab.benchmarks.fallback.blocks import (
    BLOCKS,
    RULES,
    BlockType,
    hit_rules,
    rules,
    rules_before,
    upstream_commands,
    upstream_undo,
)
from lab.topology import ORIGIN_NAME, standard

MESSENGER = standard().names[ORIGIN_NAME]
PROXIES = ["198.51.100.11", "198.51.100.14"]
EVERY = pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
SILENT = ("syn-drop", "midflow-drop", "sni-drop", "throttle", "freeze", "proxies", "upstream-dead", "data-drop")


def test_the_types() -> None:
    assert {block.name for block in BLOCKS.values() if not block.signalled} == set(SILENT)
    assert {block.name for block in BLOCKS.values() if block.signalled} == {"rst", "nxdomain", "forged-dns", "sni-rst"}
    assert {block.aim: block.name for block in BLOCKS.values() if block.aim != "direct"} == {
        "proxies": "proxies",
        "upstream": "upstream-dead",
    }
    assert len({block.kind for block in BLOCKS.values()}) == len(BLOCKS) == 12


def test_there_is_no_file_without_its_type() -> None:
    assert {path.stem for path in RULES.iterdir()} == {name for name, block in BLOCKS.items() if block.aim == "direct"}


@EVERY
def test_the_censor_takes_the_rules(block: BlockType) -> None:
    for text in (rules_before(block), rules(block), rules(block, PROXIES)):
        Core().set_rules(parse_rules(text, origin=block.name))


@EVERY
def test_before_the_direct_path_is_free_or_given_up(block: BlockType) -> None:
    before = parse_rules(rules_before(block))
    assert [set(rule.addresses) for rule in before.rules] == ([] if block.aim == "direct" else [set(MESSENGER)])
    if block.aim != "direct":
        assert rules(block) == rules_before(block)


@EVERY
def test_hits_are_told_apart_from_those_of_the_rules_before(block: BlockType) -> None:
    now, before = (
        {rule.name for rule in parse_rules(one).rules} for one in (rules(block, PROXIES), rules_before(block))
    )
    assert hit_rules(block) == now - before
    assert hit_rules(block) or block.aim == "upstream"


def test_proxies_are_blocked_by_all_of_their_addresses() -> None:
    _, found = parse_rules(rules(BLOCKS["proxies"], PROXIES)).rules
    assert found.addresses == ("198.51.100.11", "2001:db8:3::11", "198.51.100.14", "2001:db8:3::14")


def test_upstream_nothing_passes_in_either_direction_and_family() -> None:
    ((program, transaction),) = upstream_commands(BLOCKS["upstream-dead"], PROXIES)
    assert program == "nft"
    _, _, *drops = transaction.split("; add ")
    ipv4, ipv6 = "198.51.100.11, 198.51.100.14", "2001:db8:3::11, 2001:db8:3::14"
    assert [drop.removeprefix("rule inet upstream forward ") for drop in drops] == [
        f"ip saddr {{ {ipv4} }} ip daddr {{ 203.0.113.10 }} drop",
        f"ip saddr {{ 203.0.113.10 }} ip daddr {{ {ipv4} }} drop",
        f"ip6 saddr {{ {ipv6} }} ip6 daddr {{ 2001:db8:2::10 }} drop",
        f"ip6 saddr {{ 2001:db8:2::10 }} ip6 daddr {{ {ipv6} }} drop",
    ]
    assert upstream_undo(BLOCKS["upstream-dead"]) == [["nft", "delete", "table", "inet", "upstream"]]


@EVERY
def test_only_upstream_has_commands(block: BlockType) -> None:
    assert bool(upstream_commands(block, PROXIES)) is bool(upstream_undo(block)) is (block.aim == "upstream")


def test_an_address_that_is_nobodys() -> None:
    with pytest.raises(ValueError, match=r"198\.51\.100\.99 is no address of the lab's hosts"):
        rules(BLOCKS["proxies"], ["198.51.100.99"])
    with pytest.raises(ValueError, match=r"198\.51\.100\.99 is no address of the lab's hosts"):
        upstream_commands(BLOCKS["upstream-dead"], ["198.51.100.99"])
