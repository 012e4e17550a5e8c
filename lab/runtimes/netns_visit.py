"""A program on a host of a running lab on the netns runtime, with the terminal of whoever asked for it.

This process enters the host's namespaces and forks the program, as nsenter(1) does. Unlike nsenter it passes signals
on, and the kernel kills the program when this process is killed: nothing goes on in the lab that nobody waits for.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from lab.runtimes.linux import die_with_parent, setns
from lab.runtimes.netns import host_process
from sidedoor.settings import UsageError

NOT_EXECUTABLE, NOT_FOUND = 126, 127  # as shells have it
_PASSED_ON = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2})
_SI_KERNEL = 0x80  # sigaction(2): from the terminal, which sends it to the program, too


def execute(launcher: int, host: str, command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run `command` on `host` of the lab started by process `launcher`; its exit status, 128 + N for signal N.

    Raises UsageError where there is no such host (any more), or no permission to enter it.
    """
    holder = host_process(launcher, host)
    folder = os.getcwd()
    try:
        for kind in (*(() if os.geteuid() == 0 else ("user",)), "net", "uts", "pid", "mnt"):
            setns(holder, kind)
    except OSError as error:
        raise UsageError(
            f"host {host} cannot be entered: {error.strerror}; was the lab started from another user namespace?"
        ) from error
    return supervise(host, command, environment, folder)


def supervise(host: str, command: Sequence[str], environment: Mapping[str, str], folder: str) -> int:
    """Fork `command` in `folder`, pass signals on to it until it has ended; its exit status as of `execute`."""
    sys.stdout.flush()
    sys.stderr.flush()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON | {signal.SIGCHLD})
    parent = os.getpid()
    child = os.fork()
    if not child:
        _become(host, command, environment, folder, before, parent)
    try:
        while True:
            received = signal.sigwaitinfo(_PASSED_ON | {signal.SIGCHLD})
            if received.si_signo != signal.SIGCHLD:
                if received.si_code != _SI_KERNEL:
                    os.kill(child, received.si_signo)
                continue
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _become(
    host: str, command: Sequence[str], environment: Mapping[str, str], folder: str, mask: set[int], parent: int
) -> NoReturn:
    """Be the program, in the child; what hinders it is one line, and the status that a shell would give."""
    status = NOT_EXECUTABLE
    try:
        die_with_parent()
        if os.getppid() not in (0, parent):  # it went before that; 0: it is outside of this PID namespace
            os._exit(128 + signal.SIGKILL)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and exec would pass that on
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.chdir(folder)
        os.execvpe(command[0], list(command), dict(environment))
    except (FileNotFoundError, PermissionError) as error:
        # A folder of the PATH that this user may not read makes exec say "permission denied" of what is nowhere.
        if isinstance(error, FileNotFoundError) or _is_nowhere(command[0], environment):
            status = NOT_FOUND
            what = f"no folder {folder}" if error.filename == folder else f"no program {command[0]!r}"
            os.write(2, f"sidedoor: host {host} has {what}\n".encode())
        else:
            _refuse(host, command[0], error)
    except BaseException as error:
        _refuse(host, command[0], error)
    finally:
        os._exit(status)


def _is_nowhere(program: str, environment: Mapping[str, str]) -> bool:
    """Whether no folder of the PATH has a file of this name that can be seen."""
    folders = os.get_exec_path(dict(environment))
    return "/" not in program and not any(os.path.isfile(os.path.join(folder, program)) for folder in folders)


def _refuse(host: str, program: str, error: BaseException) -> None:
    reason = getattr(error, "strerror", None) or str(error)
    os.write(2, f"sidedoor: {program!r} cannot be run on host {host}: {reason}\n".encode())
