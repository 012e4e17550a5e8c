"""How a sender's connection is, in one line for people. Sans-IO."""

from __future__ import annotations

from dataclasses import dataclass

from client.diagnosis import KINDS
from client.policies import Diagnosed, Health


@dataclass(frozen=True, slots=True)
class Status:
    """`route`: the one in use, None: none stands; `health`: of its path, None: the policy does not tell; `troubles`:
    what is wrong with which routes; `messages` and `attachments`: how many have no ack."""

    route: str | None
    health: Health | None = None
    troubles: tuple[Diagnosed, ...] = ()
    messages: int = 0
    attachments: int = 0

    @property
    def line(self) -> str:
        """The route with its round trip or doubt, the standby, what is not acknowledged, what is wrong."""
        waiting = [f"{count} {word}" for count, word in self._counts if count]
        parts = [self._route, *self._standby, *([f"{' and '.join(waiting)} not there yet"] if waiting else [])]
        return " | ".join([*parts, *(f"{one.route}: {KINDS[one.kind]}" for one in self.troubles)])

    @property
    def _counts(self) -> tuple[tuple[int, str], ...]:
        return (
            (self.messages, "messages" if self.messages > 1 else "message"),
            (self.attachments, "files" if self.attachments > 1 else "file"),
        )

    @property
    def _route(self) -> str:
        if self.route is None:
            return "no connection, looking for one"
        health = self.health
        if health is None:
            return self.route
        if health.hedging:
            return f"{self.route} in doubt, copies go by {health.standby or 'another route'}"
        if health.in_doubt:
            return f"{self.route} in doubt"
        return self.route if health.rtt_seconds is None else f"{self.route} {1000 * health.rtt_seconds:.0f} ms"

    @property
    def _standby(self) -> list[str]:
        standby = None if self.health is None else self.health.standby
        return [] if standby is None else [f"standby {standby}"]
