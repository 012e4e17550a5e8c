"""What this project asks of its relay, and whether a run shows it. Goals are compared with, not enforced."""

from __future__ import annotations

from dataclasses import dataclass

from lab.benchmarks.peers import DIRECT, OBSERVED, OURS
from lab.benchmarks.results import Results, is_cost, own_names

RATE, CPU = "megabytes_per_second", "cpu_seconds_per_gb"


@dataclass(frozen=True, slots=True)
class Goal:
    """A metric of `who` in a workload, at least (of a cost: at most) `asked` times that of `over`.

    `over`: "best" (the best SOCKS5 server that is not this project's; of a percentile: that of the server with the best
    rate), "direct", a peer's name, or "" for the metric itself. `who` "several": the entry with workers.
    """

    workload: str
    metric: str
    asked: float
    over: str = "best"
    who: str = OURS


@dataclass(frozen=True, slots=True)
class Outcome:
    """A goal and what was measured. None: it was not."""

    goal: Goal
    measured: float | None

    @property
    def held(self) -> bool | None:
        if self.measured is None:
            return None
        return self.measured <= self.goal.asked if is_cost(self.goal.metric) else self.measured >= self.goal.asked


GOALS = (
    *(
        Goal(f"bulk-{way}-{connections}", metric, asked, over)
        for way in ("down", "up")
        for connections, over_best in ((1, 1.2), (8, 1.1))
        for metric, asked, over in ((RATE, over_best, "best"), (RATE, 0.75, DIRECT), (CPU, 1.0, "best"))
    ),
    Goal("ping-64B-1", "messages_per_second", 0.9),
    Goal("ping-64B-64", "messages_per_second", 1.0),
    Goal("ping-64B-64", "p99_microseconds", 1.2),
    Goal("connects", "connects_per_second", 1.0, "sing-box"),
    Goal("connects", "connects_per_second", 1.0, "danted"),
    Goal("connects", "connects_per_second", 1.0, who="several"),
    Goal("connects", "connects_per_second", 0.95, OURS, who=OBSERVED),
    Goal("idle", "pss_bytes_per_flow", 2000, ""),
    Goal("slow", "rate_share", 0.95, ""),
    Goal("mixed", "times_p99", 2.0, ""),
    Goal("mixed", "beside_p99_microseconds", 1.0),
)


def outcomes(results: Results) -> list[Outcome]:
    """The goals of the workloads that were measured."""
    return [Outcome(goal, _measured(goal, results)) for goal in GOALS if goal.workload in results.workloads]


def _measured(goal: Goal, results: Results) -> float | None:
    who = goal.who
    if who == "several":
        others = [name for name in own_names(results) if name not in (OURS, OBSERVED)]
        if not others:
            return None
        who = others[0]
    if not goal.over:
        return results.median(who, goal.workload, goal.metric)
    rival = _rival(goal, results)
    base = results.median(rival, goal.workload, goal.metric) if rival else None
    value = results.median(who, goal.workload, goal.metric)
    return value / base if base and value is not None else None


def _rival(goal: Goal, results: Results) -> str | None:
    if goal.over != "best":
        return goal.over
    of_rate = goal.metric == "p99_microseconds"
    metric = "messages_per_second" if of_rate else goal.metric
    best = results.best_rival(goal.workload, metric, lower_is_better=is_cost(metric))
    return best[0] if best else None
