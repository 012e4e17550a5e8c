"""Other programs in the censor's place: the scenario that ships, one whose censor dies, an interactive lab without."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lab.measurement.from_captures import read_episodes
from lab.topology import ORIGIN_NAME, standard

AGREEMENT_SECONDS = 0.05


def lab(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sidedoor", "lab", *arguments], capture_output=True, text=True, timeout=110, check=False
    )


@pytest.mark.alone
@pytest.mark.parametrize(
    "runtime",
    [pytest.param("netns", marks=pytest.mark.netns), pytest.param("docker", marks=pytest.mark.docker)],
)
def test_a_shell_script_is_measured_like_any_censor(runtime: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    ran = lab("run", "foreign-censor", "--runtime", runtime, "--out", str(folder), "--seed", "7")
    assert ran.returncode == 0, ran.stderr
    (run,) = json.loads((folder / "summary.json").read_text())["runs"]
    (block,) = run["blocks"]
    before, after = block["t0_rule"]
    assert before <= block["t0"] < after + 0.5
    assert block["recovered"]
    assert block["tts_seconds"] <= block["ttr_seconds"]
    assert block["ttr_seconds"] < block["ttd_seconds"], "of silence copies by the spare do not wait for the verdict"
    assert (folder / "logs" / "run1-censor.log").read_text().splitlines() == [
        "the sets stand",
        "add: 203.0.113.10, 2001:db8:2::10",
        "delete: 203.0.113.10, 2001:db8:2::10",
    ]
    capture = folder / "capture"
    topology = standard()
    (seen,) = read_episodes(
        home=capture / "run1-censor-home.pcap",
        uplink=capture / "run1-censor-uplink.pcap",
        client=capture / "run1-client-home.pcap",
        key_log=capture / "run1-tls.keylog",
        client_addresses=topology.host("client").addresses(),
        messenger_addresses=topology.names[ORIGIN_NAME],
        messenger_names=[ORIGIN_NAME],
        start=run["clock"]["realtime"],
    )
    assert seen.t0 == pytest.approx(block["t0"], abs=AGREEMENT_SECONDS)
    assert seen.tts_seconds == pytest.approx(block["tts_seconds"], abs=AGREEMENT_SECONDS)
    assert seen.ttr_seconds == pytest.approx(block["ttr_seconds"], abs=AGREEMENT_SECONDS)


@pytest.mark.netns
def test_a_foreign_censor_that_dies_ends_the_run(tmp_path: Path) -> None:
    scenario = tmp_path / "dies"
    scenario.mkdir()
    (scenario / "scenario.toml").write_text(
        'name = "dies"\ndescription = "its censor dies"\nidle_seconds = 30\n[censor]\n'
        'command = ["sh", "-c", "echo about to die; sleep 3; exit 5"]\n'
    )
    ran = lab("run", str(scenario), "--out", str(tmp_path / "run"))
    assert ran.returncode == 1
    assert "censor ended by itself with status 1" in ran.stderr
    log = (tmp_path / "run/logs/run1-censor.log").read_text()
    assert log.startswith("about to die\n")
    assert "sh ended with status 5" in log


@pytest.mark.netns
def test_an_interactive_lab_without_sidedoors_censor() -> None:
    name = "test-without-censor"
    assert lab("up", "--name", name, "--without-censor").returncode == 0
    try:
        get = ["exec", "--name", name, "client", "--", "curl", "-sS", "--max-time", "2", "https://messenger.example/"]
        assert lab(*get).returncode == 0
        for family in ("iptables", "ip6tables"):
            rule = [family, "-I", "FORWARD", "-p", "tcp", "--dport", "443", "-j", "DROP"]
            assert lab("exec", "--name", name, "censor", "--", *rule).returncode == 0
        assert lab(*get).returncode == 28  # timed out
        refused = lab("censor", "clear", "--name", name)
        assert refused.returncode != 0
        assert "role censor is not running" in refused.stderr
    finally:
        assert lab("down", "--name", name).returncode == 0
