"""What is asked of the censor, and whether a run shows it. Goals are compared with, not enforced."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lab.benchmarks.censor.results import Results
from lab.benchmarks.censor.subjects import EVERY_PACKET


@dataclass(frozen=True, slots=True)
class Goal:
    """`asked` of a figure; at least that, of a cost at most."""

    figure: str
    asked: float
    measured: Callable[[Results, str], float | None]
    cost: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """A goal, for which subject, and what was measured. None: it was not."""

    goal: Goal
    subject: str
    measured: float | None

    @property
    def held(self) -> bool | None:
        if self.measured is None:
            return None
        return self.measured <= self.goal.asked if self.goal.cost else self.measured >= self.goal.asked


PROFILE_GOALS = (
    Goal("throughput, of plain routing's", 0.95, Results.throughput_ratio),
    Goal("added latency, p99, ms", 2.0, lambda results, name: results.added(name, "first-byte", "p99_ms"), cost=True),
    Goal("new flows/s", 8000, lambda results, name: results.median(name, "new-flows", "flows_per_second")),
)
INSPECTION_GOAL = Goal("Gbit/s with GSO", 5.0, lambda results, name: results.median(name, "tls", "gigabits_per_second"))


def outcomes(results: Results) -> Iterator[Outcome]:
    """The goals of every subject that was measured."""
    for name in results.profiles:
        for goal in PROFILE_GOALS:
            yield Outcome(goal, name, goal.measured(results, name))
    if any(sample.subject == EVERY_PACKET for sample in results.samples):
        yield Outcome(INSPECTION_GOAL, EVERY_PACKET, INSPECTION_GOAL.measured(results, EVERY_PACKET))
