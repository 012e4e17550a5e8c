"""censor/kernel.py, with small programs in the place of nft and iptables; the real ones are used in tests/lab."""

from __future__ import annotations

import errno
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from censor import kernel, kernel_programs
from censor.kernel import Kernel
from censor.kernel_rules import HeadRules
from censor.packet_io.netlink import KernelError
from censor.residual_rules import Residual, Scope
from censor.rules import Rule
from censor.rules_file import parse_rules
from sidedoor.settings import UsageError

HEAD = HeadRules(queues=(5,), generation=7, tcp_ports=(443,), udp_ports=(53,))
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
        """`end` follows the reading; `$read` is what was read."""
        path = self.folder / name
        path.write_text(
            f'#!/bin/sh\n{{ echo "# {name} $*"; while read -r line; do echo "$line"; read="$read$line"; done; }} '
            f">> {self.log}\n{end}\n"
        )
        path.chmod(0o755)

    def said(self) -> str:
        text = self.log.read_text() if self.log.exists() else ""
        self.log.unlink(missing_ok=True)
        return text


class FakeTables:
    """In the place of NfTables: what the kernel was asked for, by all of them; `refused`: what it says no to."""

    log: ClassVar[list[tuple[Any, ...]]] = []
    refused = ""

    def transaction(self, what: str) -> FakeTables:
        self._what = what
        return self

    def __enter__(self) -> FakeTables:
        return self

    def __exit__(self, *_: object) -> None: ...

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments, **options: self._act(name, *arguments, *options.values())

    def _act(self, name: str, *arguments: object) -> None:
        if self.refused == name:
            raise KernelError(f"{name}: no")
        self.log.append((name, *arguments))


@pytest.fixture(autouse=True)
def sets(monkeypatch: pytest.MonkeyPatch) -> type[FakeTables]:
    monkeypatch.setattr(kernel, "NfTables", FakeTables)
    monkeypatch.setattr(FakeTables, "log", [])
    monkeypatch.setattr(FakeTables, "refused", "")
    return FakeTables


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(kernel_programs, "_SBIN", str(tmp_path))
    return Tools(tmp_path)


def rules(*addresses: str) -> tuple[Rule, ...]:
    tables = (f'[[rule]]\nname = "{one}"\naction = "drop"\naddresses = ["{one}"]\n' for one in addresses)
    return parse_rules("".join(tables)).rules


def test_install_removes_a_predecessors_rules(tools: Tools) -> None:
    tools.make("iptables-save", f"echo '{SAVED}'")
    Kernel(9).install(HEAD)
    said = tools.said()
    assert said.index("-X SIDEDOOR-OUTPUT") < said.index("# nft delete table") < said.index("-A SIDEDOOR-FORWARD")
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
    kernel.cleanup()
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
    tools.make("nft", "echo 'Error: No such file or directory' >&2; exit 1")
    assert not kernel.cleanup()
    tools.make("nft", "exit 0")
    assert kernel.cleanup()


def test_missing_tools_are_named(tools: Tools) -> None:
    (tools.folder / "nft").unlink()
    with pytest.raises(UsageError, match="not found: nft; install"):
        kernel.cleanup()


def test_tools_outside_of_the_path_are_found(tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "elsewhere"))
    assert kernel.cleanup()


@pytest.mark.parametrize(
    ("said", "raised", "says"),
    [
        ("Operation not permitted (you must be root)", UsageError, "nft: not permitted"),
        ("syntax error", KernelError, r"nft delete table inet sidedoor failed \(exit 1\): syntax error"),
    ],
)
def test_refusals(tools: Tools, said: str, raised: type[Exception], says: str) -> None:
    tools.make("nft", f"echo '{said}' >&2; exit 1")
    with pytest.raises(raised, match=says):
        kernel.cleanup()


async def test_only_rules_that_changed_are_touched(tools: Tools, sets: type[FakeTables]) -> None:
    subject = Kernel(9)
    before, after = await subject.set_addresses(rules("192.0.2.1", "192.0.2.2"))
    assert before <= after
    said = tools.said()
    assert said.count("set rule1_v4") == said.count("set rule2_v4") == 1
    first, second = ([(0xC0000200 + number,) * 2] for number in (1, 2))
    what = "filling the set of the rule "
    assert sets.log == [
        ("load", "sidedoor", "rule1_v4", first, 4, what + "'192.0.2.1'"),
        ("load", "sidedoor", "rule2_v4", second, 4, what + "'192.0.2.2'"),
        ("switch_chain", "sidedoor", "forward", "plan1"),
    ]
    before, after = await subject.set_addresses(rules("192.0.2.1", "192.0.2.2"))
    assert before == after
    assert tools.said() == ""
    sets.log.clear()
    await subject.set_addresses(rules("192.0.2.3", "192.0.2.2"))
    said = tools.said()
    assert "set rule3_v4 {" in said
    assert "set rule2_v4 {" not in said
    assert "ip daddr @rule2_v4 goto rule2" in said
    assert [one[:4] for one in sets.log] == [
        ("load", "sidedoor", "rule3_v4", [(0xC0000203, 0xC0000203)]),
        ("switch_chain", "sidedoor", "forward", "plan2"),
        ("delete_chain", "sidedoor", "plan1"),
        *GONE,
    ]
    lifted, stayed = subject.rule_of("rule1"), subject.rule_of("rule2")
    assert (lifted, stayed) == rules("192.0.2.1", "192.0.2.2")
    assert subject.rule_of("rule9") is subject.rule_of("else") is None


