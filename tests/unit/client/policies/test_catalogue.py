from __future__ import annotations

from random import Random
from typing import Any, get_args

import pytest

from client.policies import Dial, RouteFacts
from client.policies.catalogue import PolicySettings, dial_settings, make_policy
from client.policies.sidedoor_settings import SidedoorSettings
from client.policies.signal import SignalSettings
from client.settings import DialSettings
from sidedoor.settings import convert

SETTINGS = get_args(PolicySettings)
BASELINES = [type_ for type_ in SETTINGS if type_ is not SidedoorSettings]
IDS = [type_.__struct_config__.tag for type_ in SETTINGS]


@pytest.mark.parametrize("type_", SETTINGS, ids=IDS)
def test_a_policy_is_made_by_its_name(type_: type) -> None:
    name = type_.__struct_config__.tag  # type: ignore[attr-defined] # msgspec gives it to every Struct
    settings: Any = convert({"name": name}, PolicySettings)  # type: ignore[arg-type] # a union is no class for mypy
    policy = make_policy(settings, [RouteFacts("direct", proxied=False)], random=Random(1))
    assert type(policy).__name__.lower() == name.replace("-", "")
    assert policy.start(0.0)[0] == Dial(1, "direct")


@pytest.mark.parametrize("type_", SETTINGS, ids=IDS)
def test_every_constant_is_explained(type_: type) -> None:
    documentation = type_.__doc__ or ""
    fields = type_.__struct_fields__  # type: ignore[attr-defined] # msgspec gives it to every Struct
    assert [field for field in fields if f"`{field}`" not in documentation] == []


@pytest.mark.parametrize("type_", BASELINES, ids=lambda type_: str(type_.__struct_config__.tag))
def test_no_stage_of_a_dial_ends_before_the_policy_would_end_it(type_: type) -> None:
    settings = type_()
    widened = dial_settings(settings, DialSettings())
    for stage in ("connect_seconds", "socks_seconds", "tls_seconds", "upgrade_seconds"):
        assert getattr(widened, stage) == max(settings.stage_seconds, getattr(DialSettings(), stage))
    patient = DialSettings(connect_seconds=100.0)
    assert dial_settings(settings, patient).connect_seconds == 100.0


def test_signal_staggers_the_addresses_of_a_name_as_it_does() -> None:
    assert dial_settings(SignalSettings(), DialSettings()).stagger_seconds == 0.3


def test_sidedoor_goes_by_the_default() -> None:
    assert dial_settings(SidedoorSettings(), DialSettings(tls_seconds=7.0)) == DialSettings(tls_seconds=7.0)
