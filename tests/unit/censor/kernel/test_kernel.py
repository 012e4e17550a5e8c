"""censor/kernel/kernel.py, with small programs in the place of nft and iptables; the real ones: tests/lab."""

from __future__ import annotations

import errno
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from censor.compiled import CompiledRules
from censor.kernel import kernel
from censor.kernel import programs as kernel_programs
from censor.kernel.kernel import Kernel
from censor.kernel.queueing import HeadRules
from censor.kernel.residual_sets import Residual, Scope
from censor.lists.prefixes import PrefixSet
from censor.offload import AddressBlock, address_blocks
from censor.packet_io.netlink import KernelError
from censor.packet_io.nfqueue import QueueSettings
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
    limit_bytes = 1000

    def transaction(self, what: str) -> FakeTransaction:
        return FakeTransaction(self)

    def load(self, *arguments: object, **options: object) -> None:
        self.act("load", *arguments, *options.values())

    def close(self) -> None:
        self.act("close")

    def act(self, *request: Any) -> None:
        if self.refused == request[0]:
            raise KernelError(f"{request[0]}: no")
        self.log.append(request)


class FakeTransaction:
    """What is done at its end; as a context, by itself."""

    def __init__(self, tables: FakeTables) -> None:
        self._tables = tables
        self._requests: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments, **options: self._requests.append((name, *arguments, *options.values()))

    @property
    def size_bytes(self) -> int:
        return len(self._requests) * 100

    def __enter__(self) -> FakeTransaction:
        return self

    def __exit__(self, *_: object) -> None:
        for request in self._requests:
            self._tables.act(*request)

    def commit(self) -> None:
        if self._tables.refused == "commit":
            raise KernelError("commit: no")
        self.__exit__()
        self._tables.act("commit")


@pytest.fixture(autouse=True)
def sets(monkeypatch: pytest.MonkeyPatch) -> type[FakeTables]:
    monkeypatch.setattr(kernel, "NfTables", FakeTables)
    monkeypatch.setattr(FakeTables, "log", [])
    monkeypatch.setattr(FakeTables, "refused", "")
    monkeypatch.setattr(FakeTables, "limit_bytes", 1000)
    return FakeTables


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(kernel_programs, "_SBIN", str(tmp_path))
    return Tools(tmp_path)


def blocks(*addresses: str) -> tuple[AddressBlock, ...]:
    """One of each address, by the rule of that name."""
    tables = (f'[[rule]]\nname = "{one}"\naction = "drop"\naddresses = ["{one}"]\n' for one in addresses)
    return address_blocks(CompiledRules(parse_rules("".join(tables)), {}))


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


def made(serial: int, address: int, name: str) -> list[tuple[Any, ...]]:
    """How a block of one IPv4 address is filled."""
    what = f"filling the set of the rule {name!r}"
    return [
        ("load", "sidedoor", f"rule{serial}_v4", [(address, address)], 4, what),
        ("load", "sidedoor", f"rule{serial}_v6", [], 6, what),
    ]


def gone(serial: int) -> list[tuple[Any, ...]]:
    chains = (f"rule{serial}_match", f"rule{serial}", f"rule{serial}_act")
    sets = (f"rule{serial}_v4", f"rule{serial}_seen_v4", f"rule{serial}_v6", f"rule{serial}_seen_v6")
    return [
        *(("delete_chain", "sidedoor", name) for name in chains),
        *(("delete_set", "sidedoor", name) for name in sets),
    ]


async def test_only_rules_that_changed_are_touched(tools: Tools, sets: type[FakeTables]) -> None:
    subject = Kernel(9)
    before, after = await subject.set_addresses(blocks("192.0.2.1", "192.0.2.2"))
    assert before <= after
    said = tools.said()
    assert said.count("set rule1_v4") == said.count("set rule2_v4") == 1
    assert sets.log == [
        *made(1, 0xC0000201, "192.0.2.1"),
        *made(2, 0xC0000202, "192.0.2.2"),
        ("switch_chain", "sidedoor", "forward", "rule1_match", "rule2_match"),
        ("commit",),
    ]
    sets.log.clear()
    before, after = await subject.set_addresses(blocks("192.0.2.1", "192.0.2.2"))
    assert before <= after
    assert tools.said() == ""
    assert sets.log == []
    await subject.set_addresses(blocks("192.0.2.3", "192.0.2.2"))
    said = tools.said()
    assert "set rule3_v4 {" in said
    assert "set rule2_v4 {" not in said
    assert sets.log == [
        *made(3, 0xC0000203, "192.0.2.3"),
        ("switch_chain", "sidedoor", "forward", "rule3_match", "rule2_match"),
        ("commit",),
        *gone(1),
    ]
    lifted, stayed = subject.block_of("rule1"), subject.block_of("rule2")
    assert (lifted, stayed) == blocks("192.0.2.1", "192.0.2.2")
    assert subject.block_of("rule9") is subject.block_of("else") is None


