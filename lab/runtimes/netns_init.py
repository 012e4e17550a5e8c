"""PID 1 of a lab on the netns runtime: makes the hosts, forks the supervisor and the roles, reaps.

Started by `lab.runtimes.netns.launch` under `unshare`; it stays single-threaded and without an event loop, so that
every fork of it is safe, and has imported everything a role needs, so that a fork of it is ready at once. When the
supervisor ends, so does it, and the kernel ends all that is left in its PID namespace.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from pyroute2 import IPRoute

from lab import role
from lab.roles import KINDS
from lab.runtimes.linux import mount_tmpfs, set_process_name, set_sysctl, setns
from lab.runtimes.netns import NetnsRuntime
from lab.runtimes.netns_host import hold
from lab.topology import Crowd, Host, Topology, crowd, standard


def warm() -> None:
    """Import what the roles need, once, before any fork."""
    for target in KINDS.values():
        importlib.import_module(target.partition(":")[0])
    gc.collect()
    gc.freeze()


def fork(body: Callable[[], None]) -> int:
    """Fork a child that runs `body` and exits: 0, or 1 with a traceback on its stderr. Returns its PID."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        body()
        status = 0
    except SystemExit as exit_:
        status = exit_.code if isinstance(exit_.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def make_hosts(topology: Topology, state: Path) -> dict[str, int]:
    """Fork a holder for each host, wire them by one bridge a network. Returns host -> PID. Raises OSError."""
    pids: dict[str, int] = {}
    lines: dict[str, socket.socket] = {}
    for host in topology.hosts:
        ours, theirs = socket.socketpair()

        def body(host: Host = host, theirs: socket.socket = theirs) -> None:
            hold(host, topology, state, theirs)

        pids[host.name] = fork(body)
        theirs.close()
        lines[host.name] = ours
    for name, line in lines.items():
        _expect(line, b"u", name, "could not make its namespaces")
    with IPRoute() as ip:
        _wire(ip, topology, pids)
    for line in lines.values():
        line.send(b"g")
    for name, line in lines.items():
        _expect(line, b"c", name, "could not configure its interfaces")
        line.close()
    return pids


def _expect(line: socket.socket, said: bytes, host: str, failure: str) -> None:
    if line.recv(1) != said:
        raise OSError(errno.EPERM, f"host {host} {failure} (its traceback is above)")


def _wire(ip: IPRoute, topology: Topology, pids: dict[str, int]) -> None:
    """One bridge a network in the lab's own root namespace; a veth pair from it into each host."""
    bridges: dict[str, int] = {}
    for network in topology.networks:
        ip.link("add", ifname=network.name, kind="bridge", br_mcast_snooping=0, br_stp_state=0)
        (bridges[network.name],) = ip.link_lookup(ifname=network.name)
        with contextlib.suppress(OSError):  # not there without IPv6
            set_sysctl(f"net.ipv6.conf.{network.name}.disable_ipv6", 1)
        ip.link("set", index=bridges[network.name], state="up")
    with contextlib.suppress(OSError):  # there only while br_netfilter is loaded
        for family in ("iptables", "ip6tables"):
            set_sysctl(f"net.bridge.bridge-nf-call-{family}", 0)
    number = 0
    for host in topology.hosts:
        for interface in host.interfaces:
            port = f"port{number}"
            number += 1
            peer = {"ifname": interface.network, "net_ns_pid": pids[host.name]}
            ip.link("add", ifname=port, kind="veth", peer=peer)
            (index,) = ip.link_lookup(ifname=port)
            ip.link("set", index=index, master=bridges[interface.network], state="up")


def start_role(request: dict[str, Any], pids: dict[str, int]) -> int:
    """Fork the role that `request` names, inside its host's namespaces. Returns its PID."""

    def body() -> None:
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        os.closerange(3, 1024)
        for kind in ("net", "uts", "mnt"):
            setns(pids[request["host"]], kind)
        role.main(request["role"], request["control"])

    return fork(body)


class Init:
    """The loop of PID 1: spawn requests from the supervisor, exits of children."""

    def __init__(self, pids: dict[str, int], line: socket.socket, supervisor: int) -> None:
        self._pids = pids
        self._line = line
        self._supervisor = supervisor
        self._buffer = b""
        self._wakeup, waker = socket.socketpair()
        self._wakeup.setblocking(False)
        waker.setblocking(False)
        self._waker = waker  # kept: its descriptor is the wake-up descriptor
        self._listening = [self._line, self._wakeup]
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def run(self) -> int:
        """Until the supervisor ends; returns its exit status."""
        while True:
            status = self._reap()
            if status is not None:
                return status
            readable, _, _ = select.select(self._listening, [], [])
            if self._wakeup in readable:
                with contextlib.suppress(BlockingIOError):
                    self._wakeup.recv(4096)
            if self._line in readable:
                self._serve()

    def _serve(self) -> None:
        data = self._line.recv(65536)
        if not data:  # the supervisor is going; its exit status follows
            self._listening = [self._wakeup]
            return
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            request = json.loads(line)
            self._say({"spawned": request["id"], "pid": start_role(request, self._pids)})

    def _reap(self) -> int | None:
        while True:
            try:
                pid, wait_status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return 1
            if pid == 0:
                return None
            status = os.waitstatus_to_exitcode(wait_status)
            if pid == self._supervisor:
                return status if status >= 0 else 128 - status
            self._say({"exited": pid, "status": status})

    def _say(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            self._line.sendall(json.dumps(message).encode() + b"\n")


def main(options_descriptor: int, stop_descriptor: int) -> NoReturn:
    """Set the lab up and serve it; exits with the supervisor's status, or 2 when it could not be set up."""
    with open(options_descriptor, encoding="utf-8") as stream:
        options = json.load(stream)
    set_process_name("sd-init")
    state = Path(options["state"])
    topology = standard() if options["crowd"] is None else crowd(Crowd(**options["crowd"]))
    try:
        mount_tmpfs("/run")
        warm()
        pids = make_hosts(topology, state)
    except Exception as error:  # OSError, or pyroute2's NetlinkError: either way the lab does not stand
        print(f"sidedoor: the lab's namespaces could not be set up: {error}; see: sidedoor doctor", file=sys.stderr)
        os._exit(2)
    ours, theirs = socket.socketpair()

    def supervise() -> None:
        ours.close()
        set_process_name("sd-lab")
        module_name, _, function_name = options["entry"].partition(":")
        entry = getattr(importlib.import_module(module_name), function_name)
        runtime = NetnsRuntime(topology, pids, theirs)
        sys.exit(entry(options["arguments"], runtime, state, stop_descriptor))

    supervisor = fork(supervise)
    theirs.close()
    os.close(stop_descriptor)
    os._exit(Init(pids, ours, supervisor).run())


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
