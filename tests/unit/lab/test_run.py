"""One run's steps and ends, with roles that exist on paper only."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lab.control import CommandFailed
from lab.deployment import Deployment
from lab.run import Run, RunRecord
from lab.scenario import Block, Fault, ForeignCensor, Scenario
from lab.supervisor import RoleFailed, RoleSpec
from tests.unit.lab.test_deployment import PaperRuntime

RULES = '[[rule]]\nname = "everything"\naddresses = ["203.0.113.0/24"]\naction = "drop"\n'
BLOCK = Block(
    name="all",
    rules="all.toml",
    healthy_seconds=0,
    jitter_seconds=0,
    block_seconds=0,
    recover_within_seconds=0,
    fail_back_within_seconds=0,
)


class PaperRole:
    """The line to a role; what it is told is noted."""

    def __init__(self, supervisor: PaperSupervisor, role: str) -> None:
        self._supervisor = supervisor
        self._role = role

    async def call(self, command: str, /, *, timeout: float = 30.0, **arguments: Any) -> dict[str, Any]:
        self._supervisor.done.append(f"{self._role} {command}")
        self._supervisor.told[f"{self._role} {command}"] = arguments
        if answer := self._supervisor.answers.get(f"{self._role} {command}"):
            answer()
        return {"ok": True, "rules": ["everything"]}


class PaperSupervisor:
    """Starts and stops nothing; `answers`: what happens when "ROLE COMMAND" is called, or a role is started."""

    def __init__(self, lab: Path) -> None:
        self.runtime = PaperRuntime(lab)
        self.done: list[str] = []
        self.killed: list[str] = []
        self.told: dict[str, dict[str, Any]] = {}
        self.kinds: dict[str, str] = {}
        self.answers: dict[str, Callable[[], None]] = {}
        self._running: dict[str, int] = {}

    async def start(self, *specs: RoleSpec, log_prefix: str = "") -> None:
        for spec in specs:
            self.kinds[spec.role] = spec.kind
            self._running[spec.role] = 100 + len(self._running)
            if answer := self.answers.get(f"start {spec.role}"):
                answer()

    async def stop(self, *names: str) -> None:
        self.done.append(f"stop {' '.join(sorted(names))}")
        for name in names:
            del self._running[name]

    def role(self, name: str) -> PaperRole:
        return PaperRole(self, name)

    def roles(self) -> dict[str, int]:
        return dict(self._running)

    def kill(self, name: str) -> None:
        self.killed.append(name)


class Stage:
    """A run of a scenario with `fields`, and its supervisor. The client's first message is acked at once."""

    def __init__(self, folder: Path, *, lab: Path = Path("/lab"), **fields: Any) -> None:
        (folder / "all.toml").write_text(RULES)
        self.supervisor = PaperSupervisor(lab)
        self.steps: list[str] = []
        self.written: list[dict[str, Any]] = []
        self.run = Run(
            Scenario(name="mine", description="", **fields),
            folder,
            Deployment(self.supervisor.runtime, lab / "state", lab / "out"),
            number=2,
            seed=7,
            write=self.written.append,
            progress=lambda t, step: self.steps.append(step),
        )
        self.supervisor.answers["start client"] = self.ack

    def ack(self) -> None:
        self.report("client", "message_acked", id=1, route="direct")

    def report(self, source: str, event: str, **fields: Any) -> None:
        self.run.take({"t": time.monotonic(), "source": source, "event": event} | fields)

    async def play(self) -> RunRecord:
        return await self.run.run(self.supervisor)  # type: ignore[arg-type]  # all that a run asks of it is there


def names(record: RunRecord) -> list[str]:
    return [event["event"] for event in record.events if event["event"] != "role_started"]


