"""The trial of a path that is to be used again: copies of live messages, as many as it failed after before. Sans-IO.

A ping proves little: a censor may pass handshakes and pings and drop data, let each connection carry some kilobytes
and freeze it (Russia, 2025: 15 to 20 KB), or throttle. So a probe carries copies of the messages that go by the path in
use, until enough bytes were answered in time. A conversation of few words proves its path by few words.
"""

from __future__ import annotations

from dataclasses import dataclass

LEAST_BYTES = 24_000
"""More than the 15 to 20 KB after which connections freeze in Russia since 2025 (net4people/bbs #490)."""
MOST_BYTES = 64_000
"""A path that failed after more than half of this failed for other reasons than its bytes."""
SOON_SECONDS = 5.0
"""A trial waits for its bytes if they come within so long at the rate at which they have come: a connection that
freezes after 16 KB would else pass by time with 15 KB."""
EARLY_SECONDS = 60.0
"""For so long after a path failed early, time alone proves nothing."""
HASTY_SECONDS = 30.0
"""A path in use that fails so soon after its return has failed early; one that was in use for longer may have been
blocked at any byte."""


@dataclass(slots=True)
class Trial:
    """One probe's trial, since `began_at`: proved by `needed_bytes` of answered copies, or from `until` on by what was
    answered in time, unless so much is said that the bytes come soon. `failed`: nothing proves it any more, and what
    trickles by it until `until` is for the diagnosis."""

    needed_bytes: int
    began_at: float
    until: float
    failed: bool = False

    def passed(self, answered_bytes: int, now: float, *, late: bool) -> bool:
        """Whether it is proved. `late`: the answer to a copy is overdue."""
        if self.failed:
            return False
        if late or answered_bytes >= self.needed_bytes:
            return not late
        come_soon = answered_bytes * SOON_SECONDS >= self.needed_bytes * (now - self.began_at)
        return now >= self.until and not come_soon


@dataclass(slots=True)
class Trials:
    """What the trials of one path have to show. `seconds`: how long a trial takes where little is said."""

    seconds: float
    _returned_at: float = float("-inf")
    _needed_bytes: int = LEAST_BYTES
    _early_until: float = float("-inf")

    def returned(self, now: float) -> None:
        """The path is in use again."""
        self._returned_at = now

    def left_after(self, carried_bytes: int, now: float) -> None:
        """The path in use failed after its connection had carried so many bytes of messages."""
        if now - self._returned_at < HASTY_SECONDS:
            self.failed_after(carried_bytes, now)

    def failed_after(self, carried_bytes: int, now: float) -> None:
        """A trial failed after so many bytes of messages."""
        if 2 * carried_bytes <= MOST_BYTES:
            self._needed_bytes = max(2 * carried_bytes, LEAST_BYTES)
            self._early_until = now + EARLY_SECONDS

    def begin(self, now: float) -> Trial:
        """The trial of a probe that stands now."""
        return Trial(self._needed_bytes, now, max(now + self.seconds, self._early_until))
