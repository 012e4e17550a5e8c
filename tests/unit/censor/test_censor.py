"""censor/censor.py, with fakes in the place of kernel and queues; on real packets: tests/lab/test_censor_*.py."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from censor import censor as subject
from censor.actions import Drop
from censor.censor import Censor, CensorSettings
from censor.core import Core
from censor.decision import Blocked, Suspect
from censor.kernel import kernel
from censor.kernel.queueing import HeadRules
from censor.kernel.residual_sets import Residual
from censor.lines.local import Callbacks, LineSettings, Logged, Switch
from censor.lists.binding import Lists
from censor.offload import AddressBlock
from censor.packet_io.netlink import KernelError
from censor.packet_io.nflog import LoggedPacket
from censor.prober.schedule import Verdict
from censor.rules import Rule, RuleSet
from censor.rules_file import parse_rules
from sidedoor.settings import SettingsError
from tests.unit.censor.traffic import CLIENT, SERVER, packed

SNI = '[[rule]]\nname = "name"\naction = "sni_rst"\ndomains = ["messenger.example"]\n'
KILL = SNI + 'existing_flows = "kill"\n'
ADDRESSES = '[[rule]]\nname = "addresses"\naction = "drop"\naddresses = ["203.0.113.10"]\n'
RESIDUAL = '[[rule]]\nname = "residual"\nwhen = "exists tls"\nactions = [{kind = "residual", seconds = 9}]\n'
PROBE = '[[rule]]\nname = "probe"\nwhen = "exists tls"\nactions = [{kind = "probe"}]\n'
CLOSED = '[censor]\nfail = "closed"\n'
BLOCKED = Blocked("residual", "3-tuple", packed(CLIENT), packed(SERVER), 443, 0, 6, 0.0, 1e9)
SUSPECT = Suspect(packed(SERVER), 443, b"first", "why")


class World:
    """What the censor did, in order, and what it reported. refuse: who says no."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.logged: list[LoggedPacket] = []
        self.told: list[Logged] = []
        self.missed = 0
        self.refuse = ""
        self.lines: FakeLines
        self.prober: FakeProber
        self.changed = asyncio.Event()
        self.wake, self._woken = os.pipe()

    def emit(self, event: str, /, **fields: Any) -> None:
        self.events.append((event, fields))
        self.changed.set()

    async def until(self, event: str) -> None:
        async with asyncio.timeout(5):
            while event not in [name for name, _ in self.events]:
                self.changed.clear()
                await self.changed.wait()

    def act(self, who: str, what: Any) -> None:
        if self.refuse == who:
            raise KernelError(f"{who}: no")
        self.done.append(what)

    def names(self) -> list[tuple[str, Any]]:
        return [(event, fields.get("rule")) for event, fields in self.events]

    def close(self) -> None:
        os.close(self.wake)
        os.close(self._woken)


class FakeLines:
    """Lines whose core is a real one."""

    world: World
    packets_queued = 9

    def __init__(self, settings: LineSettings, callbacks: Callbacks) -> None:
        self.world.lines = self
        self.settings, self.callbacks = settings, callbacks
        self.core = Core(generation=settings.generation)
        self.failure: BaseException | None = None

    async def open(self) -> None:
        self.world.act("lines", "lines opened")

    def start(self, tasks: asyncio.TaskGroup) -> None:
        self.world.done.append("lines started")
        self.broken = asyncio.Event()
        self._task = tasks.create_task(self._run(), name="lines")

    async def _run(self) -> None:
        await self.broken.wait()
        raise KernelError("a worker died again")

    def stop(self) -> None:
        self.world.done.append("lines stopped")
        self._task.cancel()

    def drain(self) -> None:
        self.world.done.append("drained")

    def close(self) -> None:
        self.world.done.append("lines closed")

    async def set_rules(self, rules: RuleSet, lists: Lists) -> Switch:
        before = time.monotonic()
        moved_on = self.core.set_rules(rules, lists.holders, lists.commit())
        return Switch(moved_on, before, time.monotonic())

    def convict(self, address: bytes, port: int, t: float, seconds: float) -> Blocked | None:
        return self.core.convict(address, port, t, seconds)

    def tell(self, logged: Sequence[Logged]) -> None:
        self.world.told += logged

    async def statistics(self) -> dict[str, Any]:
        return {"packets": 5}


