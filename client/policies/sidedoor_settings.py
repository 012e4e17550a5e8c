"""The constants of the policy `sidedoor`, each with its source. Sans-IO."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from client.policies.ranges import Factor, Interval, Positive, Seconds


class SidedoorSettings(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="name", tag="sidedoor", kw_only=True
):
    """Constants of the policy, each with its source; times in seconds.

    - `standby`: "warm" keeps one idle session through a proxy (a switch then costs no dial), "cold" none (the censor
      sees no proxy before one is needed).
    - `first_proxies`: so many proxies are dialed beside the direct path at a start on a network of which nothing is
      remembered, and the first that stands is used; 1, the spare, shows the censor no more than a start without a block
      has to. More are faster where the spare is blocked, too, and are all seen. It must be 1 with `standby = "cold"`,
      which shows none at the start.
    - `probe_direct`: "never" sends nothing on the direct path any more once it was bad.
    - `least_hedge_seconds`, `most_hedge_seconds`: bounds of the hedge delay, which is that of TCP's tail loss probe
      (RFC 8985 section 7.2) plus four variations. 0.1 s: a busy 2-core machine was seen to stall for so long.
    - `hedge_floors`, `hedge_margin_seconds`: however slow the path has become, it is not waited for longer than so many
      of its least round trips and the margin (20 ms of jitter each way, and 40 ms for a delayed ack, RFC 9293).
    - `initial_timeout_seconds`: before the first RTT sample, if the dial's stages gave none; RFC 6298 section 2.1.
    - `verdict_seconds`, `verdict_floors`: the path is left when it is behind by so much and so many least round trips,
      and a hedge has won: 1 s at 40 ms of RTT. A segment that is lost three times in a row is through after five round
      trips and 0.66 s (fast retransmission after three more segments at 20 ms, then Linux's RTO of 0.2 s + RTT, doubled
      once; RFC 6298 section 5.5); the rest is for jitter.
    - `lonely_seconds`, `lonely_floors`: without a spare nothing can be hedged: a proxy is dialed when the path is so
      far behind, 0.5 s at 40 ms; a segment lost twice is through after three round trips and 0.26 s. The path that
      answers meanwhile is kept.
    - `hopeless_verdicts`: without a hedge that won, the path is left after so many times the verdict's time.
    - `hiccup_seconds`: a timer this late means that this process stood still, and answers may wait unread;
      `grace_seconds` to read them. Own measurement: timers in a healthy loop are within 5 ms.
    - `backoff_seconds`, `most_backoff_seconds`: pause when all routes failed, doubled each round; as TDLib's 1 to 16 s,
      but from a quarter.
    - `keepalive_seconds`: an idle connection is pinged so often; below the 30 s that common NATs and stateful censors
      keep idle flows (RFC 5382 asks for 2 h, measured boxes keep less).
    - `first_probe_seconds`: from the verdict on a direct path to its first probe, which is there for the diagnosis.
    - `probe_seconds`, `probe_timeout_seconds`: spacing of the probes and the longest that one may take to answer.
    - `trial_seconds`: see `client.policies.trial`.
    - `probe_successes`, `most_probe_successes`, `settle_seconds`: the hysteresis, see `client.policies.failback`.
    """

    standby: Literal["cold", "warm"] = "warm"
    first_proxies: Annotated[int, msgspec.Meta(ge=1, le=16)] = 1
    probe_direct: Literal["periodic", "never"] = "periodic"
    least_hedge_seconds: Seconds = 0.1
    most_hedge_seconds: Seconds = 1.0
    hedge_floors: Factor = 4.0
    hedge_margin_seconds: Seconds = 0.08
    initial_timeout_seconds: Seconds = 1.0
    verdict_seconds: Seconds = 0.8
    verdict_floors: Factor = 5.0
    lonely_seconds: Seconds = 0.38
    lonely_floors: Factor = 3.0
    hopeless_verdicts: Factor = 2.0
    hiccup_seconds: Seconds = 0.02
    grace_seconds: Seconds = 0.05
    backoff_seconds: Interval = 0.25
    most_backoff_seconds: Interval = 8.0
    keepalive_seconds: Interval = 10.0
    first_probe_seconds: Seconds = 0.2
    probe_seconds: Interval = 2.0
    probe_timeout_seconds: Seconds = 3.0
    trial_seconds: Seconds = 1.5
    probe_successes: Positive = 2
    most_probe_successes: Positive = 16
    settle_seconds: Seconds = 5.0

    def __post_init__(self) -> None:
        if self.standby == "cold" and self.first_proxies > 1:
            raise ValueError('first_proxies: needs standby = "warm"; with "cold" no proxy is shown at the start')
