"""A program on a host of a running lab on the Docker runtime, with the terminal of whoever asked for it.

`docker exec` passes no signals on and leaves its program running when it is killed itself. So the program's PID (in the
container) is kept in a file, signals are sent to it by a second `docker exec`, and a watchdog ends it when this process
goes without having seen its end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from lab.docker.container import STATE_IN_HOSTS, TRUST_VARIABLES

_PASSED_ON = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
# In the container: $0 is the file for the PID, $1 the host's name, the rest the program and its arguments.
_PROGRAM = (
    'file=$0 host=$1; shift; command -v "$1" >/dev/null '
    '|| { echo "sidedoor: host $host has no program \'$1\'" >&2; exit 127; }; echo $$ >"$file"; exec "$@"'
)
# On the machine: the end of standard input without a line before it means that the command was killed.
_WATCHDOG = 'read -r line || exec docker exec "$0" kill -KILL "$(cat "$1")"'


def execute(lab: str, state: Path, host: str, command: Sequence[str]) -> int:
    """Run `command` on `host` of the lab called `lab`; its exit status, 128 + N for signal N."""
    container = f"sidedoor-{lab}-{host}"
    pid_file = state / "pids" / f"visit-{os.getpid()}"
    terminal = ["--interactive", *(["--tty"] if sys.stdin.isatty() and sys.stdout.isatty() else [])]
    trust = [f"--env={name}={STATE_IN_HOSTS / 'ca.pem'}" for name in TRUST_VARIABLES]
    inside = str(STATE_IN_HOSTS / "pids" / pid_file.name)
    watchdog = subprocess.Popen(
        ["sh", "-c", _WATCHDOG, container, str(pid_file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert watchdog.stdin is not None

    def pass_on(number: int, _frame: FrameType | None) -> None:
        _send(container, pid_file, number)

    previous = {number: signal.signal(number, pass_on) for number in _PASSED_ON}
    try:
        program = subprocess.Popen(
            ["docker", "exec", *terminal, *trust, container, "sh", "-c", _PROGRAM, inside, host, *command]
        )
        status = program.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        watchdog.stdin.write(b"ended\n")
        watchdog.stdin.close()
        watchdog.wait()
        pid_file.unlink(missing_ok=True)
    return status if status >= 0 else 128 - status


def _send(container: str, pid_file: Path, number: int) -> None:
    """Send a signal to the program, where it runs already."""
    try:
        pid = pid_file.read_text(encoding="ascii").strip()
    except OSError:
        return
    subprocess.run(["docker", "exec", container, "kill", f"-{number}", pid], capture_output=True, check=False)