async def test_of_a_rule_that_stays_the_difference_of_addresses_is_told(tools: Tools, sets: type[FakeTables]) -> None:
    subject = Kernel(9)
    (old,) = blocks("192.0.2.1")
    await subject.set_addresses((old,))
    tools.said()
    sets.log.clear()
    new = replace(old, networks=PrefixSet(["192.0.2.2", "2001:db8::1"]))
    await subject.set_addresses((new,))
    assert tools.said() == ""
    six = (0x20010DB8 << 96) + 1
    assert sets.log == [
        ("delete_intervals", "sidedoor", "rule1_v4", [(0xC0000201, 0xC0000201)], 4),
        ("add_intervals", "sidedoor", "rule1_v4", [(0xC0000202, 0xC0000202)], 4),
        ("delete_intervals", "sidedoor", "rule1_v6", [], 6),
        ("add_intervals", "sidedoor", "rule1_v6", [(six, six)], 6),
        ("commit",),
    ]
    assert subject.block_of("rule1") is new


async def test_a_difference_too_large_for_one_transaction_makes_another_set(
    tools: Tools, sets: type[FakeTables], monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = Kernel(9)
    (old,) = blocks("192.0.2.1")
    await subject.set_addresses((old,))
    sets.log.clear()
    monkeypatch.setattr(sets, "limit_bytes", 10)
    await subject.set_addresses((replace(old, networks=PrefixSet(["192.0.2.2"])),))
    assert sets.log == [
        *made(2, 0xC0000202, "192.0.2.1"),
        ("switch_chain", "sidedoor", "forward", "rule2_match"),
        ("commit",),
        *gone(1),
    ]


async def test_after_a_refusal_nothing_changed(tools: Tools, sets: type[FakeTables]) -> None:
    subject = Kernel(9)
    tools.make("nft", "exit 1")
    with pytest.raises(KernelError):
        await subject.set_addresses(blocks("192.0.2.1"))
    assert sets.log == []
    tools.make("nft", "exit 0")
    tools.said()
    await subject.set_addresses(blocks("192.0.2.1"))
    assert "set rule" in tools.said()


@pytest.mark.parametrize("step", ["load", "commit"])
async def test_a_set_that_cannot_be_filled_or_used_is_removed(
    tools: Tools, sets: type[FakeTables], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    subject = Kernel(9)
    monkeypatch.setattr(sets, "refused", step)
    with pytest.raises(KernelError, match=f"{step}: no"):
        await subject.set_addresses(blocks("192.0.2.1"))
    assert [one for one in sets.log if one[0] != "load"] == gone(1)
    assert subject.block_of("rule1") is None


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
    """It is found out at once, whatever the rules are at first, and nothing needs it from then on."""
    tools.make("iptables-restore", "case $read in *bpf*) exit 2;; esac")
    subject = Kernel(9)
    subject.install(HeadRules(queues=(5,), generation=7))
    assert "iptables-restore --noflush -w failed (exit 2)" in subject.bpf_missing
    tools.said()
    await subject.set_head(replace(HEAD, bare_segments=False))
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


def test_a_censor_that_reads_its_queue_is_alive(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    tools.make("iptables-save", "echo '-A SIDEDOOR-QUEUE -j NFQUEUE --queue-balance 5:6'")

    class FakeQueue:
        def __init__(self, settings: QueueSettings) -> None:
            if settings.number == 6:
                raise UsageError("another process has this number")

        def close(self) -> None:
            pass

    monkeypatch.setattr(kernel, "NfQueue", FakeQueue)
    assert kernel.alive() == (6,)
