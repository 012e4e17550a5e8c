"""The sender's real policy, and what it was told beside the news of its connections."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest

from client import sender
from client.policies import (
    Command,
    NetworkChanged,
    Observation,
    Policy,
    Recollection,
    Remember,
    RouteFacts,
    RoutesChanged,
)
from client.policies.catalogue import PolicySettings, make_policy


class WatchedPolicies:
    """Those of the senders made from now on: `recollections` they began with, `told` of networks and routes. `orders`:
    what the next one remembers at its start, beside what it does by itself."""

    def __init__(self) -> None:
        self.recollections: list[Recollection] = []
        self.told: list[NetworkChanged | RoutesChanged] = []
        self.orders: list[Remember] = []

    def make(
        self, settings: PolicySettings, routes: Sequence[RouteFacts], *, random: Random, recollection: Recollection
    ) -> Policy:
        self.recollections.append(recollection)
        return _Watched(make_policy(settings, routes, random=random, recollection=recollection), self)


class _Watched:
    def __init__(self, policy: Policy, watch: WatchedPolicies) -> None:
        self._policy = policy
        self._watch = watch

    def start(self, now: float) -> list[Command]:
        return [*self._watch.orders, *self._policy.start(now)]

    def observe(self, observation: Observation, now: float) -> list[Command]:
        if isinstance(observation, NetworkChanged | RoutesChanged):
            self._watch.told.append(observation)
        return self._policy.observe(observation, now)

    def deadline(self) -> float | None:
        return self._policy.deadline()

    def tick(self, now: float) -> list[Command]:
        return self._policy.tick(now)


def watch_policies(monkeypatch: pytest.MonkeyPatch) -> WatchedPolicies:
    """Senders made from now on have watched policies."""
    watch = WatchedPolicies()
    monkeypatch.setattr(sender, "make_policy", watch.make)
    return watch
