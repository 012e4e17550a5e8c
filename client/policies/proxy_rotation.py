"""Rotation among proxies as in Telegram for Android (ProxyRotationController.java). Sans-IO.

After a while in "connecting" the proxies that were not checked lately are checked, a few at a time, by a dial and a
ping; the fastest one that is not the current one is taken. It is taken as soon as a check has succeeded, as there.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from client.policies import Answered, DialFailed, Ended, Established, Heard, Ponged, Sent, StageReached
from client.policies.orders import Orders
from client.policies.tg_android_settings import TgAndroidSettings


@dataclass(slots=True)
class Check:
    """One connection that only checks. `event_at`: when anything came last."""

    number: int
    proxy: str
    event_at: float
    pinged_at: float = 0.0


@dataclass(slots=True)
class ProxyRotation:
    """Decides which of `proxies` is next; with less than two it never does. `current`: the proxy in use."""

    settings: TgAndroidSettings
    orders: Orders
    proxies: tuple[str, ...] = ()
    current: str = ""
    _rotate_at: float | None = None
    _rotating: bool = False
    _queue: deque[str] = field(default_factory=deque)
    _checks: dict[int, Check] = field(default_factory=dict)
    _checked_at: dict[str, float] = field(default_factory=dict)
    _pings: dict[str, float] = field(default_factory=dict)  # of those that answered their last check

    # -- the state of the connection

    def connecting(self, now: float) -> None:
        """The connection is lost, or another proxy was taken."""
        if len(self.proxies) > 1 and not self._rotating:
            self._rotate_at = now + self.settings.rotation_seconds

    def connected(self) -> None:
        """Data came: no rotation, though checks under way go on."""
        self._rotate_at = None
        self._rotating = False

    # -- checks

    def owns(self, connection: int) -> bool:
        """Whether the connection is one of its checks."""
        return connection in self._checks

    def observe(
        self,
        observation: Established | StageReached | Sent | Answered | Ponged | Heard | DialFailed | Ended,
        now: float,
    ) -> str | None:
        """What became of a check; the proxy to go to from now on, if any."""
        check = self._checks[observation.connection]
        check.event_at = now
        match observation:
            case Established():
                check.pinged_at = now
                self.orders.ping(check.number)
            case Ponged():
                self._pings[check.proxy] = now - check.pinged_at
                return self._finish(check, None, now)
            case DialFailed(failure=failure) | Ended(failure=failure):
                self._pings.pop(check.proxy, None)
                return self._finish(check, failure, now)
            case _:
                pass
        return None

    def deadline(self) -> float | None:
        times = [check.event_at + self.settings.check_seconds for check in self._checks.values()]
        return min([*times, *([] if self._rotate_at is None else [self._rotate_at])], default=None)

    def tick(self, now: float) -> str | None:
        """The proxy to go to from now on, if any."""
        chosen = None
        for check in list(self._checks.values()):
            if check.event_at + self.settings.check_seconds <= now:
                self._pings.pop(check.proxy, None)
                chosen = self._finish(check, "generic_timeout_error", now, abort=True) or chosen
        if self._rotate_at is not None and self._rotate_at <= now:
            chosen = self._begin(now) or chosen
        return chosen

    def _begin(self, now: float) -> str | None:
        self._rotate_at = None
        self._rotating = True
        busy = {check.proxy for check in self._checks.values()} | set(self._queue)
        for proxy in self.proxies:
            checked_at = self._checked_at.get(proxy)
            if proxy not in busy and (checked_at is None or now - checked_at >= self.settings.recheck_seconds):
                self._queue.append(proxy)
        self._fill(now)
        return None if self._checks else self._choose(now)

    def _fill(self, now: float) -> None:
        while self._queue and len(self._checks) < self.settings.checks:
            proxy = self._queue.popleft()
            number = self.orders.probe(proxy)
            self._checks[number] = Check(number, proxy, now)

    def _finish(self, check: Check, failure: str | None, now: float, *, abort: bool = False) -> str | None:
        del self._checks[check.number]
        self._checked_at[check.proxy] = now
        self.orders.probe_ended(check.number, check.proxy, failure)
        if abort:
            self.orders.abort(check.number)
        elif failure is None:
            self.orders.close(check.number)
        self._fill(now)
        return self._choose(now) if self._rotating else None

    def _choose(self, now: float) -> str | None:
        """The fastest proxy that answered and is not the current one; without one, the next round comes in a while."""
        busy = {check.proxy for check in self._checks.values()} | set(self._queue)
        free = [proxy for proxy in self.proxies if proxy in self._pings and proxy not in busy and proxy != self.current]
        if free:
            self._rotating = False
            self.current = min(free, key=lambda proxy: self._pings[proxy])
            self.connecting(now)
            return self.current
        if not self._checks:
            self._rotating = False
            self.connecting(now)
        return None

    # -- the list

    def set_proxies(self, proxies: tuple[str, ...]) -> None:
        """Another list; checks under way go on."""
        self.proxies = proxies
        self._queue = deque(proxy for proxy in self._queue if proxy in proxies)
        if proxies and self.current not in proxies:
            self.current = proxies[0]
