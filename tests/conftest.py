"""What the markers `netns` and `docker` mean: skipped, with the reason, where the machine cannot do it.

`SIDEDOOR_REQUIRE=netns,docker` (as CI sets it) turns that skip into a failure. The machine is asked once, when the
first marked test comes up.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

from lab.doctor import docker_problems, netns_problems

ROOT = Path(__file__).resolve().parent.parent
REQUIRED = frozenset(filter(None, os.environ.get("SIDEDOOR_REQUIRE", "").replace(" ", "").split(",")))

# No property is timed: on a busy machine an example may take longer than the 200 ms that are the default limit.
settings.register_profile("untimed", deadline=None)


def pytest_configure() -> None:
    settings.load_profile("untimed")
    if unknown := REQUIRED - _PROBLEMS.keys():
        raise pytest.UsageError(f"SIDEDOOR_REQUIRE: unknown: {', '.join(sorted(unknown))}; known: netns, docker")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for ability, problems in _PROBLEMS.items():
        if item.get_closest_marker(ability) and (found := problems()):
            if ability in REQUIRED:
                pytest.fail(f"SIDEDOOR_REQUIRE has {ability}, but: {found[0]}", pytrace=False)
            pytest.skip(f"{ability}: {found[0]}")


@cache
def _netns_problems() -> list[str]:
    return netns_problems()


@cache
def _docker_problems() -> list[str]:
    """Docker's problems after the image was brought up to date: tests must not run an image of other sources."""
    if any(problem.startswith("Docker engine") for problem in docker_problems()):
        return docker_problems()
    if not shutil.which("docker"):
        return ["the docker program is missing; sudo apt-get install docker.io"]
    built = subprocess.run(
        ["sh", str(ROOT / "lab/docker/build-image.sh")], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    if built.returncode:
        return [f"the lab's image: {(built.stderr.strip() or 'build-image.sh failed').splitlines()[-1]}"]
    _make_the_engine_set_up_its_rules()
    return docker_problems()


def _make_the_engine_set_up_its_rules() -> None:
    """With its first network an engine makes chains of its own, which it keeps; tests compare what there is later."""
    name = "sidedoor-first-network"
    for command in (["create", "--subnet", "198.18.255.0/24", name], ["rm", name]):
        subprocess.run(["docker", "network", *command], capture_output=True, timeout=60, check=False)


_PROBLEMS = {"netns": _netns_problems, "docker": _docker_problems}
