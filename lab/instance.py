"""Labs as processes of this machine: started, found, entered, stopped, and cleaned up after.

Each lab has a state folder (`sidedoor.api.state_folder`) with `lab.json`: the PID of its launcher, the process that
everything else of the lab depends on, and the launcher's start time, so that a reused PID is not taken for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lab.runtimes import attended, docker_visit, netns, netns_visit
from lab.topology import Crowd
from sidedoor.api import Lab, state_folder, state_root
from sidedoor.settings import UsageError

START_SECONDS = 60.0
STOP_SECONDS = 20.0
_POLL_SECONDS = 0.05
_SOCKET_PATH_BYTES = 107  # unix(7): sun_path is 108 bytes with its NUL


def run(entry: str, runtime: str, arguments: dict[str, Any], *, output: Path) -> int:
    """Run `entry` as a lab of its own until it ends; its exit status. Raises UsageError."""
    with _state(f"run-{os.getpid()}", runtime) as state:
        return _launch(entry, runtime, state, arguments, output)


def run_crowd(entry: str, arguments: dict[str, Any], crowd: Crowd) -> int:
    """The same on the netns runtime, with a topology for benchmarks. One at a time in a process; many at a time on a
    machine."""
    with _state(f"run-{os.getpid()}", "netns") as state:
        return netns.launch(entry, state, arguments, crowd)


def attend(name: str, arguments: dict[str, Any]) -> int:
    """Be the supervisor of an interactive lab whose hosts are there already; its exit status. Raises UsageError."""
    with _state(name, "attended") as state:
        return _launch("lab.session:serve", "attended", state, arguments, state)


def _launch(entry: str, runtime: str, state: Path, arguments: dict[str, Any], output: Path) -> int:
    if runtime == "attended":
        return attended.launch(entry, state, arguments)
    if runtime == "docker":
        from lab.runtimes import docker  # the SDK is not loaded for labs without Docker

        return docker.launch(entry, state, arguments, output)
    return netns.launch(entry, state, arguments)


@contextlib.contextmanager
def _state(name: str, runtime: str) -> Iterator[Path]:
    """The lab's state folder, while it is up."""
    folder = _make_state(name, runtime)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make_root() -> Path:
    root = state_root()
    try:
        root.mkdir(mode=0o700, exist_ok=True)
        owner = root.lstat().st_uid
    except OSError as error:
        raise UsageError(f"{root}: cannot be made: {error.strerror}; set TMPDIR to a folder of your own") from error
    if owner != os.getuid():
        raise UsageError(f"{root} belongs to somebody else; set TMPDIR to a folder of your own")
    return root


def _make_state(name: str, runtime: str) -> Path:
    folder = state_folder(name)
    if len(os.fsencode(folder / "control.sock")) > _SOCKET_PATH_BYTES:
        raise UsageError(f"{folder} is too long a path for a Unix socket; set TMPDIR to a shorter one")
    _make_root()
    if folder.exists():
        if _alive(folder) is not None:
            raise UsageError(f"a lab {name!r} is up already; take it down with: sidedoor lab down --name {name}")
        shutil.rmtree(folder)
    (folder / "logs").mkdir(parents=True)
    owner = {"launcher": os.getpid(), "started": _start_time(os.getpid()), "runtime": runtime}
    (folder / "lab.json").write_text(json.dumps(owner), encoding="utf-8")
    return folder


def _start_time(pid: int) -> int | None:
    """A process's start in clock ticks since boot (proc(5), field 22), or None where there is none."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return None


def _owner(folder: Path) -> dict[str, Any]:
    try:
        owner = json.loads((folder / "lab.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _alive(folder: Path) -> int | None:
    """The PID of the lab's launcher, or None when it has gone."""
    owner = _owner(folder)
    pid, started = owner.get("launcher"), owner.get("started")
    return pid if isinstance(pid, int) and isinstance(started, int) and _start_time(pid) == started else None


