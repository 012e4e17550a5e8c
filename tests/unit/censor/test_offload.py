"""censor/offload.py"""

from __future__ import annotations

from hypothesis import given, note, settings

from censor.core import Core
from tests.unit.censor.kernel_model import Fate, KernelModel
from tests.unit.censor.rule_sets import (
    FREEZE,
    LASTING,
    LIGHT,
    RESIDUAL,
    STEPS,
    Conversation,
    conversations,
    rule_sets,
)
from tests.unit.censor.traffic import rules


class TestEquivalence:
    """Verdicts and injected packets are the same whether the kernel helps or every packet comes to the core."""

    def check(
        self, chosen: tuple[str, list[str]], flows: list[Conversation], steps: list[tuple[int, str, int, float]]
    ) -> None:
        head, tables = chosen
        note(head + "\n\n".join(tables))
        parsed = rules(*tables, head=head)
        reference, kernel = Core(generation=5), KernelModel()
        reference.set_rules(parsed)
        kernel.set_rules(parsed)
        t = 100.0
        for number, kind, size, pause in steps:
            t += pause
            flow = flows[number % len(flows)]
            while flow.opening and self.agreed(reference, kernel, flow, kind, size, t):
                flow.passed()
            if not flow.opening and self.agreed(reference, kernel, flow, kind, size, t):
                flow.passed()

    @staticmethod
    def agreed(reference: Core, kernel: KernelModel, flow: Conversation, kind: str, size: int, t: float) -> bool:
        """Whether the next packet passes; both say the same."""
        packet = flow.next(kind, size)
        if packet is None:
            return False
        expected = Fate.of(reference.decide(packet, t=t))
        found = kernel.forward(packet, t)
        ports = f"{flow.ends.client_port} > {flow.ends.server_port}"
        note(f"{t}: {ports} {kind} in state {flow.state}, {len(packet)} bytes, passes: {expected.accept}")
        assert found == expected
        return expected.accept

    @settings(max_examples=150, deadline=None)
    @given(rule_sets((*LASTING, *LIGHT, *FREEZE)), conversations(), STEPS)
    def test_of_effects(
        self, chosen: tuple[str, list[str]], flows: list[Conversation], steps: list[tuple[int, str, int, float]]
    ) -> None:
        self.check(chosen, flows, steps)

    @settings(max_examples=150, deadline=None)
    @given(rule_sets((*LASTING, *LIGHT, *RESIDUAL)), conversations(), STEPS)
    def test_of_residual_blocks(
        self, chosen: tuple[str, list[str]], flows: list[Conversation], steps: list[tuple[int, str, int, float]]
    ) -> None:
        self.check(chosen, flows, steps)
