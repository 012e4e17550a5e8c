"""From facts to checks: every status, what follows, and the command that mends it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from lab import doctor
from lab.doctor import Check, diagnose
from lab.machine import PROBES, Docker, Facts

GOOD = Facts(
    python=(3, 11, 2),
    root=True,
    missing_programs=(),
    unshare="",
    probes=dict.fromkeys(PROBES, ""),
    userns_sysctls={},
    docker=Docker("", "20.10.24", image=True),
    overlaps=(),
    pipe_pages_soft=16384,
    descriptors=(20000, 20000),
    receive_buffer_bytes_limit=212992,
    tun=True,
    splice=True,
)
USER = msgspec.structs.replace(GOOD, root=False, receive_buffer_bytes_limit=64 << 20, pipe_pages_soft=0)


def check(name: str, facts: Facts = GOOD, **changes: Any) -> Check:
    found = diagnose(msgspec.structs.replace(facts, **changes)).checks
    return next(c for c in found if c.name == name)


def without(*probes: str, said: str | None = "Error: no such thing") -> dict[str, str | None]:
    return {name: said if name in probes else "" for name in PROBES}


@pytest.mark.parametrize("facts", [GOOD, USER])
def test_a_machine_that_can_do_everything(facts: Facts) -> None:
    diagnosis = diagnose(facts)
    assert {c.status for c in diagnosis.checks} == {"ok"}
    assert diagnosis.runtimes == doctor.Runtimes(netns=True, docker=True)
    assert not any(c.remedy for c in diagnosis.checks)


def test_an_old_python() -> None:
    assert check("Python", python=(3, 10, 9)).status == "missing"


def test_missing_programs_are_named_with_their_packages_once() -> None:
    found = check("programs", missing_programs=("nft", "iptables", "ip6tables"))
    assert found.status == "missing"
    assert found.remedy == "sudo apt-get install iptables nftables"


@pytest.mark.parametrize(
    ("sysctls", "remedy"),
    [
        ({"kernel.apparmor_restrict_unprivileged_userns": 1}, "apparmor_restrict_unprivileged_userns=0"),
        ({"kernel.apparmor_restrict_unprivileged_userns": 0, "kernel.unprivileged_userns_clone": 0}, "_clone=1"),
        ({"user.max_user_namespaces": 0}, "user.max_user_namespaces=10000"),
        ({"user.max_user_namespaces": 5}, "run as root"),
    ],
)
def test_why_a_user_has_no_namespaces(sysctls: dict[str, int], remedy: str) -> None:
    found = check("namespaces", USER, unshare="unshare failed: not permitted", userns_sysctls=sysctls)
    assert found.status == "missing"
    assert found.found == "unshare failed: not permitted"
    assert remedy in found.remedy


def test_root_without_namespaces_is_in_a_container() -> None:
    assert "container" in check("namespaces", unshare="unshare failed: not permitted").remedy


def test_namespaces_that_fail_for_want_of_a_program() -> None:
    found = check("namespaces", missing_programs=("ip",), probes=without("namespaces"))
    assert found.remedy == "sudo apt-get install iproute2"
    assert check("namespaces", probes=without("namespaces", said=None)).found == "trying it ended early"


@pytest.mark.parametrize("probe", ["nft", "nfqueue", "connmark", "nft log"])
def test_what_the_kernel_lacks_keeps_the_lab_from_running(probe: str) -> None:
    diagnosis = diagnose(msgspec.structs.replace(GOOD, probes=without(probe)))
    missing = [c for c in diagnosis.checks if c.status == "missing"]
    assert [c.found for c in missing] == ["Error: no such thing"]
    assert "CONFIG_" in missing[0].remedy
    assert not diagnosis.runtimes.netns
    untried = diagnose(msgspec.structs.replace(GOOD, probes=without(probe, said=None))).checks
    assert [c.found for c in untried if c.status == "missing"] == ["could not be tried"]


def test_without_netem_the_lab_still_runs() -> None:
    assert check("netem", probes=without("netem")).status == "limited"
    assert diagnose(msgspec.structs.replace(GOOD, probes=without("netem"))).runtimes.netns


@pytest.mark.parametrize(
    ("docker", "remedy"),
    [
        (Docker(), "apt-get install docker.io"),
        (Docker("permission denied while connecting"), "usermod"),
        (Docker("Cannot connect to the Docker daemon"), "start docker"),
        (Docker("", "20.10.24"), "build-image.sh"),
    ],
)
def test_docker(docker: Docker, remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    diagnosis = diagnose(msgspec.structs.replace(GOOD, docker=docker))
    assert diagnosis.runtimes == doctor.Runtimes(netns=True, docker=False)
    monkeypatch.setattr("lab.machine.docker", lambda: docker)
    assert remedy in doctor.docker_problems()[0]


def test_limits_of_pipes_descriptors_and_buffers() -> None:
    pipes = check("pipe memory", USER, pipe_pages_soft=16384)
    assert (pipes.status, pipes.consequence[:13]) == ("limited", "some 32 flows")
    assert check("descriptors", descriptors=(1024, 20000)).status == "ok", "the proxy raises the soft limit"
    assert check("descriptors", descriptors=(1024, -1)).status == "ok"
    assert check("descriptors", descriptors=(1024, 1024)).consequence == "the proxy holds some 512 flows at a time"
    assert "limits.conf" in check("descriptors", descriptors=(1024, 1024)).remedy
    assert check("descriptors", descriptors=(-1, -1)).status == "ok"
    assert check("receive buffer", USER, receive_buffer_bytes_limit=212992).status == "limited"
    assert check("tun", tun=False).status == "limited"
    assert check("splice", splice=False).status == "limited"


def test_a_machine_that_has_an_address_of_the_lab() -> None:
    found = check("addresses", overlaps=("eth0 192.0.2.2",))
    assert found.status == "limited"
    assert found.found.endswith("eth0 192.0.2.2")


def test_problems_are_one_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_facts", lambda: msgspec.structs.replace(GOOD, missing_programs=("nft",)))
    assert doctor.netns_problems() == ["programs: not installed: nft; sudo apt-get install nftables"]


@pytest.mark.parametrize("columns", ["40", "80", "200"])
def test_remedies_are_whole_lines_below_the_table(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "Error: Could-not-process-a-rule-of-a-name-that-no-column-can-hold-in-one-line"
    facts = msgspec.structs.replace(
        USER,
        unshare=said,
        userns_sysctls={"kernel.apparmor_restrict_unprivileged_userns": 1},
        docker=Docker("permission denied while connecting"),
    )
    monkeypatch.setattr(doctor, "_facts", lambda: facts)
    shown = CliRunner().invoke(doctor.doctor, [], env={"COLUMNS": columns}).stdout
    table, _, remedies = shown.partition("Remedies:\n")
    wanted = [f"  {check.name:<13}  {check.remedy}" for check in diagnose(facts).checks if check.remedy]
    assert remedies.splitlines()[: len(wanted) + 1] == [*wanted, ""]
    assert "sudo" not in table
    assert "…" not in shown
    assert "no lab in containers" in " ".join(table.split()) or columns == "40"


@pytest.mark.parametrize(("facts", "code"), [(GOOD, 0), (msgspec.structs.replace(GOOD, python=(3, 9, 0)), 1)])
def test_the_command(facts: Facts, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_facts", lambda: facts)
    as_json = CliRunner().invoke(doctor.doctor, ["--json"])
    assert as_json.exit_code == code
    found = msgspec.json.decode(as_json.stdout)
    assert set(found) == {"checks", "runtimes"}
    assert set(found["checks"][0]) == {"name", "status", "found", "consequence", "remedy"}
    assert found["runtimes"] == {"netns": code == 0, "docker": True}
    table = CliRunner().invoke(doctor.doctor, [])
    assert table.exit_code == code
    assert "iptables NFQUEUE" in table.stdout
    assert ("Remedies" in table.stdout) is (code == 1)
