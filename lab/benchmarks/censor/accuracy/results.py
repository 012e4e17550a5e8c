"""What became of the flows, and what of it was a mistake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from lab.benchmarks.censor.accuracy.binomial import likely
from lab.benchmarks.censor.accuracy.flows import Fate, Seen
from lab.benchmarks.censor.accuracy.truths import Case


class Counted(msgspec.Struct):
    """The fates of one case's flows, and the least and greatest number of bytes that one of them got."""

    name: str
    fates: dict[str, int] = {}
    least_bytes: int | None = None
    most_bytes: int | None = None

    def add(self, seen: Seen) -> None:
        """One more flow."""
        self.fates[seen.fate] = self.fates.get(seen.fate, 0) + 1
        got = seen.received_bytes
        self.least_bytes = got if self.least_bytes is None else min(got, self.least_bytes)
        self.most_bytes = got if self.most_bytes is None else max(got, self.most_bytes)


@dataclass(frozen=True, slots=True)
class Judged:
    """A case beside what was counted of it."""

    case: Case
    counted: Counted

    @property
    def flows(self) -> int:
        return sum(self.counted.fates.values())

    @property
    def hit(self) -> int:
        """Flows with a fate that the profile has for them; of innocent ones: with another than to pass."""
        passed = self.counted.fates.get(Fate.PASSED, 0)
        if self.case.innocent:
            return self.flows - passed
        return sum(self.counted.fates.get(fate, 0) for fate in self.case.fates)

    @property
    def wrong(self) -> int:
        """Flows that neither passed nor were hit as the profile says."""
        if self.case.innocent:
            return 0
        return self.flows - self.hit - self.counted.fates.get(Fate.PASSED, 0)

    @property
    def likely(self) -> tuple[int, int]:
        """How many are hit, but in one run of a thousand."""
        return likely(self.flows, 0.0 if self.case.innocent else self.case.share)

    @property
    def held(self) -> bool:
        least, most = self.likely
        return not self.wrong and least <= self.hit <= most

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        least, most = self.likely
        return {
            "case": self.case.name,
            "innocent": self.case.innocent,
            "flows": self.flows,
            "hit": self.hit,
            "wrong": self.wrong,
            "share": 0.0 if self.case.innocent else self.case.share,
            "observed_share": self.hit / self.flows if self.flows else None,
            "likely_hits": [least, most],
            "fates": dict(self.counted.fates),
            "received_bytes": [self.counted.least_bytes, self.counted.most_bytes],
            "held": self.held,
        }


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Of one profile. packets_missed: that the censor never saw; `failure`: why there is nothing to judge."""

    profile: str
    cases: Sequence[Judged]
    seconds: float = 0.0
    packets_missed: int = 0
    failure: str | None = None

    @property
    def flows(self) -> int:
        return sum(case.flows for case in self.cases)

    @property
    def false_positives(self) -> int:
        """Innocent flows that did not pass."""
        return sum(case.hit for case in self.cases if case.case.innocent)

    @property
    def false_negatives(self) -> int:
        """Flows that the profile always hits, and that were not hit as it says."""
        certain = (case for case in self.cases if not case.case.innocent and case.case.share >= 1)
        return sum(case.flows - case.hit for case in certain)

    @property
    def unlikely(self) -> list[Judged]:
        """Cases by chance whose share is not what the profile says, or where flows met another fate."""
        return [case for case in self.cases if case.case.share < 1 and not case.held]

    @property
    def held(self) -> bool:
        return self.failure is None and all(case.held for case in self.cases)

    def to_json(self) -> dict[str, Any]:
        """Plain data, as `--json` writes it."""
        return {
            "flows": self.flows,
            "false_positives": self.false_positives,
            "false_negatives": self.false_negatives,
            "unlikely": [case.case.name for case in self.unlikely],
            "held": self.held,
            "packets_missed": self.packets_missed,
            "seconds": round(self.seconds, 1),
            "failure": self.failure,
            "cases": [case.to_json() for case in self.cases],
        }


def judged(cases: Sequence[Case], counted: Mapping[str, Counted]) -> list[Judged]:
    """Each case with its count."""
    return [Judged(case, counted[case.name]) for case in cases]