class FakeKernel:
    world: World
    ipv6_missing = "not found: ip6tables"

    def __init__(self, log_group: int) -> None:
        self.head: HeadRules | None = None
        self._blocks: tuple[AddressBlock, ...] = ()

    def install(self, head: HeadRules) -> None:
        self.world.act("install", "installed")
        self.head = head

    async def set_addresses(self, blocks: tuple[AddressBlock, ...]) -> tuple[float, float]:
        self.world.act("addresses", ("addresses", [block.rule.name for block in blocks]))
        self._blocks = blocks
        before = time.monotonic()
        return before, time.monotonic()

    async def set_residuals(self, residuals: tuple[Residual, ...]) -> None:
        self.world.act("residuals", ("residuals", [one.serial for one in residuals]))

    async def set_head(self, head: HeadRules) -> None:
        self.world.act("head", ("head", head.fail, head.strict))
        self.head = head

    def block(self, serial: int, key: bytes, *, version: int, timeout_ms: int) -> None:
        if self.world.refuse == "block":
            raise KernelError("blocking: no room")
        self.world.done.append(("blocked", serial))

    def block_of(self, prefix: str) -> AddressBlock | None:
        return next((block for block in self._blocks if block.rule.name == prefix), None)

    def close(self) -> None:
        self.world.done.append("kernel closed")


class FakeLog:
    world: World

    def __init__(self, group: int) -> None:
        self._fd = os.dup(self.world.wake)

    @property
    def missed(self) -> int:
        return self.world.missed

    def __enter__(self) -> FakeLog:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
        self.world.done.append("log closed")

    def fileno(self) -> int:
        return self._fd

    def read(self, limit: int) -> list[LoggedPacket]:
        batch, self.world.logged = self.world.logged, []
        return batch


class FakeDeadHand:
    world: World

    def __init__(self, command: tuple[str, ...]) -> None:
        assert command[1:] == ("delete", "table", "inet", "sidedoor")

    def arm(self) -> None:
        self.world.done.append("armed")

    def disarm(self) -> None:
        self.world.done.append("disarmed")


