"""`sidedoor doctor`: what this machine can do, what follows from it, and the command that mends what it cannot.

`lab.machine` tries things out; here `checks()` turns what came out into one line for each ability, purely. Other code
asks `netns_problems()` and `docker_problems()` before it starts a runtime.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Literal

import click
import msgspec

from lab import machine
from lab.machine import Docker, Facts

Status = Literal["ok", "limited", "missing"]

PACKAGES = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "ip": "iproute2",
    "tc": "iproute2",
    "nft": "nftables",
    "iptables": "iptables",
    "ip6tables": "iptables",
}
KERNEL_PROBES = (
    # check, probe, kernel option, what follows where it fails
    ("nft sets", "nft", "NF_TABLES", "the censor cannot block addresses"),
    ("iptables NFQUEUE", "nfqueue", "NETFILTER_XT_TARGET_NFQUEUE", "the censor and the wan link see no packet"),
    ("connection marks", "connmark", "NETFILTER_XT_MATCH_CONNBYTES", "the censor cannot give verdicts by flow"),
    ("nft log group", "nft log", "NETFILTER_NETLINK_LOG", "blocks by address leave no hits in the log"),
)
NETNS = ("Python", "programs", "namespaces", *(check for check, *_ in KERNEL_PROBES))
DOCKER = ("Docker engine", "Docker image")
DESCRIPTORS_WANTED = 4096
RECEIVE_BUFFER_WANTED_BYTES = 8 << 20


class Check(msgspec.Struct, frozen=True):
    """One ability: `found` on this machine, the `consequence` of that, and the `remedy` (empty where all is well)."""

    name: str
    status: Status
    found: str
    consequence: str = ""
    remedy: str = ""


class Runtimes(msgspec.Struct, frozen=True):
    """Which of the lab's runtimes can run here."""

    netns: bool
    docker: bool


class Diagnosis(msgspec.Struct, frozen=True):
    """What `sidedoor doctor --json` prints."""

    checks: list[Check]
    runtimes: Runtimes


def diagnose(facts: Facts) -> Diagnosis:
    """What follows from the facts. A runtime can run when none of the checks that it needs is `missing`."""
    found = checks(facts)
    return Diagnosis(found, Runtimes(netns=not _problems(found, NETNS), docker=not _problems(found, DOCKER)))


def netns_problems() -> list[str]:
    """Why the netns runtime cannot run here, a line each; empty where it can. Tried out once per process."""
    return _problems(checks(_facts()), NETNS)


def docker_problems() -> list[str]:
    """Why the Docker runtime cannot run here, a line each; empty where it can. Asks the engine at each call."""
    docker = machine.docker()
    return _problems([_docker_engine(docker), _docker_image(docker)], DOCKER)


@cache
def _facts() -> Facts:
    return machine.facts()


def _problems(found: list[Check], needed: tuple[str, ...]) -> list[str]:
    return [f"{c.name}: {c.found}; {c.remedy}" for c in found if c.status == "missing" and c.name in needed]


def checks(facts: Facts) -> list[Check]:
    """Every check, in the order of the table."""
    return [
        _python(facts),
        _programs(facts),
        _namespaces(facts),
        *(_kernel(facts, *probe) for probe in KERNEL_PROBES),
        _netem(facts),
        _docker_engine(facts.docker),
        _docker_image(facts.docker),
        _addresses(facts),
        _splice(facts),
        _pipes(facts),
        _descriptors(facts),
        _receive_buffer(facts),
        _tun(facts),
    ]


def _python(facts: Facts) -> Check:
    found = ".".join(map(str, facts.python))
    if facts.python >= (3, 11):
        return Check("Python", "ok", found)
    return Check("Python", "missing", found, "Sidedoor does not run", "install Python 3.11 or newer")


def _programs(facts: Facts) -> Check:
    if not facts.missing_programs:
        return Check("programs", "ok", "unshare, nsenter, ip, tc, nft, iptables")
    packages = sorted({PACKAGES[program] for program in facts.missing_programs})
    return Check(
        "programs",
        "missing",
        f"not installed: {', '.join(facts.missing_programs)}",
        "no lab in network namespaces",
        f"sudo apt-get install {' '.join(packages)}",
    )


def _namespaces(facts: Facts) -> Check:
    who = "root" if facts.root else "user namespaces"
    said = facts.unshare or facts.probes["namespaces"]
    if said == "":
        return Check("namespaces", "ok", who)
    if said is None:
        said = "trying it ended early"
    return Check("namespaces", "missing", said, "no lab in network namespaces", _namespaces_remedy(facts))


def _namespaces_remedy(facts: Facts) -> str:
    if facts.missing_programs:
        return _programs(facts).remedy
    if facts.root:
        return "run outside this container, or give it CAP_SYS_ADMIN and CAP_NET_ADMIN"
    sysctls = facts.userns_sysctls
    if sysctls.get("kernel.apparmor_restrict_unprivileged_userns"):  # Ubuntu from 23.10 on
        return "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    if sysctls.get("kernel.unprivileged_userns_clone") == 0:  # Debian's own
        return "sudo sysctl -w kernel.unprivileged_userns_clone=1"
    if sysctls.get("user.max_user_namespaces") == 0:
        return "sudo sysctl -w user.max_user_namespaces=10000"
    return "run as root, or allow this user to make user namespaces"


def _kernel(facts: Facts, name: str, probe: str, option: str, consequence: str) -> Check:
    said = facts.probes[probe]
    if said == "":
        return Check(name, "ok", "works")
    if said is None:
        return Check(name, "missing", "could not be tried", consequence, "mend what stands above first")
    return Check(name, "missing", said, consequence, f"run on a kernel with CONFIG_{option} (stock Debian and Ubuntu)")


