"""censor/kernel/residual_blocks.py, with a kernel that notes what it is told; a real one: tests/lab."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, cast

import pytest

from censor.compiled import CompiledRules
from censor.decision import Blocked
from censor.kernel.kernel import Kernel
from censor.kernel.residual_blocks import ResidualBlocks, shapes
from censor.kernel.residual_sets import Residual, Scope, residual_key
from censor.packet_io.netlink import KernelError
from tests.unit.censor.traffic import CLIENT, SERVER, acting, packed, rules

NOW = 1000.0
THREE, FOUR = acting('kind = "residual", seconds = 90'), acting('kind = "residual", seconds = 90, key = "4-tuple"')


def compiled(*tables: str) -> CompiledRules:
    return CompiledRules(rules(*tables), {})


def blocked(rule: str = "rule0", *, begins: float = NOW, seconds: float = 90.0, server: str = SERVER) -> Blocked:
    client = CLIENT if ":" not in server else "2001:db8::2"
    return Blocked(rule, "3-tuple", packed(client), packed(server), 443, 0, 6, begins, seconds)


class FakeKernel:
    """residuals: whose sets there are. done: the elements that were added."""

    def __init__(self) -> None:
        self.residuals: tuple[Residual, ...] = ()
        self.done: list[tuple[Any, ...]] = []
        self.refuse = False

    async def set_residuals(self, residuals: tuple[Residual, ...]) -> None:
        if self.refuse:
            raise KernelError("no")
        self.residuals = residuals

    def block(self, serial: int, key: bytes, *, version: int, timeout_ms: int) -> None:
        self.done.append((serial, key, version, timeout_ms))


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    monkeypatch.setattr(time, "monotonic", lambda: NOW)
    return FakeKernel()


@pytest.fixture
def subject(kernel: FakeKernel) -> ResidualBlocks:
    return ResidualBlocks(cast(Kernel, kernel))


async def test_sets_of_rules_that_stay_are_not_made_anew(subject: ResidualBlocks, kernel: FakeKernel) -> None:
    await subject.set_rules(compiled(THREE, FOUR, acting('kind = "drop"')))
    assert kernel.residuals == (Residual(1, Scope.THREE_TUPLE), Residual(2, Scope.FOUR_TUPLE))
    await subject.set_rules(compiled(THREE, THREE))
    assert kernel.residuals == (Residual(1), Residual(3))
    assert [subject.rule_of(f"residual{serial}") for serial in (1, 2, 3, 4)] == ["rule0", "rule1", "rule1", None]
    assert subject.rule_of("rule1") is None
    await subject.set_rules(compiled())
    assert not kernel.residuals


async def test_a_refusal_changes_nothing(subject: ResidualBlocks, kernel: FakeKernel) -> None:
    await subject.set_rules(compiled(THREE))
    kernel.refuse = True
    with pytest.raises(KernelError):
        await subject.set_rules(compiled(FOUR))
    subject.block(blocked())
    assert kernel.done[0][0] == 1
    assert subject.rule_of("residual2") is None


async def test_a_block_is_an_element_of_its_rules_set(subject: ResidualBlocks, kernel: FakeKernel) -> None:
    await subject.set_rules(compiled(THREE, FOUR))
    subject.block(blocked())
    subject.block(blocked(begins=NOW - 10.0005))  # told of late
    subject.block(blocked(server="2001:db8::1"))
    key = residual_key(Scope.THREE_TUPLE, packed(CLIENT), packed(SERVER), 6, 0, 443)
    key6 = residual_key(Scope.THREE_TUPLE, packed("2001:db8::2"), packed("2001:db8::1"), 6, 0, 443)
    assert kernel.done == [(1, key, 4, 90_000), (1, key, 4, 80_000), (1, key6, 6, 90_000)]
    subject.block(blocked("rule1"))
    assert kernel.done[-1][1] == residual_key(Scope.FOUR_TUPLE, packed(CLIENT), packed(SERVER), 6, 0, 443)


async def test_what_is_over_or_of_no_rule_any_more_is_not_told(subject: ResidualBlocks, kernel: FakeKernel) -> None:
    await subject.set_rules(compiled(THREE))
    subject.block(blocked("rule7"))
    subject.block(blocked(begins=NOW - 91))
    assert kernel.done == []


async def test_a_block_that_begins_later(
    subject: ResidualBlocks, kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    timers: list[tuple[float, Callable[..., None], tuple[object, ...]]] = []

    class Loop:
        def call_later(self, seconds: float, callback: Callable[..., None], *arguments: object) -> None:
            timers.append((seconds, callback, arguments))

    await subject.set_rules(compiled(THREE))
    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "get_running_loop", Loop)
        subject.block(blocked(begins=NOW + 5))
    ((seconds, callback, arguments),) = timers
    assert (seconds, kernel.done) == (5.0, [])
    monkeypatch.setattr(time, "monotonic", lambda: NOW + 5)
    callback(*arguments)
    assert kernel.done[0][3] == 90_000


@pytest.mark.parametrize(
    ("action", "residual"),
    [
        ("seconds = 60", Residual(0)),
        ('seconds = 60, key = "2-tuple"', Residual(0, Scope.TWO_TUPLE)),
        ('seconds = 60, direction = "to_server"', Residual(0, client_only=True)),
        ('seconds = [60, 80.5], refresh = "packet"', Residual(0, refresh_seconds=81)),
        ("seconds = 60, probability = 0.5", Residual(0, action="queue")),
        ('seconds = 60, then = "reset", refresh = "packet"', Residual(0, action="queue", refresh_seconds=60)),
    ],
)
def test_shapes(action: str, residual: Residual) -> None:
    assert shapes(compiled(acting(f'kind = "residual", {action}'))) == {"rule0": residual}


def test_the_prober_blocks_servers() -> None:
    assert shapes(compiled(acting('kind = "probe"'))) == {"prober": Residual(0, Scope.SERVER)}
