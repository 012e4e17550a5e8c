"""censor/profiles/telegram-2018.toml: a test for each number."""

from __future__ import annotations

import datetime

import pytest

from censor.conditions import ListHolder
from censor.core import Core
from censor.offload import address_blocks, plan
from censor.packets import ACK, SYN
from censor.rules import RuleSet
from tests.unit.censor.profiles.connection import CLIENT, Connection, core_of, passed, rules_of, vanished

NAME = "telegram-2018"
HOUR = 3600
DAY = 24 * HOUR
LIFTED = (datetime.date(2020, 6, 18) - datetime.date(2018, 4, 16)).days * DAY
REAL_ADDRESSES = 256
"""That one address of the profile stands for."""
OWN, WEB = "203.0.113.10", "198.18.0.80"
CLOUD_A, CLOUD_B, MORE, AGAIN, FREED = "198.18.2.11", "198.18.12.11", "198.18.28.11", "198.18.248.11", "198.19.23.11"


def at(seconds: float) -> Core:
    return core_of(NAME, seconds=seconds)


def blocked(core: Core, address: str) -> bool:
    return vanished(Connection(core, server=address).send(flags=SYN))


def addresses_blocked(seconds: float) -> int:
    """The IPv4 addresses of all rules in force."""
    rules: RuleSet = rules_of(NAME)
    holders: dict[str, ListHolder] = dict(core_of(NAME).compiled.lists)
    count = 0
    for rule in rules.at(seconds / rules.censor.time_scale).rules:
        assert rule.when is not None
        (name, _) = (word[1:] for word in rule.when.split() if word.startswith("@"))
        networks = holders[name].content.networks
        count += sum(last - first + 1 for first, last in networks.intervals(4))  # type: ignore[attr-defined]  # PrefixSet
    return count


@pytest.mark.parametrize(
    ("seconds", "real_addresses"),
    [
        pytest.param(0, 9_000, id="16 April: some 9,000 of its own"),
        pytest.param(12 * HOUR, 9_000 + 600_000, id="16 April: 600,000 of one cloud"),
        pytest.param(18 * HOUR, 9_000 + 600_000 + 1_000_000, id="16 April: 1 million of another"),
        pytest.param(1.5 * DAY, 19_000_000, id="17 April: 19 million"),
        pytest.param(2.5 * DAY, 16_000_000, id="18 April, noon: 16 million"),
        pytest.param(3 * DAY, 18_000_000, id="19 April: 18 million"),
        pytest.param(LIFTED - 1, 18_000_000, id="17 June 2020: all of them still"),
        pytest.param(LIFTED, 0, id="18 June 2020: lifted"),
    ],
)
def test_so_many_addresses_are_blocked(seconds: float, real_addresses: int) -> None:
    assert abs(addresses_blocked(seconds) * REAL_ADDRESSES - real_addresses) <= REAL_ADDRESSES


@pytest.mark.parametrize(
    ("address", "begins", "ends"),
    [
        pytest.param(OWN, 0, LIFTED, id="own"),
        pytest.param(CLOUD_A, 12 * HOUR, LIFTED, id="cloud-a"),
        pytest.param(CLOUD_B, 18 * HOUR, LIFTED, id="cloud-b"),
        pytest.param(MORE, 1.5 * DAY, LIFTED, id="more"),
        pytest.param(AGAIN, 1.5 * DAY, 2.5 * DAY, id="more-again"),
        pytest.param(FREED, 1.5 * DAY, 2.5 * DAY, id="more-freed"),
        pytest.param(AGAIN, 3 * DAY, LIFTED, id="more-again-19th"),
    ],
)
def test_time_line(address: str, begins: float, ends: float) -> None:
    assert blocked(at(begins), address)
    assert blocked(at(ends - 1), address)
    assert not blocked(at(ends), address)
    if begins:
        assert not blocked(at(begins - 1), address)


def test_a_day_is_a_minute() -> None:
    assert rules_of(NAME).moments() == (30.0, 45.0, 90.0, 150.0, 180.0, LIFTED / 1440)


def test_bystanders_are_collateral_and_the_messenger_in_the_clouds_is_not() -> None:
    core = at(2 * DAY)
    for server, collateral in ((OWN, False), (WEB, True), (CLOUD_A, True), (FREED, True), ("198.18.12.10", False)):
        (hit,) = Connection(core, server=server).send(flags=SYN).hits
        assert hit.collateral is collateral


@pytest.mark.parametrize(("server", "collateral"), [(WEB, True), ("198.18.12.10", False)])
def test_it_is_told_of_packets_that_the_kernel_dropped_too(server: str, collateral: bool) -> None:
    core = at(2 * DAY)
    (block,) = (one for one in address_blocks(core.compiled) if one.rule.name == "cloud-b")
    for packet in (
        Connection(core, server=server).client_packet(flags=SYN),
        Connection(core, server=server).server_packet(flags=SYN | ACK),
    ):
        hit = core.address_hit(block, packet)
        assert hit is not None
        assert hit.collateral is collateral
    core.set_rules(RuleSet())
    hit = core.address_hit(block, Connection(core, server=server).client_packet(flags=SYN))
    assert hit is not None
    assert not hit.collateral, "the rule was lifted meanwhile"


def test_packets_from_a_blocked_address_vanish_too() -> None:
    assert vanished(Connection(at(2 * DAY), client=CLOUD_A, server=CLIENT).send(flags=SYN))


def test_the_labs_name_server_and_links_stay_up() -> None:
    core = at(2 * DAY)
    for address in ("198.18.0.53", "198.19.255.1", "198.19.255.2", "198.51.100.11"):
        assert passed(Connection(core, server=address).send(flags=SYN))


def test_the_kernel_does_all_of_it() -> None:
    compiled = at(2 * DAY).compiled
    assert len(address_blocks(compiled)) == 6
    nothing: tuple[object, ...] = ()
    assert (plan(compiled).tcp, plan(compiled).udp) == (nothing, nothing)
