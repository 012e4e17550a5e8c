"""Sans-IO: what the censor counts about itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from censor.decision import Decision


@dataclass(slots=True)
class RuleCounts:
    """One rule: messages that it matched and acted on, of these collateral; packets acted on, packets injected."""

    matched: int = 0
    collateral: int = 0
    packets: int = 0
    injected: int = 0


@dataclass(slots=True)
class Statistics:
    """packets: that were decided on. overloaded: flows that passed unseen because there were too many packets."""

    packets: int = 0
    dropped: int = 0
    injected: int = 0
    overloaded: int = 0
    rules: dict[str, RuleCounts] = field(default_factory=dict)

    def rule(self, name: str) -> RuleCounts:
        counts = self.rules.get(name)
        if counts is None:
            counts = self.rules[name] = RuleCounts()
        return counts

    def count(self, decision: Decision) -> None:
        """One packet has been decided on. What was injected is counted for its rule where it is made."""
        self.packets += 1
        self.dropped += not decision.accept
        self.injected += len(decision.before) + len(decision.after) + len(decision.later)
        for name in {hit.rule for hit in decision.hits}:
            self.rule(name).packets += 1

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "packets": self.packets,
            "dropped": self.dropped,
            "injected": self.injected,
            "overloaded": self.overloaded,
            "rules": {
                name: {
                    "matched": counts.matched,
                    "collateral": counts.collateral,
                    "packets": counts.packets,
                    "injected": counts.injected,
                }
                for name, counts in self.rules.items()
            },
        }


def summed(counts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The sum of several processes' counts: numbers, and mappings of such, by key."""
    total: dict[str, Any] = {}
    for one in counts:
        for key, value in one.items():
            if isinstance(value, Mapping):
                total[key] = summed((total.get(key, {}), value))
            else:
                total[key] = total.get(key, 0) + value
    return total
