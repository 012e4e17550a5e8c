"""Sans-IO: what the censor counts about itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


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
