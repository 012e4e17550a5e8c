"""What this machine offers to a lab, found out by trying: in a throw-away namespace that leaves nothing behind.

`facts()` tries and `Facts` is what came out; `lab.doctor` says what follows from it.
"""

from __future__ import annotations

import os
import platform
import resource
import shutil
import subprocess
import sys
from ipaddress import ip_interface
from pathlib import Path

import msgspec

from lab.topology import standard

IMAGE = "sidedoor-lab:latest"
PROGRAMS = ("unshare", "nsenter", "ip", "tc", "nft", "iptables", "ip6tables")
LAB_BRIDGES = "sd"  # how the names of every Docker lab's bridges start
PROBES = ("namespaces", "nft", "nfqueue", "nft log", "connmark", "netem")
_TIMEOUT_SECONDS = 30.0
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"  # not in every user's PATH

# What the lab does to its hosts, once each. A line of output: the probe's name, a tab, what was said when it failed.
_SCRIPT = r"""
tried() { name=$1; shift; if said=$("$@" 2>&1); then printf '%s\t\n' "$name"
  else printf '%s\t%s\n' "$name" "$(printf '%s' "${said:-it says nothing}" | tr '\n\t' '  ')"; fi; }
namespaces() { mount -t tmpfs tmpfs /run && mkdir /run/netns && ip netns add probe && ip link set lo up \
  && ip link add probe0 type veth peer name probe1 netns probe; }
queue() { iptables -t mangle -A FORWARD -p tcp --dport 443 -j NFQUEUE --queue-num 0 --queue-bypass \
  && ip6tables -t mangle -A FORWARD -p tcp --dport 443 -j NFQUEUE --queue-num 0 --queue-bypass \
  && "$0" -c 'from censor.packet_io.nfqueue import NfQueue, QueueSettings; NfQueue(QueueSettings(number=0)).close()'; }
blocks() { nft add table inet probe \
  && nft 'add set inet probe hosts { type ipv4_addr . inet_service; flags timeout; }' \
  && nft 'add chain inet probe forward { type filter hook forward priority -10; }' \
  && nft add rule inet probe forward ip daddr . tcp dport @hosts drop \
  && nft 'add element inet probe hosts { 192.0.2.1 . 443 timeout 5s }'; }
marks() { iptables -t mangle -I FORWARD -m connmark --mark 1 -j ACCEPT \
  && iptables -t mangle -A FORWARD -m connbytes --connbytes 0:65536 --connbytes-dir both --connbytes-mode bytes \
    -j ACCEPT; }
tried namespaces namespaces
tried nft blocks
tried 'nft log' nft add rule inet probe forward tcp dport 443 log group 5
tried nfqueue queue
tried connmark marks
tried netem tc qdisc add dev lo root netem delay 1ms
"""


class Docker(msgspec.Struct, frozen=True):
    """The Docker engine. error: why it does not answer, empty where it does, None: there is no docker program."""

    error: str | None = None
    version: str = ""
    image: bool = False
    """Whether the lab's image is there, of whatever sources."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """One machine. A probe: empty text where it works, else what was said; None: it was not reached."""

    python: tuple[int, int, int]
    root: bool
    missing_programs: tuple[str, ...]
    unshare: str
    """Why no process can be put into namespaces of its own; empty where it can."""
    probes: dict[str, str | None]
    userns_sysctls: dict[str, int]
    """Of those that can forbid user namespaces, the ones that this kernel has."""
    docker: Docker
    overlaps: tuple[str, ...]
    """This machine's own addresses that lie in a network of the lab, as "eth0 192.0.2.2"."""
    pipe_pages_soft: int
    descriptors: tuple[int, int]
    """Soft and hard limit."""
    receive_buffer_bytes_limit: int
    tun: bool
    splice: bool


def sandbox(*command: str) -> list[str]:
    """`command` in namespaces of its own, as the lab runs: for root as root, for anybody else in a user namespace."""
    user = [] if os.geteuid() == 0 else ["-Ur"]
    return ["unshare", *user, "-nmpf", "--kill-child", "--mount-proc", *command]


