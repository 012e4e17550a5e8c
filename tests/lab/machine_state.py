"""What a lab could leave on the machine, listed before and after; and the lab's processes, found from outside."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

from sidedoor.api import state_root


def snapshot() -> dict[str, set[str]]:
    """Namespaces, interfaces, kernel rules, containers, networks, lab processes and lab folders, by kind."""
    return {
        "named namespaces": _named_namespaces(),
        "interfaces": set(os.listdir("/sys/class/net")),
        "nft": _lines("nft", "list", "ruleset"),
        "iptables": _lines("iptables-save"),
        "ip6tables": _lines("ip6tables-save"),
        "containers": _lines("docker", "ps", "--all", "--format", "{{.Names}}"),
        "networks": _lines("docker", "network", "ls", "--format", "{{.Name}}"),
        "processes": {f"{pid} {name}" for pid, name in lab_processes()},
        "folders": {path.name for path in state_root().glob("*")} if state_root().exists() else set(),
    }


def left_behind(
    before: dict[str, set[str]], *, lab: str | None = None, but: frozenset[str] = frozenset()
) -> dict[str, set[str]]:
    """What there is now and was not `before`, by kind; kinds in `but` are not looked at.

    With `lab`, only what carries that lab's name, or no lab's: others may come and go meanwhile.
    """
    now = snapshot()
    new = {kind: now[kind] - before[kind] for kind in before if kind not in but}
    if lab is not None:
        new = {kind: {item for item in items if _may_be_of(lab, kind, item)} for kind, items in new.items()}
    return {kind: items for kind, items in new.items() if items}


def _may_be_of(lab: str, kind: str, item: str) -> bool:
    if kind == "folders":
        return item in (lab, f"{lab}.log")
    if kind in ("containers", "networks"):
        return item.startswith((f"sidedoor-{lab}-", f"sidedoor-{lab}_")) or not item.startswith("sidedoor-")
    if kind == "processes":
        return _lab_of(int(item.split()[0])) in (lab, None)
    bridges = set(re.findall(r"\bsd[0-9a-f]{8}-", item))  # in the names of interfaces and in rules
    if kind in ("nft", "iptables", "ip6tables") and not bridges and "DOCKER" in item:
        return False  # the engine's own, which it makes with the first network of anybody
    return not bridges or _bridge_prefix(lab) in bridges


def _bridge_prefix(lab: str) -> str:
    """As `lab.runtimes.docker.bridge_prefix`, whose module needs the SDK."""
    return f"sd{zlib.crc32(lab.encode()):08x}-"


def _lab_of(pid: int) -> str | None:
    """The lab on namespaces that a process is of; "" of one in a container or gone; None where it may not be asked."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except PermissionError:
        return None
    except OSError:
        return ""
    found = re.search(rb"(?:^|\0)SIDEDOOR_LAB=([^\0]*)", environment)
    return found[1].decode() if found else ""


def _named_namespaces() -> set[str]:
    """A namespace lives as long as a process in it (see `lab_processes`) or a mount of it, which `ip netns` lists."""
    folder = Path("/run/netns")
    return set(os.listdir(folder)) if folder.exists() else set()


def _lines(*command: str) -> set[str]:
    program = shutil.which(command[0], path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if program is None:
        return set()
    done = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)
    lines = (line.split("[")[0].strip() for line in done.stdout.splitlines() if not line.startswith("#"))
    # Packet and byte counts of chains and rules change by themselves.
    return {line for line in lines if "counter packets" not in line}


def lab_processes() -> Iterator[tuple[int, str]]:
    """PID and name of every process of this user's labs: init, supervisor, hosts and roles."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            name = (process / "comm").read_text().strip()
            if process.stat().st_uid != os.getuid():
                continue
        except OSError:
            continue
        if name.startswith(("sd-", "sd@")):
            yield int(process.name), name


def descendant(ancestor: int, name: str) -> int:
    """The PID of the process called `name` below `ancestor`. Raises LookupError."""
    for child in _children(ancestor):
        try:
            if Path(f"/proc/{child}/comm").read_text().strip() == name:
                return child
        except OSError:
            continue
        try:
            return descendant(child, name)
        except LookupError:
            continue
    raise LookupError(name)


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
