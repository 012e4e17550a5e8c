"""lab/benchmarks/censor/accuracy/truths.py"""

from __future__ import annotations

import ipaddress
import random
from collections import Counter

import pytest

from censor import profiles
from censor.rules_file import parse_rules, profile_rules
from lab.benchmarks.censor.accuracy.flows import Flow
from lab.benchmarks.censor.accuracy.truths import CLIENTS, FLOWS_MAX, OWN, SERVERS, client, missing, numbered, truth

SERVED = [ipaddress.ip_network(block) for block in (*SERVERS, OWN)]


def made(profile: str) -> list[Flow]:
    return [flow for _, flow in numbered(truth(profile), 200, random.Random(1))]


def test_all_profiles_have_one() -> None:
    assert missing() == []


@pytest.mark.parametrize("profile", profiles.names())
def test_rules_are_the_profiles(profile: str) -> None:
    told = truth(profile)
    rules = parse_rules(told.rules(profile))
    assert rules.rules == profile_rules(profile).rules
    given = {one.name: one.entries for one in rules.lists}
    assert all(given[name] == tuple(entries) for name, entries in told.lists.items())
    assert len(rules.moments()) >= told.stages


@pytest.mark.parametrize("profile", profiles.names())
def test_half_of_the_flows_are_innocent(profile: str) -> None:
    flows = numbered(truth(profile), 200, random.Random(1))
    innocent = sum(case.innocent for case, _ in flows)
    assert len(flows) >= 200
    assert 100 <= innocent <= 110
    counts = Counter(case.name for case, _ in flows)
    assert set(counts) == {case.name for case in truth(profile).cases}
    assert all(0 < case.share <= 1 for case, _ in flows)


@pytest.mark.parametrize("profile", profiles.names())
def test_no_two_flows_come_from_the_same_address(profile: str) -> None:
    flows = made(profile)
    assert len({flow.client[0] for flow in flows}) == len(flows)
    assert all(ipaddress.ip_address(flow.client[0]) in ipaddress.ip_network(CLIENTS) for flow in flows)


@pytest.mark.parametrize("profile", profiles.names())
def test_servers_are_there(profile: str) -> None:
    for flow in made(profile):
        assert any(ipaddress.ip_address(flow.server[0]) in block for block in SERVED)


def test_the_same_ends_every_time_so_that_draws_are_the_same() -> None:
    first, second = ([(flow.client, flow.server) for flow in made("iran-2020-whitelist")] for _ in range(2))
    assert first == second


def test_the_last_flow_has_an_address() -> None:
    address, port = client(FLOWS_MAX + 500)
    assert ipaddress.ip_address(address) in ipaddress.ip_network(CLIENTS)
    assert port < 65536
