"""censor/censor.py, with fakes in the place of the kernel; on real packets: tests/lab/test_censor_*.py."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP

from censor import censor as subject
from censor import kernel
from censor.censor import Censor, CensorSettings
from censor.kernel_rules import HeadRules
from censor.packet_io.netlink import KernelError
from censor.packet_io.nflog import LoggedPacket
from censor.packet_io.nfqueue import QueuedPacket, Verdict
from censor.rules import Rule, RuleSet
from censor.rules_file import parse_rules
from tests.unit.censor.analyzers.test_tls import real_hello

SNI = '[[rule]]\nname = "name"\naction = "sni_rst"\ndomains = ["messenger.example"]\n'
KILL = SNI + 'existing_flows = "kill"\n'
ADDRESSES = '[[rule]]\nname = "addresses"\naction = "drop"\naddresses = ["203.0.113.10"]\n'
HELLO = bytes(
    IP(src="192.0.2.10", dst="203.0.113.10") / TCP(sport=4, dport=443, flags="PA") / real_hello("messenger.example")
)


class World:
    """What the censor did to the kernel, in order, and what it reported."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.queued: list[QueuedPacket] = []
        self.logged: list[LoggedPacket] = []
        self.missed = 0
        self.refuse = False
        self.wake, self._woken = os.pipe()

    def emit(self, event: str, /, **fields: Any) -> None:
        self.events.append((event, fields))

    def names(self) -> list[tuple[str, Any]]:
        return [(event, fields.get("rule")) for event, fields in self.events]

    def close(self) -> None:
        os.close(self.wake)
        os.close(self._woken)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World()

    class FakeSource:
        def __init__(self, settings: Any) -> None:
            self._fd = os.dup(world.wake)

        missed = 0

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: object) -> None:
            os.close(self._fd)
            world.done.append(f"closed {type(self).__name__}")

        def fileno(self) -> int:
            return self._fd

    class FakeQueue(FakeSource):
        missed = property(lambda _self: world.missed)

        def read(self, limit: int) -> list[QueuedPacket]:
            batch, world.queued = world.queued[:limit], world.queued[limit:]
            return batch

        def verdict(self, id_: int, verdict: Verdict, mark: int | None) -> None:
            world.done.append(("verdict", id_, verdict))

        def set_fail_open(self, fail_open: bool) -> None:
            world.done.append(("fail open", fail_open))

    class FakeLog(FakeSource):
        def read(self, limit: int) -> list[LoggedPacket]:
            batch, world.logged = world.logged, []
            return batch

    class FakeInjector:
        def send(self, packet: bytes) -> None:
            world.done.append(("injected", IP(packet).dst))

        def close(self) -> None:
            pass

    class FakeKernel:
        def __init__(self, log_group: int) -> None:
            self._rules: tuple[Rule, ...] = ()
            self.ipv6_missing = "not found: ip6tables"

        def install(self, head: HeadRules) -> None:
            if world.refuse:
                raise KernelError("refused")
            world.done.append("installed")

        async def set_addresses(self, rules: tuple[Rule, ...]) -> tuple[float, float]:
            if world.refuse:
                raise KernelError("refused")
            self._rules = rules
            before = time.monotonic()
            return before, time.monotonic()

        async def set_head(self, head: HeadRules) -> None:
            world.done.append(("head", head.fail))

        def close(self) -> None:
            world.done.append("kernel closed")

        def rule_of(self, prefix: str) -> Rule | None:
            return next((rule for rule in self._rules if rule.name == prefix), None)

    def cleanup() -> bool:
        world.done.append("cleaned")
        return True

    class FakeDeadHand:
        def __init__(self, command: tuple[str, ...]) -> None:
            assert command[1:] == ("delete", "table", "inet", "sidedoor")

        def arm(self) -> None:
            world.done.append("armed")

        def disarm(self) -> None:
            world.done.append("disarmed")

    fakes = {"NfQueue": FakeQueue, "NfLog": FakeLog, "Injector": FakeInjector, "Kernel": FakeKernel}
    for name, fake in (fakes | {"DeadHand": FakeDeadHand}).items():
        monkeypatch.setattr(subject, name, fake)

    def remove(what: str) -> Callable[[], None]:
        return lambda: world.done.append(f"{what} removed")

    monkeypatch.setattr(kernel, "cleanup", cleanup)
    monkeypatch.setattr(kernel, "remove_chains", remove("chains"))
    monkeypatch.setattr(kernel, "remove_table", remove("table"))
    monkeypatch.setattr(kernel, "check_tools", lambda: None)
    yield world
    world.close()


