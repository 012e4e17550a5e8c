from __future__ import annotations

from typing import Any

import msgspec
import pytest

from client.policies.catalogue import PolicySettings
from client.policies.psiphon import PsiphonSettings
from client.policies.sidedoor_settings import SidedoorSettings
from sidedoor.settings import SettingsError, convert


@pytest.mark.parametrize(
    ("type_", "key", "wrong", "least"),
    [
        (SidedoorSettings, "trial_seconds", -0.1, "0"),
        (SidedoorSettings, "probe_seconds", 0, "0.05"),
        (SidedoorSettings, "probe_successes", 0, "1"),
    ],
)
def test_what_no_policy_can_mean_is_refused(type_: type[Any], key: str, wrong: float, least: str) -> None:
    with pytest.raises(SettingsError, match=rf"`{key}`: expected .* at least {least}; found"):
        convert({"name": type_.__struct_config__.tag, key: wrong}, type_)


@pytest.mark.parametrize("probability", [-0.1, 1.1])
def test_a_probability_is_between_0_and_1(probability: float) -> None:
    with pytest.raises(SettingsError, match=r"`replay_retained`: expected a number from 0 to 1"):
        convert({"name": "psiphon", "replay_retained": probability}, PsiphonSettings)


@pytest.mark.parametrize("type_", PolicySettings.__args__, ids=lambda type_: type_.__struct_config__.tag)
def test_every_number_of_every_policy_has_a_range(type_: type[Any]) -> None:
    fields = msgspec.inspect.type_info(type_).fields  # type: ignore[attr-defined] # a struct's
    numbers = [f for f in fields if isinstance(f.type, msgspec.inspect.FloatType | msgspec.inspect.IntType)]
    assert numbers
    assert [field.name for field in numbers if field.type.ge is None] == []
