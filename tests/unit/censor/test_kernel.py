"""censor/kernel.py, with small programs in the place of nft and iptables; the real ones are used in tests/lab."""

from __future__ import annotations

import asyncio
import errno
import socket
from pathlib import Path

import pytest

from censor import kernel
from censor.kernel import Kernel
from censor.kernel_rules import HeadRules
from censor.packet_io.netlink import KernelError
from censor.rules import Rule
from censor.rules_file import parse_rules
from sidedoor.settings import UsageError

HEAD = HeadRules(queue=5, generation=7, fail="open", tls_ports=(443,), dns_ports=(53,))
TOOLS = ("nft", "iptables-restore", "iptables-save", "ip6tables-restore", "ip6tables-save")
SAVED = "*raw\n:SIDEDOOR-OUTPUT - [0:0]\n-A OUTPUT -j SIDEDOOR-OUTPUT\nCOMMIT"


class Tools:
    """Programs that append their name and what they read to `log`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        for name in TOOLS:
            self.make(name, "exit 0")

    def make(self, name: str, end: str) -> None:
        path = self.folder / name
        path.write_text(
            f'#!/bin/sh\n{{ echo "# {name} $*"; while read -r line; do echo "$line"; done; }} >> {self.log}\n{end}\n'
        )
        path.chmod(0o755)

    def said(self) -> str:
        text = self.log.read_text() if self.log.exists() else ""
        self.log.unlink(missing_ok=True)
        return text


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(kernel, "_SBIN", str(tmp_path))
    return Tools(tmp_path)


def rules(*addresses: str) -> tuple[Rule, ...]:
    tables = (f'[[rule]]\nname = "{one}"\naction = "drop"\naddresses = ["{one}"]\n' for one in addresses)
    return parse_rules("".join(tables)).rules


def test_install_removes_a_predecessors_rules(tools: Tools) -> None:
    tools.make("iptables-save", f"echo '{SAVED}'")
    tools.make("nft", "echo 'table inet sidedoor'")
    Kernel(9).install(HEAD)
    said = tools.said()
    assert said.index("-X SIDEDOOR-OUTPUT") < said.index("delete table") < said.index("-A SIDEDOOR-FORWARD")
    assert said.count("-I FORWARD -j SIDEDOOR-FORWARD") == 2


async def test_a_host_without_ipv6(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    subject = Kernel(9)
    subject.install(HEAD)
    assert subject.ipv6_missing == ""
    monkeypatch.setattr(socket, "socket", refuse)
    tools.said()
    subject.install(HEAD)
    await subject.set_head(HEAD)
    assert subject.ipv6_missing == "this host has no IPv6 (Address family not supported by protocol)"
    said = tools.said()
    assert said.count("# iptables-restore") == 2
    assert "ip6tables" not in said


async def test_a_host_without_the_programs_for_ipv6(tools: Tools) -> None:
    (tools.folder / "ip6tables-save").unlink()
    subject = Kernel(9)
    subject.install(HEAD)
    assert subject.ipv6_missing == "not found: ip6tables-save"
    assert not kernel.cleanup()
    assert "ip6tables" not in tools.said()


async def test_a_kernel_without_ip6tables(tools: Tools) -> None:
    tools.make("ip6tables-restore", "echo \"can't initialize table 'mangle'\" >&2; exit 3")
    subject = Kernel(9)
    subject.install(HEAD)
    assert subject.ipv6_missing == "ip6tables-restore: can't initialize table 'mangle'"
    assert tools.said().splitlines()[-1] == "# ip6tables-save "  # whether a part of it was taken
    await subject.set_head(HEAD)
    assert "ip6tables" not in tools.said()


def test_cleanup_says_whether_there_was_anything(tools: Tools) -> None:
    assert not kernel.cleanup()
    tools.make("nft", "echo 'table inet sidedoor'")
    assert kernel.cleanup()


def test_missing_tools_are_named(tools: Tools) -> None:
    (tools.folder / "nft").unlink()
    with pytest.raises(UsageError, match="not found: nft; install"):
        kernel.cleanup()


def test_tools_outside_of_the_path_are_found(tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "elsewhere"))
    assert not kernel.cleanup()


@pytest.mark.parametrize(
    ("said", "raised", "says"),
    [
        ("Operation not permitted (you must be root)", UsageError, "nft: not permitted"),
        ("syntax error", KernelError, r"nft list tables failed \(exit 1\): syntax error"),
    ],
)
def test_refusals(tools: Tools, said: str, raised: type[Exception], says: str) -> None:
    tools.make("nft", f"echo '{said}' >&2; exit 1")
    with pytest.raises(raised, match=says):
        kernel.cleanup()


async def test_only_rules_that_changed_are_touched(tools: Tools) -> None:
    subject = Kernel(9)
    await subject.set_addresses(rules("192.0.2.1", "192.0.2.2"))
    said = tools.said()
    assert said.count("set rule1_v4") == said.count("set rule2_v4") == 1
    await subject.set_addresses(rules("192.0.2.1", "192.0.2.2"))
    assert tools.said() == ""
    await subject.set_addresses(rules("192.0.2.3", "192.0.2.2"))
    said = tools.said()
    assert "delete set inet sidedoor rule1_v4" in said
    assert "set rule3_v4 {" in said
    assert "set rule2_v4 {" not in said
    lifted, stayed = subject.rule_of("rule1"), subject.rule_of("rule2")
    assert (lifted, stayed) == rules("192.0.2.1", "192.0.2.2")
    assert subject.rule_of("rule9") is subject.rule_of("else") is None


async def test_after_a_refusal_nothing_changed(tools: Tools) -> None:
    subject = Kernel(9)
    tools.make("nft", "exit 1")
    with pytest.raises(KernelError):
        await subject.set_addresses(rules("192.0.2.1"))
    tools.make("nft", "exit 0")
    tools.said()
    await subject.set_addresses(rules("192.0.2.1"))
    assert "set rule" in tools.said()


async def test_head_goes_to_both_families(tools: Tools) -> None:
    subject = Kernel(9)
    await subject.set_head(HEAD)
    said = tools.said()
    assert "# iptables-restore --noflush -w" in said
    assert "# ip6tables-restore --noflush -w" in said
    tools.make("ip6tables-restore", "exit 1")
    with pytest.raises(KernelError, match="ip6tables-restore"):
        await subject.set_head(HEAD)


async def test_a_program_that_hangs_is_ended(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "_SECONDS", 0.1)
    tools.make("nft", "exec /bin/sleep 60")
    with pytest.raises(KernelError, match="nft: no answer"):
        await Kernel(9).set_addresses(rules("192.0.2.1"))
    with pytest.raises(KernelError, match="nft: no answer"):
        kernel.cleanup()


async def test_cancelled_while_a_program_runs(tools: Tools) -> None:
    tools.make("nft", "exec /bin/sleep 60")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await Kernel(9).set_addresses(rules("192.0.2.1"))
