"""Which clients may stand side by side."""

from __future__ import annotations

import msgspec
import pytest

from client.policies.catalogue import PolicySettings
from lab.benchmarks.fallback import arms
from sidedoor.settings import UsageError


def test_every_baseline_is_a_policy_of_the_client() -> None:
    assert {*arms.BASELINES, arms.OURS} == set(arms.registered())


@pytest.mark.parametrize("name", [arms.OURS, *arms.BASELINES, arms.NO_SPARE, arms.RACE, arms.DIRECT_ONLY])
def test_an_arm_has_settings_that_the_client_takes(name: str) -> None:
    arm = arms.find(name)
    assert arm.name == name
    assert msgspec.convert(arm.policy, PolicySettings)
    assert arm.proxies is (name != arms.DIRECT_ONLY)


def test_the_one_without_a_spare_holds_none() -> None:
    assert arms.find(arms.NO_SPARE).policy["standby"] == "cold"


def test_an_unknown_policy_is_named_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match=r"no policy 'telegram'; expected one of .*outline.*sidedoor-no-spare"):
        arms.find("telegram")
