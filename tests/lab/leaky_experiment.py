"""Experiments with clients that leak, for the checks that are to catch them. Entries for `lab.instance.run`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab import experiment
from lab.deployment import CLIENT, Deployment
from lab.runtimes import Runtime
from lab.scenario import Scenario
from lab.supervisor import RoleSpec
from lab.topology import ORIGIN_NAME

_ends = Deployment.ends


def without_encryption(arguments: dict[str, Any], runtime: Runtime, state: Path, stop: int) -> int:
    """Both ends do without keys: TLS to the origin is all there is, and the origin reads every word."""

    def ends(deployment: Deployment, scenario: Scenario, number: int, marker: str = "") -> list[RoleSpec]:
        specs = _ends(deployment, scenario, number, marker)
        for spec in specs:
            for settings in (spec.settings, spec.settings.get("sender", {})):
                settings.pop("private_key", None)
                settings.pop("peer_key", None)
        return specs

    return _run(ends, arguments, runtime, state, stop)


def with_a_direct_copy(arguments: dict[str, Any], runtime: Runtime, state: Path, stop: int) -> int:
    """On the client's host, something goes on resolving the messenger's name and dialing it, whatever is blocked."""

    def ends(deployment: Deployment, scenario: Scenario, number: int, marker: str = "") -> list[RoleSpec]:
        specs = _ends(deployment, scenario, number, marker)
        visits = {"sites": [ORIGIN_NAME], "ca_file": deployment.path_in_host(deployment.ca_file)}
        return [*specs, RoleSpec("copy", "bystander", CLIENT, visits)]

    return _run(ends, arguments, runtime, state, stop)


def _run(ends: Any, arguments: dict[str, Any], runtime: Runtime, state: Path, stop: int) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Deployment, "ends", ends)
        return experiment.run(arguments, runtime, state, stop)
