"""A policy with its diagnosis: its own decisions, and what is wrong with the routes beside them. Sans-IO."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, runtime_checkable

from client.diagnosis import NONE
from client.diagnosis.engine import Diagnosis, unknown
from client.policies import (
    Command,
    Diagnosed,
    Health,
    HealthTeller,
    Observation,
    Policy,
    RouteFacts,
)


@runtime_checkable
class Heeding(Protocol):
    """A policy that makes use of the diagnosis, in what it decides later."""

    def diagnosed(self, diagnosis: Diagnosed) -> None: ...


class Diagnosing:
    """Implements `client.policies.Policy` around any policy, whose commands come as they are, with `Diagnosed` behind
    them. A `Heeding` policy is told each.

    `routes` and `quiet_seconds` as for `Diagnosis`, which is `diagnosis`.
    """

    def __init__(
        self,
        policy: Policy,
        routes: Sequence[RouteFacts],
        *,
        quiet_seconds: Callable[[int], float | None] = unknown,
    ) -> None:
        self._policy = policy
        self.diagnosis = Diagnosis(routes, quiet_seconds=quiet_seconds)

    @property
    def health(self) -> Health | None:
        """What the policy says of the path in use; None: it does not tell."""
        return self._policy.health if isinstance(self._policy, HealthTeller) else None

    def troubles(self, routes: Iterable[str]) -> tuple[Diagnosed, ...]:
        """What is wrong with these routes now, those left out that are well or of which nothing is known."""
        opinions = [self.diagnosis.opinion(route) for route in routes]
        return tuple(opinion for opinion in opinions if opinion is not None and opinion.kind != NONE)

    def start(self, now: float) -> list[Command]:
        return self._diagnosed(self._policy.start(now), now)

    def observe(self, observation: Observation, now: float) -> list[Command]:
        self.diagnosis.observe(observation, now)
        return self._diagnosed(self._policy.observe(observation, now), now)

    def deadline(self) -> float | None:
        times = (self._policy.deadline(), self.diagnosis.deadline())
        return min((time for time in times if time is not None), default=None)

    def tick(self, now: float) -> list[Command]:
        """The policy is ticked only if its own deadline is due: how late it is called may mean something to it."""
        due = self._policy.deadline()
        return self._diagnosed(self._policy.tick(now) if due is not None and due <= now else [], now)

    def _diagnosed(self, commands: list[Command], now: float) -> list[Command]:
        for command in commands:
            self.diagnosis.ordered(command, now)
        found = self.diagnosis.verdicts(now)
        if isinstance(self._policy, Heeding):
            for diagnosis in found:
                self._policy.diagnosed(diagnosis)
        return [*commands, *found]
