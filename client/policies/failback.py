"""When to go back to the direct path: how many probes in a row have to succeed. Sans-IO.

One success is no proof: a censor may let some flows pass, or pass the probe and drop the data. So several in a row are
needed, and more after each return that did not last.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Failback:
    """Counts consecutive successful probes against what is needed.

    `least`: successes needed at first. `most`: the bound of their doubling. `settle_seconds`: a return to the direct
    path that lasts less has failed and doubles what is needed; one that lasted longer sets it back.
    """

    least: int
    most: int
    settle_seconds: float
    needed: int = field(init=False)
    _successes: int = 0
    _returned_at: float | None = None

    def __post_init__(self) -> None:
        self.needed = self.least

    def succeeded(self) -> bool:
        """A probe has succeeded; whether it is time to go back."""
        self._successes += 1
        return self._successes >= self.needed

    def failed(self) -> None:
        """A probe has failed: counting starts again."""
        self._successes = 0

    def returned(self, now: float) -> None:
        """The direct path is in use again."""
        self._successes = 0
        self._returned_at = now

    def direct_bad(self, now: float) -> None:
        """The direct path went bad."""
        self._successes = 0
        hasty = self._returned_at is not None and now - self._returned_at < self.settle_seconds
        self.needed = min(2 * self.needed, self.most) if hasty else self.least
        self._returned_at = None
