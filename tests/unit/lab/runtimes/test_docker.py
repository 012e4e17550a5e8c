"""What of the Docker runtime needs no engine: names, paths, capabilities, statuses, the order of raising."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker.errors
import pytest

from lab.runtimes import docker as runtime
from lab.topology import standard
from sidedoor.settings import UsageError

TOPOLOGY = standard()


def make(client: Any = None, state: Path = Path("/tmp/sidedoor-0/mine")) -> runtime.DockerRuntime:
    return runtime.DockerRuntime(client, TOPOLOGY, state, Path("/home/me/runs/quickstart"))


@pytest.mark.parametrize("lab", ["default", "run-4194304", "a" * 31])
def test_bridge_names_fit_the_kernel_and_tell_labs_apart(lab: str) -> None:
    prefix = runtime.bridge_prefix(lab)
    assert len(prefix) <= 12
    assert prefix.startswith("sd")
    assert prefix == runtime.bridge_prefix(lab) != runtime.bridge_prefix(f"{lab}x")


@pytest.mark.parametrize(
    ("outside", "inside"),
    [
        ("/tmp/sidedoor-0/mine/control.sock", "/run/sidedoor/control.sock"),
        ("/tmp/sidedoor-0/mine", "/run/sidedoor"),
        ("/home/me/runs/quickstart/capture/a.pcap", "/run/sidedoor-output/capture/a.pcap"),
    ],
)
def test_paths_of_the_two_mounted_folders(outside: str, inside: str) -> None:
    assert make().path_in_host(Path(outside)) == Path(inside)


@pytest.mark.parametrize("path", ["/etc/passwd", "/tmp/sidedoor-0/mine2/x"])
def test_other_paths_are_in_no_container(path: str) -> None:
    with pytest.raises(ValueError, match="no container sees it"):
        make().path_in_host(Path(path))


class Engine:
    """An engine's low-level interface: one finished exec, and those that are started beside it."""

    def __init__(self, code: int | None) -> None:
        self.api = self
        self._code = code
        self.started: list[tuple[str, list[str]]] = []

    def exec_inspect(self, execution: str) -> dict[str, Any]:
        if self._code == 404:
            raise docker.errors.NotFound("no such exec")
        return {"ExitCode": self._code, "ContainerID": "c"}

    def exec_create(self, container: str, command: list[str]) -> dict[str, Any]:
        self.started.append((container, command))
        return {"Id": "k"}

    def exec_start(self, execution: str) -> None:
        assert execution == "k"


@pytest.mark.parametrize(
    ("code", "status"),
    [(0, 0), (1, 1), (137, -signal.SIGKILL), (143, -signal.SIGTERM), (None, 0), (404, -signal.SIGKILL)],
)
async def test_exit_statuses(code: int | None, status: int, tmp_path: Path) -> None:
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    ended.set_result(None)
    process = runtime.ContainerProcess(Engine(code), "e", ended, tmp_path / "pid")
    assert await process.wait() == status


async def test_kill_is_a_kill_in_the_container(tmp_path: Path) -> None:
    engine, pid_file = Engine(None), tmp_path / "pid"
    process = runtime.ContainerProcess(engine, "e", asyncio.get_running_loop().create_future(), pid_file)
    process.kill()
    assert engine.started == [], "its PID file is not there yet: nothing to kill"
    pid_file.write_text("17\n")
    process.kill()
    assert engine.started == [("c", ["kill", "-KILL", "17"])]


class Refusing:
    """Everything the runtime asks of the engine goes well, but for one step."""

    def __init__(self, step: str, error: Exception) -> None:
        self._failing, self._error = step, error

    def step(self, name: str) -> Callable[..., None]:
        def do(*_: object) -> None:
            if name == self._failing:
                raise self._error

        return do


@pytest.mark.parametrize("step", ["raise_", "_make_network", "_make_container", "_route"])
@pytest.mark.parametrize(
    "error",
    [
        docker.errors.APIError("409", explanation="it is taken"),
        OSError("it is taken"),
        docker.errors.DockerException("it is taken"),
    ],
    ids=["APIError", "OSError", "DockerException"],
)
async def test_a_refusal_at_any_step_is_one_line(
    step: str, error: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    refusing = Refusing(step, error)
    monkeypatch.setattr("lab.runtimes.docker.Firewall.raise_", refusing.step("raise_"))
    for name in ("_make_network", "_make_container", "_route"):
        monkeypatch.setattr(runtime.DockerRuntime, name, _named(name, refusing.step(name)))
    with pytest.raises(UsageError) as raised:
        await make(state=tmp_path).up()
    assert str(raised.value) == "Docker refused to make the lab: it is taken"
    assert (tmp_path / "resolv.conf").read_text().startswith(f"nameserver {TOPOLOGY.nameserver}\n")


def _named(name: str, function: Callable[..., None]) -> Callable[..., None]:
    function.__name__ = name
    return function


def test_no_engine_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def from_env(**_: object) -> None:
        raise docker.errors.DockerException("a long story") from FileNotFoundError(2, "No such file\nor directory")

    monkeypatch.setattr("lab.runtimes.docker.docker.from_env", from_env)
    with pytest.raises(UsageError) as raised:
        runtime.connect()
    assert str(raised.value) == ("no Docker engine answers ([Errno 2] No such file): start it, or use --runtime netns")
    assert list(runtime.clean(set())) == []
