"""The netns runtime: hosts are network namespaces inside one `unshare`, for root and ordinary users alike.

- `launch` (outside) re-executes the lab under `unshare`: its own network, mount and PID namespaces, plus a user
  namespace for an ordinary user. Killing that process, even by SIGKILL, leaves nothing behind.
- `NetnsRuntime` (inside, in the supervisor) asks the lab's init to fork roles into hosts.
- `host_process` (outside again) finds a host's process, so that `lab.runtimes.netns_visit` can put any program there.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

from lab.runtimes import AT_ONCE, INTERRUPTED
from lab.runtimes.linux import die_with_parent
from lab.topology import Crowd, Topology
from sidedoor.settings import UsageError

_NEEDED = ("unshare", "nft", "iptables", "ip6tables")


def search_path() -> str:
    """PATH with the folders of system programs, which an ordinary user's often lacks."""
    return f"{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin"


def check_tools() -> None:
    """Raises UsageError naming the programs that this runtime needs and the machine lacks."""
    missing = [name for name in _NEEDED if shutil.which(name, path=search_path()) is None]
    if missing:
        raise UsageError(
            f"the netns runtime needs {', '.join(missing)}: sudo apt-get install nftables iptables util-linux "
            "(sidedoor doctor says more)"
        )
    probe = subprocess.run([*unshare_command(), "true"], capture_output=True, text=True, check=False)
    if probe.returncode:
        reason = probe.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise UsageError(f"no permission to make namespaces ({reason[0]}): sidedoor doctor says what to do")


def unshare_command() -> list[str]:
    """How a program is started in namespaces of its own, which end with it, SIGKILL included."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    flags = ["--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return [shutil.which("unshare", path=search_path()) or "unshare", *user, *flags]


def launch(entry: str, state: Path, arguments: dict[str, Any], crowd: Crowd | None = None) -> int:
    """Run `entry` ("module:function") as the supervisor of a new lab; returns its exit status.

    crowd: what its topology has; None: the standard one.

    SIGINT, SIGTERM and SIGHUP ask it to end in order (a second one kills it: status 130). If this process is killed,
    the lab goes with it. Raises UsageError where the machine cannot.
    """
    check_tools()
    options_read, options_write = os.pipe()
    stop_read, stop_write = os.pipe()
    command = [*unshare_command(), sys.executable, "-m", "lab.runtimes.netns_init", str(options_read), str(stop_read)]
    process = subprocess.Popen(
        command,
        pass_fds=(options_read, stop_read),
        # The name tells one lab's processes from another's (ps e); PID namespaces make it their only mark.
        env=os.environ | {"PATH": search_path(), "SIDEDOOR_LAB": state.name},
        # A session of its own: a Ctrl-C reaches this process only, which then ends the lab in order.
        start_new_session=True,
        preexec_fn=die_with_parent,
    )
    os.close(options_read)
    os.close(stop_read)
    with open(options_write, "w", encoding="utf-8") as stream:
        people = None if crowd is None else asdict(crowd)
        json.dump({"entry": entry, "state": str(state), "arguments": arguments, "crowd": people}, stream)
    asked = killed = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked, killed
        if asked:
            process.kill()
            if not killed:
                killed = True
                os.write(2, f"{AT_ONCE}\n".encode())
        else:
            asked = True
            os.close(stop_write)

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        status = process.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if not asked:
            os.close(stop_write)
    if killed:
        return INTERRUPTED
    return status if status >= 0 else 128 - status


class NetnsProcess:
    """A role forked by the lab's init."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def wait(self) -> int:
        return await asyncio.shield(self.exited)

    def kill(self) -> None:
        if not self.exited.done():
            os.kill(self.pid, signal.SIGKILL)


class NetnsRuntime:
    """The hosts, as the supervisor sees them from inside the lab."""

    name = "netns"

    def __init__(self, topology: Topology, pids: dict[str, int], line: socket.socket) -> None:
        self.topology = topology
        self._pids = pids
        self._socket = line
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._listening: asyncio.Task[None] | None = None
        self._last_id = 0
        self._spawning: dict[int, asyncio.Future[NetnsProcess]] = {}
        self._running: dict[int, NetnsProcess] = {}

    def path_in_host(self, path: Path) -> Path:
        """The hosts share this process's file system (all but /run)."""
        return path

    async def up(self) -> None:
        """The hosts stand already when the supervisor starts; only the line to init is to be opened."""
        self._reader, self._writer = await asyncio.open_connection(sock=self._socket)
        self._listening = asyncio.create_task(self._listen(), name="init")

    async def _listen(self) -> None:
        assert self._reader is not None
        while line := await self._reader.readline():
            message = json.loads(line)
            if "spawned" in message:
                process = self._running[message["pid"]] = NetnsProcess(message["pid"])
                waiting = self._spawning.pop(message["spawned"])
                if waiting.cancelled():  # whoever wanted it has given up
                    process.kill()
                else:
                    waiting.set_result(process)
            elif (exited := self._running.pop(message["exited"], None)) is not None:
                exited.exited.set_result(message["status"])

    async def spawn(self, host: str, role: str, control: Path, log: Path) -> NetnsProcess:
        assert self._writer is not None
        self._last_id += 1
        request = {"id": self._last_id, "host": host, "role": role, "control": str(control), "log": str(log)}
        future: asyncio.Future[NetnsProcess] = asyncio.get_running_loop().create_future()
        self._spawning[self._last_id] = future
        self._writer.write(json.dumps(request).encode() + b"\n")
        return await future

    async def devices(self, host: str) -> dict[str, str]:
        return {interface.network: interface.network for interface in self.topology.host(host).interfaces}

    async def down(self) -> None:
        """Nothing to remove: all of it ends with the lab's init."""
        if self._listening is not None and self._writer is not None:
            self._listening.cancel()
            self._writer.close()


def host_process(launcher: int, host: str) -> int:
    """The PID, as seen from outside, of the process that holds `host` in the lab started by process `launcher`.

    Raises UsageError when that lab is not there (any more).
    """
    for unshare in _children(launcher):
        for init in _children(unshare):
            for child in _children(init):
                if _name(child) == f"sd@{host}"[:15]:
                    return child
    raise UsageError(f"the lab has no host {host} (any more)")


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().rstrip("\n")
    except OSError:
        return ""
