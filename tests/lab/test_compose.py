"""The lab as a Compose project, end to end: up, real curl in the client's container, a block, the proxy, down."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import REQUIRED
from tests.lab.machine_state import left_behind, snapshot

pytestmark = pytest.mark.docker

FILE = Path(__file__).resolve().parents[2] / "lab/docker/compose.yaml"
LAB = "test"
PROJECT = f"sidedoor-{LAB}"
ORIGIN = "https://messenger.example/"
PROXY = ["--socks5-hostname", "198.51.100.11:1080"]

Run = Callable[..., subprocess.CompletedProcess[str]]


@cache
def program() -> list[str] | None:
    """Compose v2 where the docker program has it, else docker-compose."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) and not subprocess.run([*command, "version"], capture_output=True).returncode:
            return command
    return None


@pytest.fixture(scope="module")
def compose() -> Run:
    found = program()
    if found is None:
        reason = "docker: no Compose program; sudo apt-get install docker-compose"
        if "docker" in REQUIRED:
            pytest.fail(f"SIDEDOOR_REQUIRE has {reason}", pytrace=False)
        pytest.skip(reason)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*found, "-f", str(FILE), *arguments],
            env=os.environ | {"COMPOSE_PROJECT_NAME": PROJECT},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )

    return run


@pytest.fixture(scope="module")
def project(compose: Run) -> Iterator[Run]:
    before = snapshot() | {"volumes": volumes()}
    try:
        up = compose("up", "--detach")
        logs = compose("logs", "--no-color", "lab") if up.returncode else up
        assert up.returncode == 0, f"{up.stderr}\n{logs.stdout}"
        yield compose
    finally:
        down = compose("down", "--volumes")
    assert down.returncode == 0, down.stderr
    assert volumes() == before.pop("volumes")
    assert left_behind(before, lab=LAB) == {}


def volumes() -> set[str]:
    listed = subprocess.run(["docker", "volume", "ls", "--quiet"], capture_output=True, text=True, check=True)
    return set(listed.stdout.split())


@pytest.fixture
def curl(project: Run) -> Run:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return project("exec", "-T", "client", "curl", "-sS", "--max-time", "4", *arguments)

    return run


@pytest.fixture
def sidedoor(project: Run) -> Run:
    """The command, where the lab is."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return project("exec", "-T", "lab", "sidedoor", *arguments)

    return run


@pytest.mark.parametrize("family", ["-4", "-6"])
def test_with_nothing_blocked_both_ways_work(curl: Run, family: str) -> None:
    direct, proxied = curl(family, ORIGIN), curl(*PROXY, ORIGIN)
    assert direct.returncode == 0, direct.stderr
    assert direct.stdout == proxied.stdout != ""


@pytest.mark.parametrize(("rules", "status"), [("address", 28), ("domain", 6)], ids=["silence", "no such name"])
def test_a_block_of_the_quickstart_spares_the_proxy(curl: Run, sidedoor: Run, rules: str, status: int) -> None:
    applied = sidedoor("lab", "censor", "apply", f"quickstart/{rules}.toml")
    assert applied.returncode == 0, applied.stderr
    direct, proxied, innocent = curl(ORIGIN), curl(*PROXY, ORIGIN), curl("https://news.example/")
    lifted = sidedoor("lab", "censor", "clear")
    assert direct.returncode == status, direct.stderr
    assert proxied.returncode == 0, proxied.stderr
    assert innocent.returncode == 0, innocent.stderr
    assert lifted.returncode == 0, lifted.stderr
    assert curl(ORIGIN).returncode == 0


def test_the_way_leads_through_the_censor_and_nowhere_else(project: Run) -> None:
    routes = project("exec", "-T", "client", "sh", "-c", "ip -4 route show default; ip -6 route show default").stdout
    assert [line.split()[2] for line in routes.splitlines()] == ["192.0.2.1", "2001:db8:1::1"]
    assert project("exec", "-T", "wan", "ip", "route", "show", "default").stdout == ""
    changed = project("exec", "-T", "client", "ip", "route", "add", "198.18.0.0/15", "via", "192.0.2.254")
    assert "Operation not permitted" in changed.stderr


def test_status_and_what_is_not_the_labs_to_do(sidedoor: Run) -> None:
    status = sidedoor("lab", "status")
    assert "(attended)" in status.stdout
    assert "docker compose exec client curl" in status.stdout
    refused = sidedoor("lab", "exec", "client", "--", "true")
    assert refused.returncode == 2
    assert "docker compose exec client" in refused.stderr


def test_a_dead_proxy_is_seen_and_stop_and_up_mend_it(project: Run, curl: Run, sidedoor: Run) -> None:
    assert project("kill", "proxy1").returncode == 0
    dead = sidedoor("lab", "status")
    assert "dead     proxy1" in dead.stdout
    assert curl(*PROXY, ORIGIN).returncode != 0
    for again in (project("stop"), project("up", "--detach")):
        assert again.returncode == 0, again.stderr
    assert curl(*PROXY, ORIGIN).returncode == 0
    assert "dead" not in sidedoor("lab", "status").stdout
