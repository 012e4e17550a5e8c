"""The events of a run whose times are known, for the tests of measurement and report.

Two blocks; a message every 50 ms, shown 5 ms and confirmed 10 ms after it is sent (20 ms by the proxy). A message
queued while the path is dead is sent when the next one is up.
"""

from __future__ import annotations

from typing import Any

MONOTONIC = 5000.0
CLIENT = "192.0.2.10"


class Story:
    """Collects events; `rounded` in the end as the lab does."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def add(self, t: float, source: str, event: str, **fields: Any) -> None:
        self.events.append({"t": round(t, 6), "source": source, "event": event} | fields)

    def message(self, id_: int, queued: float, sent: float, route: str) -> None:
        """One message, sent once, shown and confirmed."""
        delay = 0.010 if route == "direct" else 0.020
        self.add(queued, "client", "message_queued", id=id_, bytes=100)
        self.add(sent, "client", "message_sent", id=id_, route=route, attempt=1, connection=1)
        self.add(sent + delay / 2, "receiver", "message_delivered", id=id_, bytes=100, reordered=False)
        latency = sent + delay - queued
        self.add(sent + delay, "client", "message_acked", id=id_, route=route, latency_seconds=latency)

    def rule(self, t: float, event: str, rule: str) -> None:
        """A rule begins or ceases to hold within the millisecond before `t`."""
        self.add(t, "censor", event, rule=rule, before=MONOTONIC + t - 0.001, after=MONOTONIC + t)

    def block(self, name: str, t: float, *, dead: float, lifted: float, back: float, ended: float) -> None:
        """Blocked at `t` (the first hit 2 ms later), on the proxy `dead` later, unblocked, direct again at `back`."""
        self.add(t - 0.002, "lab", "episode_started", block=name, rules=[name])
        self.rule(t, "rule_enforced", name)
        for late in (0.002, 0.052):
            self.add(
                t + late,
                "censor",
                "censor_hit",
                rule=name,
                action="drop",
                flow="tcp 192.0.2.10:40000 > 203.0.113.10:443",
                name=None,
                source_address=CLIENT,
                destination_address="203.0.113.10",
                packet_bytes=120,
            )
        self.add(t + dead - 0.05, "client", "path_bad", route="direct", reason="ack_overdue")
        self.add(t + dead - 0.01, "client", "route_switched", old="direct", new="proxy1")
        self.rule(lifted, "rule_lifted", name)
        self.add(lifted + 0.001, "lab", "unblocked", block=name)
        self.add(back - 0.3, "client", "probe_started", route="direct", ok=None, failure=None, local=None)
        local = "192.0.2.10:41000"
        self.add(back - 0.2, "client", "probe_ended", route="direct", ok=True, failure=None, local=local)
        self.add(back, "client", "failed_back", old="proxy1", new="direct")
        self.add(ended, "lab", "episode_ended", block=name, recovered=True)


def run_events() -> list[dict[str, Any]]:
    """The domain block from 8.0 to 16.0 s, the address block from 24.0 to 32.0 s; the end at 40.0 s."""
    story = Story()
    story.add(0.0, "lab", "run_started", scenario="quickstart", seed=1, realtime=1_795_000_000.0)
    stages = {"dns": 0.01, "tcp": 0.02, "tls": 0.03, "upgrade": 0.01}
    story.add(0.1, "client", "route_dialed", route="direct", connection=1, stages=stages, local="192.0.2.10:40000")
    stages = {"tcp": 0.02, "socks_greeting": 0.02, "socks_request": 0.02, "tls": 0.03, "upgrade": 0.01}
    story.add(0.2, "client", "route_dialed", route="proxy1", connection=2, stages=stages, local="192.0.2.10:50000")
    blocks = [("domain", 8.0, 0.5, 16.0, 17.0), ("address", 24.0, 0.8, 32.0, 33.0)]
    for name, t, dead, lifted, back in blocks:
        story.block(name, t, dead=dead, lifted=lifted, back=back, ended=back + 2)
    for number in range(1, 780):
        queued = sent = 0.5 + number * 0.05
        route = "direct"
        for _, t, dead, _, back in blocks:
            if t - 1e-9 <= queued < back:
                route, sent = "proxy1", max(queued, t + dead)
        story.message(number, queued, sent, route)
    for number in range(80):
        t = 0.2 + number * 0.5
        broken = 24.0 < t < 32.0 and number % 4 == 0
        failure = "generic_timeout_error" if broken else None
        story.add(t, "bystander", "bystander_flow", site="shop.example", ok=not broken, failure=failure, seconds=0.05)
    story.add(40.0, "lab", "run_ended", outcome="completed", problem=None)
    return sorted(story.events, key=lambda event: event["t"])
