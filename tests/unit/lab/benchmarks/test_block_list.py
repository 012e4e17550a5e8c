"""lab/benchmarks/block_list.py"""

from __future__ import annotations

import ipaddress

import pytest

from censor.lists.formats import parse
from lab.benchmarks.block_list import sample


def test_it_bans_as_much_as_was_asked_for() -> None:
    found = parse(sample(15_000, 6_000, 1))
    assert (len(found.domains), len(found.networks)) == (15_000, 6_000)
    assert len(found.networks.intervals(4)) == 3_600
    assert len(found.urls) == 420
    assert (found.rows, found.skipped) == (21_212, 2)
    assert found.updated == "2018-04-17 12:00:00 +0300"


def test_names_and_addresses_are_nobodys() -> None:
    found = parse(sample(300, 300, 2))
    assert all(name.endswith(".example") for name in found.domains.names)
    assert any(name.startswith("xn--") for name in found.domains.names)
    reserved = [*map(ipaddress.ip_network, ("198.18.0.0/15", "2001:db8::/32"))]
    assert all(
        any(net.version == block.version and net.subnet_of(block) for block in reserved)
        for net in map(ipaddress.ip_network, found.networks.networks())
    )


def test_more_prefixes_than_the_ipv4_range_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.benchmarks.block_list.V4_LIMIT", 100)
    found = parse(sample(0, 1_000, 3))
    assert (len(found.networks.intervals(4)), len(found.networks.intervals(6))) == (100, 900)


def test_a_seed_is_a_list() -> None:
    assert sample(100, 100, 1) == sample(100, 100, 1)
    assert sample(100, 100, 1) != sample(100, 100, 2)
