"""Client, router and server: network namespaces, new for every measured censor. A wan may be between the last two.

Made inside the namespaces of `lab.runtimes.netns.unshare_command`, so that they need no root and end with it.
"""

from __future__ import annotations

import contextlib
import select
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from lab.benchmarks.processes import BenchError, running
from lab.runtimes.linux import mount_tmpfs

# No profile blocks this server: it is neither the lab's messenger nor of a cloud (but see subjects.py).
CLIENT, SERVER = "192.0.2.10", "203.0.113.99"
_ROUTER = {"client": "192.0.2.1", "server": "203.0.113.1"}
_HOSTS = ("client", "router", "wan", "server")
_WAN = ("198.51.100.1", "198.51.100.2")
"""The router's address and the wan's, between them."""
_FOLDER = Path("/run/netns")
_SETUP_SECONDS = 20.0
_START_SECONDS = 10.0
_MOST_SEGMENTS = 65535
"""gso_max_segs of a new device."""

# Where conntrack is no module of the running kernel, there is nothing to set.
_SETUP = f"""
set -e
far=$1
for host in {" ".join(_HOSTS)}; do ip netns add $host; ip -n $host link set lo up; done
ip link add client netns router type veth peer name eth0 netns client
ip -n router addr add {_ROUTER["client"]}/24 dev client
last=router
if [ $far = 1 ]; then
  ip link add wan netns router type veth peer name router netns wan
  ip -n router addr add {_WAN[0]}/24 dev wan
  ip -n wan addr add {_WAN[1]}/24 dev router
  ip -n router link set wan up
  ip -n wan link set router up
  ip -n router route add default via {_WAN[1]}
  ip -n wan route add default via {_WAN[0]}
  last=wan
fi
ip link add server netns $last type veth peer name eth0 netns server
ip -n $last addr add {_ROUTER["server"]}/24 dev server
ip -n router link set client up
ip -n $last link set server up
ip -n client addr add {CLIENT}/24 dev eth0
ip -n server addr add {SERVER}/24 dev eth0
for host in client server; do ip -n $host link set eth0 up; done
ip -n client route add default via {_ROUTER["client"]}
ip -n server route add default via {_ROUTER["server"]}
nsenter --net={_FOLDER}/wan sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'
nsenter --net={_FOLDER}/router sh -c '
  echo 1 > /proc/sys/net/ipv4/ip_forward
  cd /proc/sys/net/netfilter 2>/dev/null || exit 0
  echo 2 > nf_conntrack_tcp_timeout_time_wait
  echo 2 > nf_conntrack_tcp_timeout_close
  echo 5 > nf_conntrack_tcp_timeout_fin_wait'
nsenter --net={_FOLDER}/client sh -c '
  echo 1024 65535 > /proc/sys/net/ipv4/ip_local_port_range
  echo 1 > /proc/sys/net/ipv4/tcp_tw_reuse'
nsenter --net={_FOLDER}/server sh -c 'echo 4096 > /proc/sys/net/core/somaxconn'
"""


def prepare() -> None:
    """Once in a process that has namespaces of its own: a place for the names of the hosts'. Raises OSError."""
    mount_tmpfs("/run")
    _FOLDER.mkdir()


def on(host: str, command: Iterable[str], cpus: Iterable[int] = ()) -> list[str]:
    """The command that becomes `command` on `host`, the same process; with `cpus`, on these only."""
    pinned = ["taskset", "-c", ",".join(map(str, cpus))] if cpus else []
    return ["nsenter", f"--net={_FOLDER / host}", "--", *pinned, *command]


def call(command: list[str], stdin: str = "") -> None:
    """Run one of the kernel's tools. Raises BenchError with what it said."""
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=_SETUP_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"{command[0]}: {error}") from error
    if done.returncode:
        raise BenchError(f"{' '.join(command)}: {done.stderr.strip() or f'exit status {done.returncode}'}")


@contextlib.contextmanager
def hosts(*, far: bool = False) -> Iterator[None]:
    """The hosts, nothing on the router but routing; with `far`, the wan is on the way. Raises BenchError."""
    try:
        call(["sh", "-s", str(int(far))], _SETUP)
        yield
    finally:
        # A device goes with either of its ends; a namespace once no process is in it any more.
        for host in _HOSTS:
            subprocess.run(["ip", "netns", "del", host], capture_output=True, timeout=_SETUP_SECONDS, check=False)


@contextlib.contextmanager
def serving(host: str, command: Sequence[str], cpus: Iterable[int] = ()) -> Iterator[None]:
    """A program on `host` that says a line when it is ready and ends with its standard input. Raises BenchError."""
    with running(on(host, command, cpus), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        if not select.select([process.stdout], [], [], _START_SECONDS)[0] or not process.stdout.readline():
            raise BenchError(f"it does not serve on {host}: {' '.join(command)}")
        yield


@contextlib.contextmanager
def single_segments() -> Iterator[None]:
    """Meanwhile what the ends send goes out as it would on a wire, no packet larger than the MTU. Raises BenchError."""
    try:
        _limit_segments(1)
        yield
    finally:
        _limit_segments(_MOST_SEGMENTS)


def _limit_segments(most: int) -> None:
    for host in ("client", "server"):
        call(["ip", "-n", host, "link", "set", "eth0", "gso_max_segs", str(most)])
