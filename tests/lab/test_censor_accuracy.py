"""`sidedoor bench censor --accuracy`: no profile misses what it blocks, or hits what it does not.

The profiles that take longest (a time line, delays of seconds, policing) are left to the command itself.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lab.runtimes.netns import unshare_command

pytestmark = [pytest.mark.alone, pytest.mark.netns]
COMMAND = [sys.executable, "-m", "sidedoor", "bench", "censor", "--accuracy"]
SECONDS = 100
DETERMINISTIC = ("gfw-dns", "kazakhstan-2021")
OTHERS = ("gfw-fet-2021", "gfw-rst", "iran-2020-whitelist", "tspu-2022")


@pytest.mark.parametrize(("profiles", "flows"), [(DETERMINISTIC, 1000), (OTHERS, 200)], ids=["1000", "200"])
def test_mistakes(tmp_path: Path, profiles: tuple[str, ...], flows: int) -> None:
    out = tmp_path / "accuracy.json"
    command = [*COMMAND, "--flows", str(flows), "--json", str(out), *(f"--only={name}" for name in profiles)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    accuracy = json.loads(out.read_text())["accuracy"]
    assert set(accuracy) == set(profiles)
    for name, found in accuracy.items():
        assert (name, found["false_positives"], found["false_negatives"], found["unlikely"]) == (name, 0, 0, [])
        assert found["flows"] >= flows
        assert all(case["held"] for case in found["cases"])
        assert sum(case["flows"] for case in found["cases"] if case["innocent"]) >= flows / 2


def test_a_censor_that_does_not_do_what_its_profile_says_is_found_out(tmp_path: Path) -> None:
    """The same flows past a censor that blocks other names: everything that is to be hit passes."""
    program = (
        "import sys, dataclasses; from lab.benchmarks.censor.accuracy import inside, truths\n"
        "truth = truths.truth('kazakhstan-2021')\n"
        "inside.truth = lambda profile: dataclasses.replace(truth, lists={'blocked': ['nobody.example']})\n"
        "sys.argv[1:] = ['20', 'kazakhstan-2021']\n"
        "inside.main()\n"
    )
    command = [*unshare_command(), sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    counted = {one["name"]: one["fates"] for one in json.loads(done.stdout)["counted"]}
    assert counted["TLS name"] == {"passed": 5}
    assert counted["TLS, another name"] == {"passed": 3}
