"""Arms: the clients that stand side by side in a lab, each with a policy, and the routes that it is given. Sans-IO."""

from __future__ import annotations

import typing
from dataclasses import dataclass, field
from typing import Any

import msgspec

from client.policies.catalogue import PolicySettings
from sidedoor.settings import UsageError

OURS = "sidedoor"
NO_SPARE = "sidedoor-no-spare"
RACE = "sidedoor-race"
DIRECT_ONLY = "direct-only"
BASELINES = ("tg-android", "tdlib", "outline", "psiphon", "lantern", "signal")


@dataclass(frozen=True, slots=True)
class Arm:
    """policy: the settings (`[policy]`) of a client; proxies: whether it has any (the same list for all that do)."""

    name: str
    policy: dict[str, Any] = field(default_factory=dict)
    proxies: bool = True


_VARIANTS = {
    NO_SPARE: Arm(NO_SPARE, {"name": OURS, "standby": "cold"}),
    RACE: Arm(RACE, {"name": OURS, "first_proxies": 4}),
    DIRECT_ONLY: Arm(DIRECT_ONLY, {"name": OURS, "standby": "cold"}, proxies=False),
}


def registered() -> list[str]:
    """The names of the policies that the client has."""
    kinds = typing.get_args(PolicySettings) or (PolicySettings,)
    return sorted(str(msgspec.inspect.type_info(kind).tag) for kind in kinds)  # type: ignore[attr-defined]


def find(name: str) -> Arm:
    """A policy with its default settings, or one of the variants here. Raises UsageError that names what there is."""
    if name in _VARIANTS:
        return _VARIANTS[name]
    if name not in registered():
        raise UsageError(f"--policy: no policy {name!r}; expected one of {', '.join([*registered(), *_VARIANTS])}")
    return Arm(name, {"name": name})