def start(name: str, runtime: str, arguments: dict[str, Any]) -> Lab:
    """Start an interactive lab in the background; returns when it answers. Raises UsageError, with its last words."""
    folder = state_folder(name)
    if folder.exists() and _alive(folder) is not None:
        raise UsageError(f"a lab {name!r} is up already; take it down with: sidedoor lab down --name {name}")
    log = _make_root() / f"{name}.log"
    with open(log, "wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "lab.instance", name, runtime, json.dumps(arguments)],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    lab = Lab(folder)
    try:
        if _wait_until_up(lab, process):
            return lab
    except BaseException:
        _end(process)
        log.unlink()
        raise
    _end(process)
    said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    if len(said) == 1:
        log.unlink()
        raise UsageError(said[0].removeprefix("sidedoor: "))
    raise UsageError(f"the lab did not come up: {said[-1] if said else 'no output'}; see {log}")


def _wait_until_up(lab: Lab, launcher: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while launcher.poll() is None and time.monotonic() < deadline:
        try:
            lab.call("status")
            return True
        except OSError:
            time.sleep(_POLL_SECONDS)
    return False


def _end(launcher: subprocess.Popen[bytes]) -> None:
    """In order, else by force; the lab goes with it."""
    launcher.terminate()
    try:
        launcher.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        launcher.kill()
        launcher.wait()


def execute(lab: Lab, runtime: str, host: str, command: Sequence[str], ca_file: str) -> int:
    """Run `command` on `host`, with this process's terminal; its exit status, 128 + N for signal N. Raises UsageError.

    Signals that reach this process reach the command; should this process be killed, so is the command.
    """
    if runtime == "attended":
        raise UsageError(f"{host} was made by somebody else, who has the way in: docker compose exec {host} COMMAND")
    if runtime == "docker":
        return docker_visit.execute(lab.name, lab.folder, host, command)
    pid = _alive(lab.folder)
    if pid is None:
        raise UsageError(f"lab {lab.name} is not up any more; sidedoor lab clean removes what it left")
    trust = {name: ca_file for name in ("CURL_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")}
    # Last: this installation's programs, so that `sidedoor` is found on a host by whatever name it was called here.
    path = f"{netns.search_path()}:{Path(sys.executable).parent}"
    return netns_visit.execute(pid, host, command, os.environ | {"PATH": path} | trust)


def stop(lab: Lab) -> None:
    """Take the lab down in order, or by force when that takes too long; returns when its launcher has gone."""
    pid = _alive(lab.folder)
    try:
        lab.call("down")
    except OSError:
        pass  # it went by itself, between finding it and this
    deadline = time.monotonic() + STOP_SECONDS
    while pid is not None and _alive(lab.folder) == pid:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        time.sleep(_POLL_SECONDS)
    _remove(lab.folder)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.with_name(f"{folder.name}.log").unlink(missing_ok=True)


def up() -> list[str]:
    """The names of all labs of this user that are up, runs among them."""
    return [folder.name for folder in sorted(state_root().glob("*/")) if _alive(folder) is not None]


def clean() -> Iterator[str]:
    """Remove what killed labs left, saying what; labs that are up are left alone."""
    for folder in sorted(state_root().glob("*/")):
        if _alive(folder) is None:
            _remove(folder)
            yield f"removed {folder}"
    for log in sorted(state_root().glob("*.log")):
        if not log.with_suffix("").exists():  # of a lab that never came up
            log.unlink(missing_ok=True)
            yield f"removed {log}"
    if shutil.which("docker"):
        from lab.runtimes import docker

        alive = {folder.name for folder in state_root().glob("*/")}
        yield from docker.clean(alive)


def _main(name: str, runtime: str, arguments: str) -> int:
    """The background process of an interactive lab."""
    try:
        plan = json.loads(arguments)
        with _state(name, runtime) as state:
            return _launch("lab.session:serve", runtime, state, plan, Path(plan.get("capture") or state))
    except UsageError as error:
        print(f"sidedoor: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
