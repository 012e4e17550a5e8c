"""What the markers `netns`, `docker` and `programs` mean: skipped, with the reason, where the machine cannot do it.

`SIDEDOOR_REQUIRE=netns,docker,clients` (as CI sets it) turns that skip into a failure: "clients" is about `programs`.
The machine is asked once, when the first marked test comes up.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
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


PACKAGES = {
    "chromium": "chromium",
    "curl": "curl",
    "fail2ban-regex": "fail2ban",
    "nc": "netcat-openbsd",
    "ncat": "ncat",
    "prosody": "prosody",
    "proxychains4": "proxychains4",
    "scp": "openssh-client",
    "socksify": "dante-client",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
    "systemd-analyze": "systemd",
    "systemd-socket-activate": "systemd",
}
"""Programs that tests are marked with, and the packages of Debian that have them."""


def pytest_configure(config: pytest.Config) -> None:
    # Who starts the tests in the background of a script has both ignored, and what the tests start would inherit that.
    for number, action in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, action)
    config.addinivalue_line("markers", "programs(name, ...): needs these programs")
    settings.load_profile("untimed")
    if unknown := REQUIRED - {*_PROBLEMS, "clients"}:
        known = "netns, docker, clients"
        raise pytest.UsageError(f"SIDEDOOR_REQUIRE: unknown: {', '.join(sorted(unknown))}; known: {known}")


def pytest_collection_finish() -> None:
    """What thousands of collected tests are made of stays: no later collection of garbage looks at it again."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    for ability, problems in _PROBLEMS.items():
        if item.get_closest_marker(ability) and (found := problems()):
            _cannot_run(ability, found[0])
    for mark in item.iter_markers("programs"):
        for name in mark.args:
            if find(name) is None:
                _cannot_run("clients", f"{name} is missing; sudo apt-get install {PACKAGES[name]}")


def _cannot_run(ability: str, why: str) -> None:
    if ability in REQUIRED:
        pytest.fail(f"SIDEDOOR_REQUIRE has {ability}, but: {why}", pytrace=False)
    pytest.skip(f"{ability}: {why}")


def find(program: str) -> str | None:
    """Its path, also where an ordinary user's PATH does not lead."""
    return shutil.which(program) or shutil.which(program, path="/usr/local/sbin:/usr/sbin:/sbin")


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


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Bytes may be drawn at import: a name made of them would not be the same in every process of a parallel run."""
    return argname if isinstance(val, bytes) else None
