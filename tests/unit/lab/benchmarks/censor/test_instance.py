"""What the kernel and the censor's events tell; that a censor runs is tests/lab/test_bench_censor.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lab.benchmarks.censor import instance
from lab.benchmarks.censor.subjects import DUMP, RULES, Subject
from lab.benchmarks.processes import BenchError

RULE = '[[rule]]\nname = "x"\naction = "drop"\naddresses = ["198.18.0.1"]\n'
TABLE = """\
  100  17031     0 2 65531     0     0   422  1
  101  17032     3 2 65531    10     0    78  1
"""


def test_the_kernels_count_of_queued_packets() -> None:
    assert instance.packets_queued(TABLE) == 500
    assert instance.packets_queued("") == 0


def test_missed_packets_are_summed_up_to_the_last_whole_line() -> None:
    events = b'{"event":"censor_ready"}\n{"event":"packets_missed","count":3}\n{"event":"packets_missed","count":4}\n'
    assert instance.packets_missed(events) == 7
    assert instance.packets_missed(events + b'{"event":"packets_missed","cou') == 7
    assert instance.packets_missed(b"") == 0


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that were asked for; a shell script that runs in place of the censor comes first."""
    seen: list[list[str]] = [[]]

    def on(host: str, command: list[str]) -> list[str]:
        seen.append(command)
        # A shell cannot trap a signal that was ignored when it began, as after nohup.
        return ["env", "--default-signal=HUP", "sh", "-c", seen[0][0], "sh", command[-1]]

    monkeypatch.setattr(instance, "on", on)
    return seen


def test_a_censor_that_does_not_start_says_why(script: list[list[str]], tmp_path: Path) -> None:
    script[0] = ["echo no permission >&2; exit 2"]
    with pytest.raises(BenchError, match="did not start: no permission"), instance.started(Subject("x"), tmp_path):
        pytest.fail("it started")


def test_a_censor_that_is_never_ready(script: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script[0] = ["read x"]
    monkeypatch.setattr(instance, "START_SECONDS", 0.0)
    with pytest.raises(BenchError, match="0 of 0 rules"), instance.started(Subject("x"), tmp_path):
        pytest.fail("it started")


def test_a_list_is_exchanged(script: list[list[str]], tmp_path: Path) -> None:
    said = "echo rules read again >&2"
    ready = """echo '{"event":"censor_ready"}' > "$1" """
    # Not `read`: a signal just before it blocks would wait for its end.
    script[0] = [f"trap '{said}' HUP; {ready}; while :; do sleep 0.01; done"]
    dumps = [tmp_path / "a", tmp_path / "b"]
    for dump in dumps:
        dump.write_text(dump.name)
    subject = Subject("registry", ("--rules", RULES), f'[[list]]\nname = "registry"\nfile = "{DUMP}"\n')
    with instance.started(subject, tmp_path, dumps) as censor:
        used = tmp_path / "dump.csv"
        assert f'file = "{used}"' in (tmp_path / "rules.toml").read_text()
        assert used.read_text() == "a"
        assert 0 <= censor.reload() < instance.START_SECONDS
        assert used.read_text() == "b"
        censor.reload()
        assert used.read_text() == "a"


def test_a_list_that_is_not_exchanged(script: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ready = """echo '{"event":"censor_ready"}' > "$1" """
    script[0] = [f"trap : HUP; {ready}; echo bad rules >&2; mkfifo $1.pipe; while :; do read x <> $1.pipe; done"]
    (tmp_path / "a").touch()
    with instance.started(Subject("registry"), tmp_path, [tmp_path / "a"]) as censor:
        monkeypatch.setattr(instance, "START_SECONDS", 0.0)
        with pytest.raises(BenchError, match="not read again within 0 s: bad rules"):
            censor.reload()


def test_a_rule_that_is_never_in_force(
    script: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script[0] = ["""echo '{"event":"censor_ready"}' > "$1"; mkfifo "$1.pipe"; read x <> "$1.pipe" """]
    monkeypatch.setattr(instance, "START_SECONDS", 0.2)
    with pytest.raises(BenchError, match="0 of 1 rules"), instance.started(Subject("x", (), RULE), tmp_path):
        pytest.fail("they are")


def test_a_censor_that_is_ready(script: list[list[str]], tmp_path: Path) -> None:
    # It stays until it is ended: a pipe that has no writer but itself never ends.
    events = '{"event":"censor_ready"}\\n{"event":"rule_enforced","rule":"x"}'
    script[0] = [f"""printf '{events}' > "$1"; mkfifo "$1.pipe"; read x <> "$1.pipe" """]
    subject = Subject("addresses", ("--rules", RULES), RULE)
    with instance.started(subject, tmp_path) as censor:
        censor.check()
        assert censor.packets_missed == 0
        assert censor.cpu_seconds >= 0
        assert (censor.pss_bytes or 0) > 0
    with pytest.raises(BenchError, match="ended"):
        censor.check()
    assert censor.packets_queued == 0
    rules = tmp_path / "rules.toml"
    assert rules.read_text() == RULE
    start = script[1]
    assert start[:5] == [sys.executable, "-m", "sidedoor", "censor", "run"]
    assert start[5:7] == ["--rules", str(rules)]


def test_a_stage_is_waited_for(script: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = '{"event":"censor_ready"}\\n{"event":"stage_reached"}\\n{"event":"stage_reached"}\\n'
    script[0] = [f"""printf '{events}' > "$1"; mkfifo "$1.pipe"; read x <> "$1.pipe" """]
    with instance.started(Subject("x"), tmp_path) as censor:
        censor.reach_stage(2)
        monkeypatch.setattr(instance, "START_SECONDS", 0.0)
        with pytest.raises(BenchError, match="did not reach stage 3"):
            censor.reach_stage(3)
