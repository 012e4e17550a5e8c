"""A user's limits as the sessions see them: may one more flow be opened, and how much may it carry.

The numbers behind them are in the ledger, which all workers share.
"""

from __future__ import annotations

import time

from proxy.ledger import DOWN, UP, Ledger
from proxy.relay.bucket import WAIT_SECONDS
from proxy.relay.flow import Meter
from proxy.settings import User

GRANT_BYTES = 1 << 18
"""The most that a direction takes from the ledger for one turn; what it does not use goes back."""


class Account:
    """One user in one worker."""

    __slots__ = ("_ledger", "_limits", "_place", "name", "slot")

    def __init__(self, name: str, limits: User, ledger: Ledger, slot: int, place: int) -> None:
        self.name = name
        self.slot = slot
        self._limits = limits
        self._ledger = ledger
        self._place = place

    def enter(self) -> str | None:
        """Count one more flow. None: it may be opened, and `leave` is to be called at its end; else why it may not."""
        limits = self._limits
        if limits.quota_bytes and self.used_up():
            return f"the quota of {limits.quota_bytes} bytes is used up"
        if not self._ledger.open_flow(self.slot, self._place, limits.max_flows):
            return f"{limits.max_flows} flows are open, and that is the limit"
        return None

    def leave(self) -> None:
        """One flow less."""
        self._ledger.close_flow(self.slot, self._place)

    def meters(self) -> tuple[Meter, Meter] | None:
        """What bounds a flow, up and down; None: nothing."""
        if self._limits.rate_bytes_per_second or self._limits.quota_bytes:
            return (
                UserMeter(self, self._ledger, self._limits, UP),
                UserMeter(self, self._ledger, self._limits, DOWN),
            )
        return None

    def used_up(self) -> bool:
        """Whether nothing is left of the quota. What other flows have reserved and will give back counts as used."""
        limits = self._limits
        return limits.quota_bytes > 0 and self._ledger.exhausted(
            self.slot, limits.quota_bytes, limits.quota_seconds, time.time()
        )


class UserMeter:
    """A `Meter`: one direction of one flow of a user."""

    __slots__ = ("_account", "_direction", "_ledger", "_limits", "_reserved", "_used_up")

    def __init__(self, account: Account, ledger: Ledger, limits: User, direction: int) -> None:
        self._account = account
        self._ledger = ledger
        self._limits = limits
        self._direction = direction
        self._reserved = 0
        self._used_up = False

    def available(self, now: float) -> int:
        """See `Meter`."""
        limits, ledger = self._limits, self._ledger
        self._reserved = ledger.take(
            self._account.slot,
            self._direction,
            GRANT_BYTES,
            now,
            limits.rate_bytes_per_second,
            limits.quota_bytes,
            limits.quota_seconds,
        )
        if self._reserved:
            self._used_up = False
        return self._reserved

    def spend(self, size_bytes: int) -> None:
        """See `Meter`."""
        unused, self._reserved = self._reserved - size_bytes, 0
        if unused:
            self._ledger.give_back(self._account.slot, self._direction, unused)

    def wait_seconds(self) -> float | None:
        """See `Meter`. A quota that is used up may be so by reservations: it is asked twice."""
        if self._account.used_up():
            if self._used_up:
                return None
            self._used_up = True
            return WAIT_SECONDS
        return self._ledger.wait_seconds(self._account.slot, self._direction, self._limits.rate_bytes_per_second)
