"""An interactive lab: real curl from the client's place, with nothing blocked, with a block, through the proxy."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.scenario import SHIPPED
from sidedoor.api import Lab
from tests.lab.machine_state import left_behind, snapshot

DOMAIN_RULES = SHIPPED / "quickstart" / "domain.toml"
ADDRESS_RULES = SHIPPED / "quickstart" / "address.toml"
ORIGIN = "https://messenger.example/"
NAME = "test-session"


def sidedoor(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sidedoor", *arguments], capture_output=True, text=True, timeout=90, check=False
    )


def curl(*arguments: str) -> subprocess.CompletedProcess[str]:
    return sidedoor("lab", "exec", "--name", NAME, "client", "--", "curl", "-sS", "--max-time", "4", *arguments)


def ipv4_routes() -> str:
    return Path("/proc/net/route").read_text()


@pytest.fixture(
    scope="module",
    params=[pytest.param("netns", marks=pytest.mark.netns), pytest.param("docker", marks=pytest.mark.docker)],
)
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    before = snapshot()
    routes = ipv4_routes()
    up = sidedoor("lab", "up", "--name", NAME, "--runtime", request.param)
    assert up.returncode == 0, up.stderr
    assert ipv4_routes() == routes, "the machine keeps its own routes, should it live in such a range itself"
    yield Lab.find(NAME)
    down = sidedoor("lab", "down", "--name", NAME)
    assert down.returncode == 0, down.stderr
    assert left_behind(before, lab=NAME) == {}


@pytest.fixture
def through_the_proxy(lab: Lab) -> list[str]:
    return ["--socks5-hostname", lab.status()["proxies"][0]]


def test_with_nothing_blocked_both_ways_work(lab: Lab, through_the_proxy: list[str]) -> None:
    lab.clear()
    direct, proxied = curl(ORIGIN), curl(*through_the_proxy, ORIGIN)
    assert direct.returncode == 0, direct.stderr
    assert proxied.returncode == 0, proxied.stderr
    assert direct.stdout == proxied.stdout != ""


def test_with_the_name_blocked_only_the_proxy_works(lab: Lab, through_the_proxy: list[str]) -> None:
    applied = sidedoor("lab", "censor", "apply", "--name", NAME, str(DOMAIN_RULES))
    assert applied.returncode == 0, applied.stderr
    direct, by_address, proxied, innocent = (
        curl(ORIGIN),
        curl("--resolve", "messenger.example:443:203.0.113.10", ORIGIN),
        curl(*through_the_proxy, ORIGIN),
        curl("https://cdn.messenger.example.net/"),
    )
    assert direct.returncode == 6, direct.stderr  # could not resolve host
    assert by_address.returncode == 35, by_address.stderr  # reset during the TLS handshake
    assert "reset" in by_address.stderr.lower()
    assert proxied.returncode == 0, proxied.stderr
    assert innocent.returncode == 0, innocent.stderr


@pytest.mark.parametrize("family", ["-4", "-6"])
def test_with_the_address_blocked_it_is_silence(lab: Lab, through_the_proxy: list[str], family: str) -> None:
    lab.apply(ADDRESS_RULES.read_text(), origin=str(ADDRESS_RULES))
    assert lab.status()["rules"] == ["messenger-addresses"]
    direct, proxied = curl(family, ORIGIN), curl(*through_the_proxy, ORIGIN)
    assert direct.returncode == 28, direct.stderr  # timed out
    assert proxied.returncode == 0, proxied.stderr
    lab.clear()
    assert curl(family, ORIGIN).returncode == 0


def test_bad_rules_are_refused_and_the_old_ones_stay(lab: Lab, tmp_path: Path) -> None:
    lab.apply(ADDRESS_RULES.read_text())
    bad = tmp_path / "bad.toml"
    bad.write_text('[[rule]]\nname = "x"\ndomain = ["messenger.example"]\naction = "drop"\n')
    refused = sidedoor("lab", "censor", "apply", "--name", NAME, str(bad))
    assert refused.returncode == 2
    assert "did you mean `domains`" in refused.stderr
    assert str(bad) in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    assert lab.status()["rules"] == ["messenger-addresses"]
    lab.clear()


def test_lists_lie_beside_the_rules_file(lab: Lab, tmp_path: Path) -> None:
    """A profile with the user's own lists: the registry's rows of real dumps, in its encoding."""
    rules = tmp_path / "rules.toml"
    rules.write_text('censor.profile = "gfw-rst"\n[[list]]\nname = "blocked"\nfile = "dump.csv"\n')
    (tmp_path / "dump.csv").write_bytes(
        "Updated: 2026-11-25 12:00:00 +0300\n;messenger.example;;Минцифры;1;2026-11-25\n".encode("windows-1251")
    )
    applied = sidedoor("lab", "censor", "apply", "--name", NAME, str(rules))
    assert applied.returncode == 0, applied.stderr
    assert "tls-2023" in lab.status()["rules"]
    named, innocent = curl(ORIGIN), curl("https://news.example/")
    assert named.returncode == 35, named.stderr  # reset during the TLS handshake
    assert innocent.returncode == 0, innocent.stderr
    lab.apply(rules.read_text(), folder=tmp_path)  # the same from a program
    assert curl(ORIGIN).returncode == 35
    (tmp_path / "dump.csv").unlink()
    refused = sidedoor("lab", "censor", "apply", "--name", NAME, str(rules))
    assert refused.returncode == 2
    assert f"{tmp_path}/dump.csv: cannot be read" in refused.stderr
    assert curl(ORIGIN).returncode == 35, "and nothing has changed"
    lab.clear()
    assert curl(ORIGIN).returncode == 0


def test_a_second_lab_of_the_name_is_refused(lab: Lab) -> None:
    again = sidedoor("lab", "up", "--name", NAME)
    assert again.returncode == 2
    assert "is up already" in again.stderr


def test_exec_passes_the_status_on_and_names_the_hosts(lab: Lab) -> None:
    assert sidedoor("lab", "exec", "--name", NAME, "wan", "--", "sh", "-c", "exit 7").returncode == 7
    unknown = sidedoor("lab", "exec", "--name", NAME, "nowhere", "--", "true")
    assert unknown.returncode == 2
    assert "client" in unknown.stderr


def test_a_program_that_is_not_there(lab: Lab) -> None:
    done = sidedoor("lab", "exec", "--name", NAME, "client", "--", "nosuchprog")
    assert (done.returncode, done.stdout) == (127, "")
    assert done.stderr == "sidedoor: host client has no program 'nosuchprog'\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_program_ends_with_the_command_that_ran_it(lab: Lab, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "sidedoor", "lab", "exec", "--name", NAME, "client", "--"]
    process = subprocess.Popen([*command, "sh", "-c", "echo here; exec sleep 83831"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"here\n"
        process.send_signal(number)
        assert process.wait(20) in (-number, 128 + number)
    deadline = time.monotonic() + 10
    while sidedoor("lab", "exec", "--name", NAME, "client", "--", "pgrep", "-f", "sleep 8383[1]").returncode == 0:
        assert time.monotonic() < deadline


def test_hints_are_for_this_lab(lab: Lab) -> None:
    assert f"sidedoor lab exec --name {NAME} client -- curl" in sidedoor("lab", "status", "--name", NAME).stdout
    other = sidedoor("lab", "down", "--name", "other")
    assert other.returncode == 2
    assert NAME in other.stderr
    assert NAME in sidedoor("lab", "status", "--all").stdout


def test_status_for_programs(lab: Lab) -> None:
    state = json.loads(sidedoor("lab", "status", "--name", NAME, "--json").stdout)
    assert state["hosts"]["client"] == ["192.0.2.10", "2001:db8:1::10"]
    assert state["dead"] == []
    assert {"censor", "origin", "proxy1", "proxy2", "link", "dns", "web"} <= set(state["roles"])