class FakeProber:
    world: World

    def __init__(self, settings: Any, emit: Any, *, on_verdict: Callable[[Verdict], None], seed: int, mark: int):
        self.world.prober = self
        self.on_verdict = on_verdict

    async def __aenter__(self) -> FakeProber:
        self.world.done.append("prober started")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.world.done.append("prober stopped")

    def suspect(self, *suspect: object) -> None:
        self.world.done.append(suspect)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World()
    fakes: dict[str, type[Any]] = {
        "LocalLine": FakeLines,
        "Kernel": FakeKernel,
        "NfLog": FakeLog,
        "DeadHand": FakeDeadHand,
        "Prober": FakeProber,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(fake, "world", world, raising=False)
        monkeypatch.setattr(subject, name, fake)
    for name in ("cleanup", "remove_chains", "remove_table"):
        monkeypatch.setattr(kernel, name, lambda name=name: world.done.append(name))
    monkeypatch.setattr(kernel, "check_tools", lambda: None)
    yield world
    world.close()


def censor(world: World, **settings: Any) -> Censor:
    return Censor(CensorSettings(**settings), world.emit)


START = ["lines opened", "installed", "armed", "lines started"]
# What waits when nothing is queued any more is answered before the kernel drops it with the table.
END = ["lines stopped", "remove_chains", "drained", "remove_table", "disarmed", "log closed", "lines closed"]


async def test_life(world: World) -> None:
    async with censor(world, queue=7, flow_limit=3) as running:
        assert running.ipv6_missing == "not found: ip6tables"
        assert running.packets_queued == 9
        assert await running.statistics() == {"packets": 5}
        assert world.names() == [("censor_ready", None)]
        assert (world.lines.settings.queues, world.lines.settings.flow_limit) == ((7,), 3)
    assert world.done == [*START, *END, "kernel closed"]


@pytest.mark.parametrize(
    ("refuse", "done"),
    [
        ("lines", ["lines closed", "kernel closed"]),
        ("install", ["lines opened", "cleanup", "log closed", "lines closed", "kernel closed"]),
    ],
)
async def test_a_start_that_fails_leaves_nothing(world: World, refuse: str, done: list[str]) -> None:
    world.refuse = refuse
    with pytest.raises(KernelError):
        async with censor(world):
            pass
    assert world.done == done


async def test_lines_that_fail_end_it(world: World) -> None:
    async def run() -> None:
        async with censor(world):
            world.lines.broken.set()
            await asyncio.Event().wait()

    with pytest.raises(KernelError, match="a worker died again"):
        await run()
    assert world.done == [*START, *END, "kernel closed"]


async def test_what_ends_the_context_is_raised_as_it_is(world: World) -> None:
    with pytest.raises(RuntimeError, match="mine"):
        async with censor(world):
            raise RuntimeError("mine")
    assert world.done[-1] == "kernel closed"


async def test_brackets_and_what_is_told_to_the_kernel(world: World) -> None:
    async with censor(world) as running:
        await running.apply(parse_rules(SNI + ADDRESSES))
        assert world.names()[1:] == [("rule_enforced", "name"), ("rule_enforced", "addresses")]
        name, addresses = (fields for _, fields in world.events[1:])
        # The core first, then the sets.
        assert name["before"] <= name["after"] <= addresses["before"] <= addresses["after"] == addresses["t"]
        # Names of flows to port 443 are remembered from the start.
        assert world.done[len(START) :] == [("addresses", ["addresses"]), ("residuals", [])]
        world.done.clear()
        await running.apply(parse_rules(KILL + ADDRESSES))
        assert world.names()[3:] == [("rule_lifted", "name"), ("rule_enforced", "name")]
        killing = world.events[4][1]
        assert world.events[3][1]["after"] <= killing["after"]
        assert ("head", "open", False) in world.done  # the generation moved on
        assert world.lines.core.generation != world.lines.settings.generation
        world.done.clear()
        await running.apply(parse_rules(KILL + ADDRESSES))
        assert world.done == [("addresses", ["addresses"]), ("residuals", [])]
        await running.apply(parse_rules(CLOSED + "strict = true\n" + KILL + RESIDUAL))
        assert world.done[2:] == [("addresses", []), ("residuals", [1]), "disarmed", ("head", "closed", True)]
        await running.clear()
        assert running.rules == RuleSet(censor=running.rules.censor)
        assert running.rules.fail == "closed"


@pytest.mark.parametrize("refuse", ["addresses", "residuals", "head"])
async def test_a_refusal_of_the_kernel_is_raised_and_the_next_attempt_is_whole(world: World, refuse: str) -> None:
    async with censor(world) as running:
        world.refuse = refuse
        with pytest.raises(KernelError):
            await running.apply(parse_rules(KILL + ADDRESSES + RESIDUAL))
        assert world.names() == [("censor_ready", None)]
        world.refuse = ""
        world.done.clear()
        await running.apply(parse_rules(KILL + ADDRESSES + RESIDUAL))
        assert [one[0] for one in world.done if one != "armed"] == ["addresses", "residuals", "head"]


async def test_lists_that_cannot_be_read_change_nothing(world: World, tmp_path: Any) -> None:
    async with censor(world, folder=str(tmp_path)) as running:
        with pytest.raises(SettingsError, match=r"missing\.txt"):
            await running.apply(parse_rules('[[list]]\nname = "x"\nfile = "missing.txt"\n' + SNI))
        assert running.rules == RuleSet()
        assert world.done == START


async def test_rules_that_do_not_compile_change_nothing(world: World) -> None:
    async with censor(world) as running:
        with pytest.raises(SettingsError, match=r"rule 'x': `when`"):
            await running.apply(RuleSet(rules=(Rule(name="x", when="tls.nonsense", actions=(Drop(),)),)))
        assert running.rules == RuleSet()
        assert world.done == START


async def test_calls_of_apply_come_one_after_the_other(world: World) -> None:
    async with censor(world) as running, asyncio.TaskGroup() as group:
        group.create_task(running.apply(parse_rules(SNI)), name="first")
        group.create_task(running.apply(RuleSet()), name="second")
    assert world.names()[1:] == [("rule_enforced", "name"), ("rule_lifted", "name")]


class TestTimeLine:
    RULES = "[censor]\ntime_scale = 1e6\n" + ADDRESSES + SNI + "from_seconds = 1\nuntil_seconds = 2\n"

    async def test_rules_come_and_go(self, world: World) -> None:
        async with censor(world) as running:
            await running.apply(parse_rules(self.RULES))
            assert world.names()[1:] == [("rule_enforced", "addresses")]
            await world.until("rule_lifted")
            await world.until("stage_reached")
            stages = [event for event in world.events if event[0] != "censor_ready"]
            assert [(event, one.get("rule", one.get("seconds"))) for event, one in stages][1:4] == [
                ("rule_enforced", "name"),
                ("stage_reached", 1.0),
                ("rule_lifted", "name"),
            ]

    async def test_other_rules_end_it(self, world: World) -> None:
        async with censor(world) as running:
            await running.apply(parse_rules(self.RULES.replace("1e6", "1e-6")))
            await running.apply(parse_rules(ADDRESSES))
            assert world.names()[1:] == [("rule_enforced", "addresses")]

    async def test_a_stage_that_the_kernel_refuses_is_told_at_the_next_occasion(self, world: World) -> None:
        async def run() -> None:
            async with censor(world) as running:
                await running.apply(parse_rules(self.RULES))
                world.refuse = "addresses"
                assert running._time_line is not None
                await asyncio.wait([running._time_line])
                world.refuse = ""

        with pytest.raises(KernelError):
            await run()
        assert world.done[-1] == "kernel closed"


async def test_residual_blocks_are_told_to_the_kernel(world: World) -> None:
    async with censor(world) as running:
        await running.apply(parse_rules(RESIDUAL))
        world.lines.callbacks.blocked(BLOCKED)
        assert world.done[-1] == ("blocked", 1)


async def test_a_residual_block_that_the_kernel_does_not_take_is_told_of(world: World) -> None:
    async with censor(world) as running:
        await running.apply(parse_rules(RESIDUAL))
        world.refuse = "block"
        world.lines.callbacks.blocked(BLOCKED)
        assert world.events[-1] == ("residual_refused", {"rule": "residual", "reason": "blocking: no room"})


async def test_suspects_go_to_the_prober_and_convictions_come_back(world: World) -> None:
    async with censor(world) as running:
        world.lines.callbacks.suspect(SUSPECT)  # of no use to anybody
        await running.apply(parse_rules(PROBE))
        await running.apply(parse_rules(PROBE))
        assert world.done.count("prober started") == 1
        world.lines.callbacks.suspect(SUSPECT)
        assert world.done[-1] == ((packed(SERVER), 443), b"first", "why")
        for convicted in (False, True):
            world.prober.on_verdict(Verdict((packed(SERVER), 443), convicted, 60.0, ()))
            assert (world.done[-1] == ("blocked", 1)) is convicted
        await running.clear()
        assert "prober stopped" in world.done
        world.done.clear()
        world.prober.on_verdict(Verdict((packed(SERVER), 443), True, 60.0, ()))
        assert world.done == []  # no rule probes any more


async def test_logged_packets_are_told(world: World) -> None:
    async with censor(world) as running:
        await running.apply(parse_rules(ADDRESSES + RESIDUAL))
        world.missed = 3
        world.logged = [LoggedPacket(name, b"packet", 6.0) for name in ("addresses", "residual1", "unknown")]
        running._on_log()
        running._on_log()
        assert [(one.rule, one.block is None, one.t) for one in world.told] == [
            ("addresses", False, 6.0),
            ("residual", True, 6.0),
        ]
        assert world.events[-1] == ("packets_missed", {"count": 3})
        assert world.names().count(("packets_missed", None)) == 1


def test_several_queues(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "Workers", FakeLines)
    censor(world, queue=7, queues=2)
    assert world.lines.settings.queues == (7, 8)


def test_there_are_so_many_queues() -> None:
    assert CensorSettings(queue=65534, queues=2).queues == 2
    with pytest.raises(ValueError, match="the last one there is has number 65535"):
        CensorSettings(queue=65534, queues=3)
