from __future__ import annotations

from random import Random

from client.diagnosis.wrapper import Diagnosing
from client.policies import (
    Command,
    Diagnosed,
    Dial,
    Observation,
    PathBad,
    Recollection,
    RouteFacts,
    StageReached,
)
from client.policies.sidedoor import Sidedoor
from client.policies.sidedoor_settings import SidedoorSettings
from tests.unit.client.diagnosis.network import Network, Path
from tests.unit.client.policies.drill import Drill
from tests.unit.client.policies.drill import Path as DrillPath

ROUTES = [RouteFacts("direct", proxied=False), RouteFacts("proxy1", proxied=True), RouteFacts("proxy2", proxied=True)]


class Clock:
    """A policy that wants to be called at certain times, and notes when it was."""

    def __init__(self, *times: float) -> None:
        self.times = list(times)
        self.ticked: list[float] = []
        self.told: list[Diagnosed] = []

    def start(self, now: float) -> list[Command]:
        return [Dial(1, "direct")]

    def observe(self, observation: Observation, now: float) -> list[Command]:
        return []

    def diagnosed(self, diagnosis: Diagnosed) -> None:
        self.told.append(diagnosis)

    def deadline(self) -> float | None:
        return self.times[0] if self.times else None

    def tick(self, now: float) -> list[Command]:
        self.ticked.append(now)
        return [PathBad("direct", "slow")] if self.times.pop(0) < 1.0 else []


def sidedoor() -> Sidedoor:
    return Sidedoor(ROUTES, SidedoorSettings(), Random(1), Recollection())


def test_the_policy_is_ticked_when_its_own_deadline_is_due() -> None:
    clock = Clock(0.5, 9.0)
    made = Diagnosing(clock, ROUTES)
    assert made.start(0.0) == [Dial(1, "direct")]
    made.observe(StageReached(1, "tcp"), 0.0)
    assert made.deadline() == 0.5
    assert made.tick(0.5) == [PathBad("direct", "slow")]
    later = made.deadline()
    assert later is not None
    assert later < 9.0
    made.tick(later)
    assert clock.ticked == [0.5]
    made.tick(9.0)
    assert clock.ticked == [0.5, 9.0]
    assert clock.deadline() is None
    made.tick(9.1)
    assert clock.ticked == [0.5, 9.0]


def test_the_policy_is_told_the_diagnosis_if_it_listens() -> None:
    policy = Clock()
    made = Diagnosing(policy, ROUTES)
    made.start(0.0)
    made.observe(StageReached(1, "dns"), 0.0)
    verdict = Diagnosed("direct", "dns_drop", 0.6)
    assert made.tick(2.2) == []
    assert made.tick(2.3) == policy.told == [verdict]


def test_the_policys_decisions_are_the_same_with_and_without() -> None:
    def log(diagnosed: bool) -> list[tuple[float, Command]]:
        policy = Diagnosing(sidedoor(), ROUTES) if diagnosed else sidedoor()
        made = Drill(policy, {name: DrillPath() for name in ("direct", "proxy1", "proxy2")})
        made.run(5)
        made.paths["direct"].blocked = "drop"
        made.run(12)
        made.paths["direct"].blocked = ""
        made.run(20)
        return made.log

    plain, wrapped = log(diagnosed=False), log(diagnosed=True)
    assert [entry for entry in wrapped if not isinstance(entry[1], Diagnosed)] == plain
    assert len(wrapped) > len(plain)


def test_sidedoor_in_a_block_and_out_of_it() -> None:
    paths = {facts.name: Path(0.08 if facts.proxied else 0.04, proxied=facts.proxied) for facts in ROUTES}
    made = Network(Diagnosing(sidedoor(), ROUTES), paths)
    made.start()
    made.run(3)
    made.block("address_drop")
    made.run(8)
    assert made.verdict() == Diagnosed("direct", "address_drop", 0.9)
    made.block("")
    made.run(30)
    assert made.in_use is not None
    assert made.lines[made.in_use].route == "direct"
    assert made.verdict() == Diagnosed("direct", "none", 0.9)
    assert made.kinds("proxy1") == []