def _netem(facts: Facts) -> Check:
    if facts.probes["netem"] == "":
        return Check("netem", "ok", "works", "the wan's delay is made by the kernel")
    return Check(
        "netem",
        "limited",
        facts.probes["netem"] or "not tried",
        "the wan's delay is made by the user-space link (NFQUEUE), some 0.5 ms less exact",
        "none needed; modprobe sch_netem where the kernel has it",
    )


def _docker_engine(docker: Docker) -> Check:
    if docker.error == "":
        return Check("Docker engine", "ok", docker.version)
    if docker.error is None:
        found, remedy = "not installed", "sudo apt-get install docker.io"
    elif "permission denied" in docker.error:
        found, remedy = "no permission", "run as root, or sudo usermod -aG docker $USER and log in again"
    else:
        found, remedy = docker.error, "sudo systemctl start docker (or dockerd by hand)"
    return Check("Docker engine", "missing", found, "no lab in containers (--runtime docker)", remedy)


def _docker_image(docker: Docker) -> Check:
    if docker.image:
        return Check("Docker image", "ok", machine.IMAGE)
    return Check(
        "Docker image",
        "missing",
        "could not be asked for" if docker.error != "" else f"no {machine.IMAGE}",
        "no lab in containers (--runtime docker)",
        "make image (or sh lab/docker/build-image.sh)",
    )


def _addresses(facts: Facts) -> Check:
    if not facts.overlaps:
        return Check("addresses", "ok", "none of the lab's")
    return Check(
        "addresses",
        "limited",
        f"this machine itself is in a network of the lab: {', '.join(facts.overlaps)}",
        "while a Docker lab is up, this machine may not reach its own neighbours there",
        "none needed with network namespaces, which are apart from the machine's network",
    )


def _splice(facts: Facts) -> Check:
    if facts.splice:
        return Check("splice", "ok", "works")
    return Check("splice", "limited", "does not work", "the proxy copies: a third of the throughput", "run on Linux")


def _pipes(facts: Facts) -> Check:
    pages = facts.pipe_pages_soft
    if facts.root or not pages:
        return Check("pipe memory", "ok", "root: no limit" if facts.root else "no limit")
    flows = pages * 4096 // (2 << 20)  # a pipe of 1 MiB for each direction
    return Check(
        "pipe memory",
        "limited",
        f"fs.pipe-user-pages-soft = {pages}",
        f"some {flows} flows at a time get large pipes, the others are copied",
        "sudo sysctl -w fs.pipe-user-pages-soft=0",
    )


def _descriptors(facts: Facts) -> Check:
    _, hard = facts.descriptors  # the proxy raises the soft limit to the hard one
    if hard < 0 or hard >= DESCRIPTORS_WANTED:  # RLIM_INFINITY is -1
        return Check("descriptors", "ok", "no limit" if hard < 0 else str(hard))
    return Check(
        "descriptors",
        "limited",
        str(hard),
        f"the proxy holds some {hard // 2} flows at a time",
        "raise nofile in /etc/security/limits.conf",
    )


def _receive_buffer(facts: Facts) -> Check:
    limit = facts.receive_buffer_bytes_limit
    if facts.root or limit >= RECEIVE_BUFFER_WANTED_BYTES:
        return Check("receive buffer", "ok", "root: no limit" if facts.root else f"{limit} bytes")
    return Check(
        "receive buffer",
        "limited",
        f"net.core.rmem_max = {limit}",
        "at high rates packets may pass the censor unseen (it counts them: packets_missed)",
        f"sudo sysctl -w net.core.rmem_max={32 << 20}",
    )


def _tun(facts: Facts) -> Check:
    if facts.tun:
        return Check("tun", "ok", "/dev/net/tun")
    return Check(
        "tun",
        "limited",
        "/dev/net/tun cannot be opened",
        "no VPN clients inside a lab; Sidedoor itself needs none",
        "run as root, or sudo chmod 0666 /dev/net/tun",
    )


@click.command(help="Say what this machine can do, and how to mend what it cannot.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def doctor(as_json: bool) -> None:
    """Exit code 0 when the default runtime (network namespaces) can run here, else 1."""
    diagnosis = diagnose(_facts())
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(diagnosis), indent=2).decode())
    else:
        _print_table(diagnosis)
    sys.exit(0 if diagnosis.runtimes.netns else 1)


def _print_table(diagnosis: Diagnosis) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    styles: dict[Status, str] = {"ok": "green", "limited": "yellow", "missing": "red"}
    table = Table("check", "status", "found", "what follows", box=box.SIMPLE_HEAD)
    for column in table.columns:
        column.overflow = "fold"  # nothing is cut off, however narrow the terminal is
    table.columns[0].no_wrap = table.columns[1].no_wrap = True
    for check in diagnosis.checks:
        status = Text(check.status, styles[check.status])
        # Text: what programs say may hold what rich would take for markup.
        table.add_row(check.name, status, Text(check.found), Text(check.consequence))
    console = Console()
    console.print(table)
    _print_remedies(diagnosis)
    for name, runs in (("netns (default)", diagnosis.runtimes.netns), ("docker", diagnosis.runtimes.docker)):
        console.print(f"runtime {name}: {'can run' if runs else 'cannot run'}", highlight=False)


def _print_remedies(diagnosis: Diagnosis) -> None:
    """One line each, never wrapped or styled: they are there to be copied."""
    remedies = {check.name: check.remedy for check in diagnosis.checks if check.remedy}
    if remedies:
        click.echo("Remedies:")
    for name, remedy in remedies.items():
        click.echo(f"  {name:<{max(map(len, remedies))}}  {remedy}")
    if remedies:
        click.echo()
