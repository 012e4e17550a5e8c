"""The policies by name: which settings make which. A new policy is one new module and its two lines here. Sans-IO."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from client.policies import Policy, Recollection, RouteFacts
from client.policies.sidedoor import Sidedoor
from client.policies.sidedoor_settings import SidedoorSettings

PolicySettings = SidedoorSettings


def make_policy(
    settings: PolicySettings,
    routes: Sequence[RouteFacts],
    *,
    random: Random,
    recollection: Recollection = Recollection(),  # noqa: B008 - immutable
) -> Policy:
    """The policy that `settings` names. `routes`: in order of preference, names unique; `recollection`: of this
    network; `random`: for jitter and ties."""
    return Sidedoor(routes, settings, random, recollection)