GONE = [
    ("delete_chain", "sidedoor", "rule1"),
    ("delete_chain", "sidedoor", "rule1_act"),
    ("delete_set", "sidedoor", "rule1_v4"),
    ("delete_set", "sidedoor", "rule1_seen_v4"),
]


async def test_after_a_refusal_nothing_changed(tools: Tools, sets: type[FakeTables]) -> None:
    subject = Kernel(9)
    tools.make("nft", "exit 1")
    with pytest.raises(KernelError):
        await subject.set_addresses(rules("192.0.2.1"))
    assert sets.log == []
    tools.make("nft", "exit 0")
    tools.said()
    await subject.set_addresses(rules("192.0.2.1"))
    assert "set rule" in tools.said()


@pytest.mark.parametrize("step", ["load", "switch_chain"])
async def test_a_set_that_cannot_be_filled_or_used_is_removed(
    tools: Tools, sets: type[FakeTables], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    subject = Kernel(9)
    monkeypatch.setattr(sets, "refused", step)
    with pytest.raises(KernelError, match=f"{step}: no"):
        await subject.set_addresses(rules("192.0.2.1"))
    assert [one for one in sets.log if one[0] != "load"] == [("delete_chain", "sidedoor", "plan1"), *GONE]
    assert subject.rule_of("rule1") is None


async def test_residual_blocks(tools: Tools, sets: type[FakeTables]) -> None:
    subject = Kernel(9)
    first, second = Residual(1), Residual(2, Scope.TWO_TUPLE)
    await subject.set_residuals((first,))
    assert "set residual1_v4" in tools.said()
    subject.block(1, b"key", version=4, timeout_ms=90_000)
    assert sets.log == [("add_elements", "sidedoor", "residual1_v4", [b"key"], 90_000)]
    await subject.set_residuals((first,))
    assert tools.said() == ""
    await subject.set_residuals((second,))
    said = tools.said()
    assert "delete set inet sidedoor residual1_v4" in said
    assert "set residual2_v4" in said
    tools.make("nft", "exit 1")
    for _ in range(2):
        with pytest.raises(KernelError):
            await subject.set_residuals(())


async def test_a_strict_censor_tells_that_it_lives(tools: Tools, sets: type[FakeTables]) -> None:
    subject = Kernel(9)
    strict = replace(HEAD, fail="closed", strict=True)
    subject.install(strict)
    presence = ("add_presence", "sidedoor-alive", -170, 0x08000000)
    assert sets.log == [presence]
    await subject.set_head(replace(strict, generation=8))
    assert sets.log == [presence]
    await subject.set_head(HEAD)
    assert sets.log == [presence, ("close",)]
    await subject.set_head(strict)
    subject.block(1, b"key", version=4, timeout_ms=1)
    sets.log.clear()
    subject.close()
    subject.close()
    assert sets.log == [("close",), ("close",)]


async def test_a_kernel_without_the_match_for_bare_acknowledgments(tools: Tools) -> None:
    tools.make("iptables-restore", "case $read in *bpf*) exit 2;; esac")
    subject = Kernel(9)
    subject.install(replace(HEAD, bare_acks=False))
    assert "iptables-restore --noflush -w failed (exit 2)" in subject.bpf_missing
    tools.said()
    await subject.set_head(replace(HEAD, bare_acks=False))
    assert "bpf" not in tools.said()
    tools.make("iptables-restore", "exit 2")
    with pytest.raises(KernelError):
        Kernel(9).install(HEAD)


async def test_fragments_are_told_to_nft_when_that_changes(tools: Tools) -> None:
    subject = Kernel(9)
    subject.install(HEAD)
    assert "flush chain inet sidedoor fragments" in tools.said()
    await subject.set_head(HEAD)
    assert "# nft" not in tools.said()
    await subject.set_head(replace(HEAD, fragments=True))
    assert "add rule inet sidedoor fragments" in tools.said()


async def test_head_goes_to_both_families(tools: Tools) -> None:
    subject = Kernel(9)
    await subject.set_head(HEAD)
    said = tools.said()
    assert "# iptables-restore --noflush -w" in said
    assert "# ip6tables-restore --noflush -w" in said
    tools.make("ip6tables-restore", "exit 1")
    with pytest.raises(KernelError, match="ip6tables-restore"):
        await subject.set_head(HEAD)
