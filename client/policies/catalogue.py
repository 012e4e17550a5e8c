"""The policies by name: which settings make which. A new policy is one new module and its two lines here. Sans-IO."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING

import msgspec

from client.policies import Policy, Recollection, RouteFacts
from client.policies.lantern import Lantern
from client.policies.lantern_ranking import LanternSettings
from client.policies.outline import Outline, OutlineSettings
from client.policies.psiphon import Psiphon, PsiphonSettings
from client.policies.sidedoor import Sidedoor
from client.policies.sidedoor_settings import SidedoorSettings
from client.policies.signal import Signal, SignalSettings
from client.policies.tdlib import Tdlib
from client.policies.tdlib_settings import TdlibSettings
from client.policies.tg_android import TgAndroid
from client.policies.tg_android_settings import TgAndroidSettings

if TYPE_CHECKING:
    from client.settings import DialSettings

PolicySettings = (
    LanternSettings
    | OutlineSettings
    | PsiphonSettings
    | SidedoorSettings
    | SignalSettings
    | TdlibSettings
    | TgAndroidSettings
)


def make_policy(
    settings: PolicySettings,
    routes: Sequence[RouteFacts],
    *,
    random: Random,
    recollection: Recollection = Recollection(),  # noqa: B008 - immutable
) -> Policy:
    """The policy that `settings` names. `routes`: in order of preference, names unique; `recollection`: of this
    network; `random`: for jitter and ties."""
    match settings:
        case LanternSettings():
            return Lantern(routes, settings, random, recollection)
        case OutlineSettings():
            return Outline(routes, settings, random, recollection)
        case PsiphonSettings():
            return Psiphon(routes, settings, random, recollection)
        case SignalSettings():
            return Signal(routes, settings, random, recollection)
        case TdlibSettings():
            return Tdlib(routes, settings, random, recollection)
        case TgAndroidSettings():
            return TgAndroid(routes, settings, random, recollection)
        case _:
            return Sidedoor(routes, settings, random, recollection)


def dial_settings(settings: PolicySettings, default: DialSettings) -> DialSettings:
    """The limits of a dial's stages, none shorter than the policy's own: a policy that imitates a program waits as
    long as that does. Every such policy's settings have `stage_seconds`, `signal`'s the time between
    addresses, too; `sidedoor` goes by the default."""
    if isinstance(settings, SidedoorSettings):
        return default
    if isinstance(settings, SignalSettings):
        default = msgspec.structs.replace(default, stagger_seconds=settings.stagger_seconds)
    stages = ("connect_seconds", "socks_seconds", "tls_seconds", "upgrade_seconds")
    return msgspec.structs.replace(
        default, **{stage: max(getattr(default, stage), settings.stage_seconds) for stage in stages}
    )
