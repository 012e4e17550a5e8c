"""Conditions, cells, and how many runs of each are wanted. Sans-IO.

A condition is one lab: a block type, warm or cold, RTT, loss, and the clients (arms) that meet the block there side by
side, round after round. A cell is what is reported: one policy in one condition's circumstances.
"""

from __future__ import annotations

import msgspec


class Condition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One lab. arms: a policy a client; runs: how many runs of each policy are wanted.

    watch_seconds: for so long a recovery is waited for. kill: each client gets SIGKILL in mid-block and goes on with
    its queue. jitter_ms: of the wan.
    """

    block: str
    warm: bool
    rtt_ms: int
    loss: float
    arms: tuple[str, ...]
    runs: dict[str, int]
    watch_seconds: float
    kill: bool = False
    jitter_ms: float = 0.0
    seed: int = 0

    @property
    def id(self) -> str:
        """The name of its folder."""
        kind = ("warm" if self.warm else "cold") + ("-kill" if self.kill else "")
        group = "compared" if len(set(self.arms)) > 1 else self.arms[0]
        return f"{self.block}-{kind}-{self.rtt_ms}ms-{100 * self.loss:g}pc-{group}"

    @property
    def interval_seconds(self) -> float:
        """Between two messages of a client: half the RTT; under a throttle so often that 16 kB/s do not suffice."""
        half = self.rtt_ms / 2000
        return min(half, THROTTLE_INTERVAL_SECONDS) if self.block == "throttle" else half


MESSAGE_BYTES = 1000
THROTTLE_INTERVAL_SECONDS = 0.02
