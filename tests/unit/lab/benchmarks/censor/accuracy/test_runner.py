"""lab/benchmarks/censor/accuracy/runner.py: a shell script stands for the process in the namespaces."""

from __future__ import annotations

import json

import pytest

from censor import profiles
from lab.benchmarks.censor import runner as processes
from lab.benchmarks.censor.accuracy import runner
from lab.benchmarks.censor.accuracy.truths import truth
from lab.benchmarks.processes import BenchError
from sidedoor.settings import UsageError


def test_profiles_in_their_order() -> None:
    assert runner.chosen([]) == list(profiles.names())
    assert runner.chosen(["tspu-2022", "gfw-dns"]) == ["gfw-dns", "tspu-2022"]
    with pytest.raises(UsageError, match="did you mean 'gfw-dns'"):
        runner.chosen(["gfw-dn"])
    with pytest.raises(UsageError, match="there are gfw-dns"):
        runner.chosen(["?"])


def test_what_the_machine_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "check_tools", lambda: None)
    monkeypatch.setattr("shutil.which", lambda name, path: name)
    runner.check_machine()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pip install aioquic"):
        runner.check_machine()
    monkeypatch.setattr("shutil.which", lambda name, path: None)
    with pytest.raises(UsageError, match="needs ip, nsenter"):
        runner.check_machine()


def test_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = [{"name": case.name, "fates": {"passed": 2}} for case in truth("kazakhstan-2021").cases]
    good = json.dumps({"profile": "kazakhstan-2021", "counted": counted, "seconds": 2.5, "packets_missed": 3})
    bad = json.dumps({"profile": "gfw-dns", "failure": "the censor ended"})
    script = f"cat > /dev/null; echo '{good}'; echo '{bad}'"
    monkeypatch.setattr(processes, "unshare_command", lambda: ["sh", "-c", script, "sh"])
    seen: list[str] = []
    first, second = runner.run(["kazakhstan-2021", "gfw-dns"], 20, seen.append)
    assert seen == ["kazakhstan-2021, 20 flows", "gfw-dns, 20 flows"]
    assert (first.flows, first.false_negatives, first.seconds, first.packets_missed) == (12, 4, 2.5, 3)
    assert (second.profile, second.failure, second.held) == ("gfw-dns", "the censor ended", False)


def test_a_process_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "unshare_command", lambda: ["sh", "-c", "exit 3", "sh"])
    with pytest.raises(BenchError, match="ended with status 3"):
        runner.run(["gfw-dns"], 20)