async def test_the_steps_of_an_episode(tmp_path: Path) -> None:
    stage = Stage(tmp_path, blocks=(BLOCK,))
    record = await stage.play()
    assert (record.number, record.seed, record.outcome, record.problem) == (2, 7, "completed", None)
    assert stage.supervisor.done == [
        "censor apply",
        "censor clear",
        "client finish",
        "stop bystander client receiver",
        "stop censor dns link origin proxy1 proxy2 web",
        "stop capture-censor capture-client",
    ]
    assert names(record) == [
        "run_started",
        "message_acked",
        "episode_started",
        "unblocked",
        "episode_ended",
        "run_ended",
    ]
    (ended,) = [event for event in record.events if event["event"] == "episode_ended"]
    assert (ended["recovered"], ended["failed_back"]) == (False, False)
    assert record.events == stage.written
    assert stage.steps[0] == "starting the roles"
    assert stage.steps[-1] == "stopping"


async def test_the_steps_of_an_episode_with_a_foreign_censor(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    block = msgspec.structs.replace(BLOCK, rules=None, command=("sh", "block.sh"), undo=("sh", "lift.sh"))
    stage = Stage(tmp_path, lab=tmp_path, blocks=(block,), foreign_censor=ForeignCensor())
    record = await stage.play()
    assert (record.outcome, record.problem) == ("completed", None)
    assert stage.supervisor.done[:2] == ["censor enforce", "censor lift"]
    assert stage.supervisor.told["censor enforce"] == {"rule": "all", "command": ("sh", "block.sh")}
    assert stage.supervisor.told["censor lift"] == {"rule": "all", "command": ("sh", "lift.sh")}
    assert stage.supervisor.kinds["censor"] == "foreign_censor"
    (started,) = [event for event in record.events if event["event"] == "episode_started"]
    assert (started["block"], started["rules"]) == ("all", ["all"])


async def test_times_count_from_the_start_but_a_rules_bracket(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    now = time.monotonic()
    stage.report("censor", "rule_enforced", rule="everything", before=now, after=now + 1)
    record = await stage.play()
    (enforced,) = [event for event in record.events if event["event"] == "rule_enforced"]
    assert (enforced["before"], enforced["after"]) == (now, now + 1)  # docs/events.md
    times = [event["t"] for event in record.events]
    assert 0 <= min(times) <= max(times) < 60
    assert abs(record.clock.realtime - time.time()) < 60


async def test_every_role_that_started_is_named_with_its_pid(tmp_path: Path) -> None:
    record = await Stage(tmp_path).play()
    started = {event["role"]: event["pid"] for event in record.events if event["event"] == "role_started"}
    assert len(started) == 12
    assert started["dns"] == 100


@pytest.mark.parametrize(
    ("status", "problem"),
    [(-9, "origin was killed by signal 9 in mid-run"), (1, "origin ended with status 1 in mid-run")],
)
async def test_the_death_of_an_essential_role_ends_the_run(tmp_path: Path, status: int, problem: str) -> None:
    stage = Stage(tmp_path, idle_seconds=3600)
    stage.supervisor.answers["start bystander"] = lambda: stage.run.died("origin", status)
    record = await stage.play()
    assert (record.outcome, record.problem) == ("role_died", problem)
    assert "role_died" in names(record)
    assert [line.split()[0] for line in stage.supervisor.done] == ["stop"] * 3


async def test_the_death_of_another_role_is_reported_and_survived(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.supervisor.answers["start bystander"] = lambda: stage.run.died("proxy1", -9)
    record = await stage.play()
    assert record.outcome == "completed"
    assert "role_died" in names(record)


@pytest.mark.parametrize(("role", "outcome", "died"), [("proxy1", "completed", False), ("censor", "role_died", True)])
async def test_a_fault_is_no_problem_unless_the_role_is_essential(
    tmp_path: Path, role: str, outcome: str, died: bool
) -> None:
    stage = Stage(tmp_path, faults=(Fault(kill=role, at_seconds=0),), blocks=(BLOCK, BLOCK))

    def kill(name: str) -> None:
        asyncio.get_running_loop().call_soon(stage.run.died, name, -9)

    stage.supervisor.kill = kill  # type: ignore[method-assign]
    record = await stage.play()
    assert record.outcome == outcome
    assert "fault_injected" in names(record)
    assert ("role_died" in names(record)) == died


def killing(stage: Stage) -> Callable[[str], None]:
    def kill(name: str) -> None:
        asyncio.get_running_loop().call_soon(stage.run.died, name, -9)

    return kill


async def test_a_killed_client_that_comes_back_is_no_problem(tmp_path: Path) -> None:
    fault = Fault(kill="client", at_seconds=0, again_after_seconds=0)
    patient = msgspec.structs.replace(BLOCK, fail_back_within_seconds=1)  # it takes a turn of the loop
    stage = Stage(tmp_path, faults=(fault,), blocks=(patient,))
    stage.supervisor.kill = killing(stage)  # type: ignore[method-assign,assignment]  # a function for a method
    record = await stage.play()
    assert (record.outcome, record.problem) == ("completed", None)
    assert "role_died" not in names(record)
    started = [event for event in record.events if event["event"] == "role_started" and event["role"] == "client"]
    (killed,) = [event["t"] for event in record.events if event["event"] == "fault_injected"]
    assert len(started) == 2
    assert started[0]["t"] <= killed <= started[1]["t"]


async def test_a_role_that_cannot_be_started_again_ends_the_run(tmp_path: Path) -> None:
    stage = Stage(tmp_path, faults=(Fault(kill="client", at_seconds=0, again_after_seconds=0),), idle_seconds=3600)

    def refuse() -> None:
        raise RoleFailed("no room")

    def kill(name: str) -> None:
        stage.supervisor.answers["start client"] = refuse
        killing(stage)(name)

    stage.supervisor.kill = kill  # type: ignore[method-assign]
    record = await stage.play()
    assert (record.outcome, record.problem) == ("role_died", "client was not to be started again: no room")


async def test_a_fault_on_a_role_that_has_gone_is_none(tmp_path: Path) -> None:
    stage = Stage(tmp_path, faults=(Fault(kill="proxy1", at_seconds=0),), blocks=(BLOCK,))

    def kill(name: str) -> None:
        raise RoleFailed(f"role {name} is not running")

    stage.supervisor.kill = kill  # type: ignore[method-assign]
    record = await stage.play()
    assert record.outcome == "completed"
    assert "fault_injected" not in names(record)


async def test_a_fault_that_never_came_is_no_success(tmp_path: Path) -> None:
    record = await Stage(tmp_path, faults=(Fault(kill="proxy1", at_seconds=3600),)).play()
    assert record.outcome == "failed"
    assert record.problem == "the run was over before proxy1 was killed: lower its fault's at_seconds"


async def test_a_run_that_takes_too_long(tmp_path: Path) -> None:
    record = await Stage(tmp_path, idle_seconds=3600, timeout_seconds=0.001).play()
    assert (record.outcome, record.problem) == ("timed_out", "not done within 0.001 s")


@pytest.mark.parametrize(
    "failure", [CommandFailed("censor: apply: no reply"), RoleFailed("role web ended"), OSError("no space left")]
)
@pytest.mark.parametrize("moment", ["start web", "censor apply"])
async def test_what_fails_is_in_the_record_and_everything_is_stopped(
    tmp_path: Path, failure: Exception, moment: str
) -> None:
    stage = Stage(tmp_path, blocks=(BLOCK,))

    def fail() -> None:
        raise failure

    stage.supervisor.answers[moment] = fail
    record = await stage.play()
    assert (record.outcome, record.problem) == ("failed", str(failure))
    assert stage.supervisor.roles() == {}


async def test_an_interrupted_run_stops_its_roles_and_can_be_recorded(tmp_path: Path) -> None:
    stage = Stage(tmp_path, idle_seconds=3600)
    playing = asyncio.current_task()
    assert playing is not None

    def interrupt() -> None:
        asyncio.get_running_loop().call_soon(playing.cancel)

    stage.supervisor.answers["start bystander"] = interrupt
    with pytest.raises(asyncio.CancelledError):
        await stage.play()
    playing.uncancel()
    assert stage.supervisor.roles() == {}
    record = stage.run.interrupted()
    assert record.outcome == "interrupted"
    assert record.ended_seconds is not None
    assert record.problem == f"interrupted at {record.ended_seconds:.1f} s"
    assert names(record)[-1] == "run_ended"
    assert {task.get_name() for task in asyncio.all_tasks()} == {playing.get_name()}