def censor(world: World) -> Censor:
    return Censor(CensorSettings(), world.emit)


def packet(id_: int, payload: bytes = HELLO) -> QueuedPacket:
    return QueuedPacket(id_, payload, 0x0800, 1, 2, 0, len(payload), 5.0)


async def test_life(world: World) -> None:
    async with censor(world) as running:
        assert running.ipv6_missing == "not found: ip6tables"
        assert world.names() == [("censor_ready", None)]
        world.queued = [packet(id_) for id_ in range(1, 101)]
    # What waits when nothing is queued any more is answered before the kernel drops it.
    verdicts = [("verdict", id_, Verdict.ACCEPT) for id_ in range(1, 101)]
    end = [
        "chains removed",
        *verdicts,
        "table removed",
        "disarmed",
        "closed FakeLog",
        "closed FakeQueue",
        "kernel closed",
    ]
    assert world.done == ["installed", "armed", *end]


async def test_a_start_that_fails_leaves_nothing(world: World) -> None:
    world.refuse = True
    with pytest.raises(KernelError):
        async with censor(world):
            pass
    assert world.done == ["cleaned", "closed FakeLog", "closed FakeQueue", "kernel closed"]


async def test_brackets_and_what_is_told_to_the_kernel(world: World) -> None:
    async with censor(world) as running:
        await running.apply(parse_rules(SNI + ADDRESSES))
        assert world.names()[1:] == [("rule_enforced", "name"), ("rule_enforced", "addresses")]
        name, addresses = (fields for _, fields in world.events[1:])
        assert addresses["before"] <= addresses["after"] <= name["before"] <= name["after"] == name["t"]
        assert world.done == ["installed", "armed"]  # no generation moved on
        await running.apply(parse_rules(KILL + ADDRESSES))
        assert world.names()[3:] == [("rule_lifted", "name"), ("rule_enforced", "name")]
        assert world.events[3][1]["after"] <= world.events[4][1]["after"]
        assert world.done[2:] == [("fail open", True), "armed", ("head", "open")]
        await running.apply(parse_rules('[censor]\nfail = "closed"\n' + KILL))
        assert world.done[5:] == [("fail open", False), "disarmed", ("head", "closed")]
        await running.clear()
        assert running.rules == RuleSet(censor=running.rules.censor)
        assert running.rules.fail == "closed"
        assert world.names()[5:] == [("rule_lifted", "addresses"), ("rule_lifted", "name")]


async def test_rules_that_the_kernel_refuses_change_nothing(world: World) -> None:
    async with censor(world) as running:
        world.refuse = True
        with pytest.raises(KernelError):
            await running.apply(parse_rules(SNI))
        assert running.rules == RuleSet()
        assert world.names() == [("censor_ready", None)]


async def test_queued_packets(world: World) -> None:
    async with censor(world) as running:
        await running.apply(parse_rules(SNI))
        world.done.clear()
        world.queued = [packet(1)]
        world.missed = 3
        running._on_queue()
        running._on_queue()
        assert world.done == [("verdict", 1, Verdict.DROP), ("injected", "192.0.2.10"), ("injected", "203.0.113.10")]
        assert world.names()[2:] == [("censor_hit", "name"), ("packets_missed", None)]
        assert (world.events[2][1]["t"], world.events[3][1]) == (5.0, {"count": 3})
        assert running.packets_queued == 1


async def test_logged_packets(world: World) -> None:
    async with censor(world) as running:
        await running.apply(parse_rules(ADDRESSES))
        world.logged = [
            LoggedPacket("addresses", HELLO, 6.0),
            LoggedPacket("addresses", b"", 6.0),
            LoggedPacket("unknown", HELLO, 6.0),
        ]
        running._on_log()
        assert world.names()[2:] == [("censor_hit", "addresses")]
        assert world.events[2][1]["t"] == 6.0


async def test_calls_of_apply_come_one_after_the_other(world: World) -> None:
    async with censor(world) as running, asyncio.TaskGroup() as group:
        group.create_task(running.apply(parse_rules(SNI)), name="first")
        group.create_task(running.apply(RuleSet()), name="second")
    assert world.names()[1:] == [("rule_enforced", "name"), ("rule_lifted", "name")]
