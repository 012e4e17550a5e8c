"""What a policy says for people of the path in use, and what the diagnosis adds."""

from __future__ import annotations

from random import Random

from client.diagnosis.wrapper import Diagnosing
from client.policies import (
    Answered,
    Command,
    Copy,
    Dial,
    DialFailed,
    Established,
    Health,
    HealthTeller,
    Ping,
    Ponged,
    Recollection,
    RouteFacts,
    Sent,
)
from client.policies.outline import Outline, OutlineSettings
from client.policies.sidedoor import Sidedoor
from client.policies.sidedoor_settings import SidedoorSettings

ROUTES = (RouteFacts("direct", False), RouteFacts("proxy1", True))


def sidedoor() -> tuple[Diagnosing, dict[str, int]]:
    """Just started, and its connections by route."""
    policy = Diagnosing(Sidedoor(ROUTES, SidedoorSettings(), Random(1), Recollection()), ROUTES)
    dials = {command.route: command.connection for command in policy.start(0.0) if isinstance(command, Dial)}
    return policy, dials


def test_before_anything_stands_there_is_nothing_to_tell() -> None:
    policy, _ = sidedoor()
    assert policy.health == Health()
    assert policy.troubles(["direct", "proxy1"]) == ()


def test_the_round_trip_and_the_standby() -> None:
    policy, dials = sidedoor()
    policy.observe(Established(dials["direct"], 0.1), 0.1)
    assert policy.health == Health()
    policy.observe(Sent(dials["direct"], 1), 0.1)
    policy.observe(Answered(dials["direct"], 1), 0.14)
    assert policy.health is not None
    assert round(policy.health.rtt_seconds or 0, 3) == 0.04
    policy.observe(Established(dials["proxy1"], 0.2), 0.2)
    assert policy.health.standby == "proxy1"


def test_doubt_and_copies_until_the_path_answers() -> None:
    policy, dials = sidedoor()
    policy.observe(Established(dials["direct"], 0.1), 0.1)
    (ping,) = policy.observe(Established(dials["proxy1"], 0.2), 0.2)
    assert isinstance(ping, Ping)
    policy.observe(Ponged(dials["proxy1"], ping.number), 0.25)
    policy.observe(Sent(dials["direct"], 1), 0.3)
    ordered: list[Command] = []
    due = 0.3
    while not any(isinstance(command, Copy) for command in ordered):
        deadline = policy.deadline()
        assert deadline is not None
        due = deadline
        ordered += policy.tick(due)
    assert policy.health == Health(in_doubt=True, hedging=True, standby="proxy1")
    policy.observe(Answered(dials["direct"], 1), due)
    for command in ordered:
        if isinstance(command, Ping):
            policy.observe(Ponged(dials["direct"], command.number), due)
    assert policy.health is not None
    assert (policy.health.in_doubt, policy.health.hedging) == (False, False)


def test_what_is_wrong_with_a_route() -> None:
    policy, dials = sidedoor()
    policy.observe(DialFailed(dials["direct"], "dns", "dns_nxdomain_error"), 0.1)
    (trouble,) = policy.troubles(["direct", "proxy1"])
    assert (trouble.route, trouble.kind) == ("direct", "dns_nxdomain")


def test_other_policies_do_not_tell() -> None:
    outline = Outline(ROUTES, OutlineSettings(), Random(1), Recollection())
    assert not isinstance(outline, HealthTeller)
    assert Diagnosing(outline, ROUTES).health is None
