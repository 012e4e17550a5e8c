"""What goes wrong is reported and cleaned up: no way out, roles and the lab killed in mid-run, interruption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.lab.machine_state import descendant, left_behind, snapshot

pytestmark = pytest.mark.netns

DEADLINE_SECONDS = 100

IDLE = 'name = "idle"\ndescription = "nothing happens"\nidle_seconds = 30\n'
BLOCKED_WITHOUT_PROXY1 = """
name = "proxy-dies"
description = "the first proxy dies while it is needed"

[policy]
name = "sidedoor"
standby = "cold"

[[block]]
name = "address"
rules = "address.toml"
healthy_seconds = 2
jitter_seconds = 0
block_seconds = 8

[expect]
recovered = true
lost = 0
duplicated_application = 0
"""
ADDRESS = (Path(__file__).parents[2] / "lab/scenarios/quickstart/address.toml").read_text()


def scenario(folder: Path, text: str, **files: str) -> Path:
    folder.mkdir()
    (folder / "scenario.toml").write_text(text)
    for name, content in files.items():
        (folder / f"{name}.toml").write_text(content)
    return folder


def start(folder: Path | str, out: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "sidedoor", "lab", "run", str(folder), "--out", str(out), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def events(out: Path) -> list[dict[str, Any]]:
    try:
        lines = (out / "events.jsonl").read_text().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def wait_for(out: Path, condition: Callable[[list[dict[str, Any]]], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition(events(out)):
        assert time.monotonic() < deadline, "the run did not get that far"
        time.sleep(0.1)


def acked(n: int) -> Callable[[list[dict[str, Any]]], bool]:
    return lambda seen: sum(event["event"] == "message_acked" for event in seen) >= n


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    stdout, stderr = process.communicate(timeout=DEADLINE_SECONDS)
    return process.returncode, stdout, stderr


def summary(out: Path) -> dict[str, Any]:
    found = json.loads((out / "summary.json").read_text())
    assert isinstance(found, dict)
    return found


def test_without_a_censor_nothing_switches_and_nothing_is_lost(tmp_path: Path) -> None:
    out = tmp_path / "out"
    status, _, stderr = finish(start("control", out))
    assert status == 0, stderr
    (run,) = summary(out)["runs"]
    assert run["messages"]["lost"] == 0
    assert run["messages"]["sent"] >= 100
    assert run["blocks"] == []
    assert not [event for event in events(out) if event["event"] in ("route_switched", "path_bad", "censor_hit")]


def test_with_the_proxies_blocked_too_it_is_right_censored(tmp_path: Path) -> None:
    out = tmp_path / "out"
    status, stdout, stderr = finish(start("proxies-blocked", out))
    assert status == 1
    assert "not recovered" in stderr
    (run,) = summary(out)["runs"]
    (block,) = run["blocks"]
    assert not block["recovered"]
    assert block["ttr_seconds"] is None
    assert block["censored_at_seconds"] > 3
    metric = summary(out)["metrics"]["everything"]["ttr_seconds"]
    assert (metric["n"], metric["n_censored"]) in ((1, 1), (0, 1))
    assert run["messages"]["lost"] == 0, "what could not go during the block goes afterwards"
    assert "not recovered" in " ".join(stdout.split()).lower()


@pytest.mark.parametrize("role", ["origin", "censor"])
def test_a_role_that_the_run_needs_is_killed(tmp_path: Path, role: str) -> None:
    out, before = tmp_path / "out", snapshot()
    process = start(scenario(tmp_path / "idle", IDLE), out)
    wait_for(out, acked(20))
    os.kill(descendant(process.pid, f"sd-{role}"), signal.SIGKILL)
    killed = time.monotonic()
    status, _stdout, stderr = finish(process)
    assert time.monotonic() - killed < 20
    assert status == 1
    assert role in stderr
    (run,) = summary(out)["runs"]
    assert any(role in problem for problem in run["problems"]), run["problems"]
    assert (out / "report.html").exists()
    assert left_behind(before, lab=f"run-{process.pid}") == {}


def test_a_proxy_is_killed_and_the_other_one_serves(tmp_path: Path) -> None:
    out, before = tmp_path / "out", snapshot()
    process = start(scenario(tmp_path / "proxy-dies", BLOCKED_WITHOUT_PROXY1, address=ADDRESS), out)
    wait_for(out, lambda seen: any(e["event"] == "route_switched" for e in seen))
    os.kill(descendant(process.pid, "sd-proxy1"), signal.SIGKILL)
    status, _, stderr = finish(process)
    assert status == 1, "a role died that the scenario did not mean to lose"
    assert "proxy1" in stderr
    (run,) = summary(out)["runs"]
    assert any("proxy1" in problem for problem in run["problems"])
    assert run["blocks"][0]["recovered"]
    assert (run["messages"]["lost"], run["messages"]["duplicated_application"]) == (0, 0)
    assert any(e["event"] == "route_switched" and e["new"] == "proxy2" for e in events(out))
    assert left_behind(before, lab=f"run-{process.pid}") == {}


@pytest.mark.parametrize("victim", ["the command", "sd-lab", "sd-init"])
def test_the_lab_itself_is_killed(tmp_path: Path, victim: str) -> None:
    out, before = tmp_path / "out", snapshot()
    process = start(scenario(tmp_path / "idle", IDLE), out)
    wait_for(out, acked(20))
    pid = process.pid if victim == "the command" else descendant(process.pid, victim)
    os.kill(pid, signal.SIGKILL)
    status, _, _ = finish(process)
    assert status != 0
    _wait_until_gone(before, f"run-{process.pid}")
    # Only the state folder of a killed command stays; `lab clean` removes it.
    assert left_behind(before, lab=f"run-{process.pid}", but=frozenset({"folders"})) == {}
    subprocess.run([sys.executable, "-m", "sidedoor", "lab", "clean"], check=True, capture_output=True)
    assert left_behind(before, lab=f"run-{process.pid}") == {}


def _wait_until_gone(before: dict[str, set[str]], lab: str) -> None:
    """The kernel takes a moment to take a PID namespace apart."""
    deadline = time.monotonic() + 10
    while "processes" in left_behind(before, lab=lab) and time.monotonic() < deadline:
        time.sleep(0.05)


@pytest.mark.docker
def test_a_lab_in_containers_is_killed(tmp_path: Path) -> None:
    """Nothing of the lab outlives it there either: a reaper sees its end."""
    out, before = tmp_path / "out", snapshot()
    process = start(scenario(tmp_path / "idle", IDLE), out, "--runtime", "docker")
    wait_for(out, acked(20))
    mine = f"sidedoor-run-{process.pid}-"
    assert len([name for name in snapshot()["containers"] if name.startswith(mine)]) == 10
    process.kill()
    finish(process)
    deadline = time.monotonic() + 30
    while left_behind(before, lab=f"run-{process.pid}", but=frozenset({"folders"})) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left_behind(before, lab=f"run-{process.pid}", but=frozenset({"folders"})) == {}
    subprocess.run([sys.executable, "-m", "sidedoor", "lab", "clean"], check=True, capture_output=True)
    assert left_behind(before, lab=f"run-{process.pid}") == {}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_reports_what_it_has(tmp_path: Path, number: signal.Signals) -> None:
    out, before = tmp_path / "out", snapshot()
    process = start(scenario(tmp_path / "idle", IDLE), out)
    wait_for(out, acked(20))
    process.send_signal(number)
    status, stdout, stderr = finish(process)
    assert status == 130, stderr
    (run,) = summary(out)["runs"]
    assert run["messages"]["sent"] >= 20
    assert any("interrupted" in problem for problem in run["problems"])
    assert stdout.startswith(f"interrupted at {run['ended_seconds']:.1f} s")
    assert left_behind(before, lab=f"run-{process.pid}") == {}


@pytest.mark.parametrize("runtime", ["netns", pytest.param("docker", marks=pytest.mark.docker)])
def test_a_second_interruption_ends_it_at_once(tmp_path: Path, runtime: str) -> None:
    out, before = tmp_path / "out", snapshot()
    process = start(scenario(tmp_path / "idle", IDLE), out, "--runtime", runtime)
    wait_for(out, acked(20))
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    while "interrupted: measuring" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    status, _, stderr = finish(process)
    assert status == 130
    assert [line for line in stderr.splitlines() if not line.startswith("  ")] == [
        "sidedoor: interrupted again: ended at once, without results"
    ]
    _wait_until_gone(before, f"run-{process.pid}")
    assert left_behind(before, lab=f"run-{process.pid}") == {}


def test_a_run_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    out = tmp_path / "out"
    text = IDLE + "[expect]\nmessages_at_least = 1000000\n"
    status, stdout, stderr = finish(start(scenario(tmp_path / "idle", text), out, "--timeout", "5"))
    assert status == 1
    assert "not done within 5 s" in stderr
    assert "expected at least" not in stderr, "nothing is expected of a run that was cut short"
    assert stdout.startswith("timed out at 5.")


def test_a_planned_fault_is_told_and_is_no_problem(tmp_path: Path) -> None:
    out = tmp_path / "out"
    text = IDLE.replace("30", "4") + '[[fault]]\nkill = "proxy2"\nat_seconds = 2\n'
    status, stdout, stderr = finish(start(scenario(tmp_path / "idle", text), out))
    assert status == 0, stderr
    assert "proxy2 was killed at 2.0 s, as planned." in stdout
    (run,) = summary(out)["runs"]
    assert (run["outcome"], run["problems"]) == ("completed", [])
    assert [fault["role"] for fault in run["faults"]] == ["proxy2"]
    assert "proxy2 killed" in (out / "report.html").read_text()


def _as_mapped_root(command: list[str]) -> subprocess.CompletedProcess[str]:
    """The folder of the labs of user 0 may be there and be the real root's: it gets another one."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"TMPDIR": folder}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_root_of_a_user_namespace_has_labs_of_its_own() -> None:
    done = _as_mapped_root(["unshare", "--user", "--map-root-user", sys.executable, "-m", "sidedoor", "lab", "clean"])
    assert (done.returncode, done.stdout) == (0, "nothing to clean\n"), done.stderr


def test_no_permission_is_one_line(tmp_path: Path) -> None:
    """In a user namespace that may not have further ones, as under a hardened kernel."""
    command = f"echo 0 > /proc/sys/user/max_net_namespaces && exec {sys.executable} -m sidedoor lab run control"
    unshare = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--mount-proc"]
    done = _as_mapped_root([*unshare, "sh", "-c", f"{command} --out {tmp_path / 'out'}"])
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert "namespaces" in line
    assert "doctor" in line


def test_a_missing_tool_is_one_line(tmp_path: Path) -> None:
    """With nothing of the system's but Python on a file system of its own view."""
    hidden = tmp_path / "empty"
    hidden.touch(mode=0o644)
    script = (
        "for tool in nft; do for folder in /usr/sbin /sbin /usr/bin /bin; do "
        f"[ -e $folder/$tool ] && mount --bind {hidden} $folder/$tool; done; done; "
        f"exec {sys.executable} -m sidedoor lab run control --out {tmp_path / 'out'}"
    )
    done = _as_mapped_root(["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script])
    assert done.returncode == 2, done.stderr
    assert "nft" in done.stderr
    assert "apt-get install" in done.stderr