def facts() -> Facts:
    """Try everything. Takes a second; needs no privilege; leaves nothing behind."""
    unshare, probes = _probe()
    major, minor, micro = sys.version_info[:3]
    return Facts(
        python=(major, minor, micro),
        root=os.geteuid() == 0,
        missing_programs=tuple(p for p in PROGRAMS if not shutil.which(p, path=search_path())),
        unshare=unshare,
        probes=probes,
        userns_sysctls=_userns_sysctls(),
        docker=docker(),
        overlaps=overlaps(_run(["ip", "-oneline", "address"])[1]),
        pipe_pages_soft=_sysctl("fs.pipe-user-pages-soft") or 0,
        descriptors=resource.getrlimit(resource.RLIMIT_NOFILE),
        receive_buffer_bytes_limit=_sysctl("net.core.rmem_max") or 0,
        tun=os.access("/dev/net/tun", os.R_OK | os.W_OK),
        splice=_splices(),
    )


def search_path() -> str:
    """PATH with the folders that hold the kernel's tools."""
    return f"{os.environ.get('PATH', os.defpath)}:{_SBIN}"


def parse_probes(output: str) -> dict[str, str | None]:
    """The sandbox's lines by probe: None for one that was not reached."""
    said = dict(line.split("\t", 1) for line in output.splitlines() if "\t" in line)
    return {name: said[name].strip() if name in said else None for name in PROBES}


def overlaps(ip_address: str) -> tuple[str, ...]:
    """Of the addresses in the output of `ip -oneline address`, those in the lab's networks; a lab's bridges apart."""
    networks = [network for n in standard().networks for network in (n.ipv4, n.ipv6)]
    found = []
    for line in ip_address.splitlines():
        _, device, _, prefix, *_ = line.split()
        address = ip_interface(prefix).ip
        if any(address in network for network in networks) and not device.startswith(LAB_BRIDGES):
            found.append(f"{device} {address}")
    return tuple(found)


def _probe() -> tuple[str, dict[str, str | None]]:
    error, _ = _run(sandbox("true"))
    if error:
        return error, dict.fromkeys(PROBES)
    _, output = _run(sandbox("sh", "-c", _SCRIPT, sys.executable))
    return "", parse_probes(output)


def docker() -> Docker:
    """Ask the engine."""
    if not shutil.which("docker", path=search_path()):
        return Docker()
    error, output = _run(["docker", "info", "--format", "{{.ServerVersion}}"])
    if error:
        return Docker(error)
    missing, _ = _run(["docker", "image", "inspect", IMAGE])
    return Docker("", output.strip(), image=not missing)


def _run(command: list[str]) -> tuple[str, str]:
    """(why it failed, or nothing; its stdout)."""
    environment = os.environ | {"PATH": search_path(), "LC_ALL": "C", "PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
        )
    except FileNotFoundError:
        return f"{command[0]}: no such program", ""
    except subprocess.TimeoutExpired as error:
        return f"{command[0]}: no answer in {error.timeout:.0f} s", ""
    if done.returncode:
        return " ".join(done.stderr.split()) or f"{command[0]} ended with status {done.returncode}", done.stdout
    return "", done.stdout


def _userns_sysctls() -> dict[str, int]:
    names = (
        "kernel.apparmor_restrict_unprivileged_userns",
        "kernel.unprivileged_userns_clone",
        "user.max_user_namespaces",
    )
    return {name: value for name in names if (value := _sysctl(name)) is not None}


def _sysctl(name: str) -> int | None:
    folder, _, rest = name.partition(".")
    try:
        return int(Path("/proc/sys", folder, *rest.split(".")).read_text())
    except (OSError, ValueError):
        return None


def _splices() -> bool:
    """Whether bytes can go through os.splice."""
    if platform.system() != "Linux" or not hasattr(os, "splice"):
        return False
    first, second = os.pipe(), os.pipe()
    try:
        os.write(first[1], b"x")
        return os.splice(first[0], second[1], 1) == 1
    except OSError:
        return False
    finally:
        for descriptor in (*first, *second):
            os.close(descriptor)
