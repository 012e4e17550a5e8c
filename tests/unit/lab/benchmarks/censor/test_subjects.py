"""The subjects can be started as they say, and block nothing of the benchmark's own traffic."""

from __future__ import annotations

import ipaddress

import pytest

from censor.rules_file import parse_rules
from lab.benchmarks.censor.network import CLIENT, SERVER
from lab.benchmarks.censor.subjects import PLAIN, RULES, Kind, Subject, subjects
from lab.benchmarks.censor.traffic import NAME

WITH_RULES = [subject for subject in subjects() if subject.rules]


def test_plain_routing_is_first_and_names_are_unique() -> None:
    found = subjects()
    assert (found[0].name, found[0].kind) == (PLAIN, Kind.PLAIN)
    assert len({subject.name for subject in found}) == len(found)


@pytest.mark.parametrize("subject", WITH_RULES, ids=lambda subject: subject.name)
def test_rules_are_valid_and_let_the_traffic_pass(subject: Subject) -> None:
    rules = parse_rules(subject.rules).rules
    assert RULES in subject.arguments
    assert not [rule for rule in rules if NAME in rule.condition]
    networks = {network for rule in rules for network in rule.networks}
    ends = [ipaddress.ip_address(address) for address in (CLIENT, SERVER)]
    assert not [network for network in networks for end in ends if end in network]


def test_addresses_are_of_the_range_for_benchmarks_and_cannot_be_merged() -> None:
    (subject,) = (subject for subject in WITH_RULES if subject.name == "addresses")
    networks = [ipaddress.ip_network(str(network)) for network in parse_rules(subject.rules).rules[0].networks]
    range_ = ipaddress.ip_network("198.18.0.0/15")
    assert all(isinstance(one, ipaddress.IPv4Network) and one.subnet_of(range_) for one in networks)
    assert len(list(ipaddress.collapse_addresses(networks))) == len(networks) == 1000
