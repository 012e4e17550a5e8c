"""The constants of the policy `sidedoor`, each with its source. Sans-IO."""

from __future__ import annotations

from typing import Literal

import msgspec


class SidedoorSettings(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="name", tag="sidedoor", kw_only=True
):
    """Constants of the policy, each with its source; times in seconds.

    - `standby`: "warm" keeps one idle session through a proxy (a switch then costs no dial), "cold" none (the censor
      sees no proxy before one is needed).
    - `probe_direct`: "never" sends nothing on the direct path any more once it was bad.
    - `least_timeout_seconds`, `most_timeout_seconds`: bounds of "overdue". Linux bounds TCP's own timeout at 0.2 s;
      0.1 s more because a busy 2-core machine was seen to stall for 0.1-0.2 s. 4 s: a modem's worst.
    - `initial_timeout_seconds`: before the first RTT sample; RFC 6298 section 2.1.
    - `least_unanswered`: as many copies or pings must lack an answer: one may be an accident.
    - `hiccup_seconds`: a timer this late means that this process stood still, and answers may wait unread;
      `grace_seconds` to read them. Own measurement: timers in a healthy loop are within 5 ms.
    - `stagger_seconds`: the next route is dialed beside an unfinished dial after this time: the time after which TCP
      repeats a SYN (RFC 6298 section 2.1), as a SYN lost once is no block.
    - `backoff_seconds`, `most_backoff_seconds`: pause when all routes failed, doubled each round; as TDLib's 1 to 16 s,
      but from a quarter.
    - `keepalive_seconds`: an idle connection is pinged so often; below the 30 s that common NATs and stateful censors
      keep idle flows (RFC 5382 asks for 2 h, measured boxes keep less).
    - `probe_seconds`, `probe_timeout_seconds`: spacing of the direct path's probes and their longest duration.
    - `probe_successes`, `most_probe_successes`, `settle_seconds`: the hysteresis, see `client.policies.failback`.
    """

    standby: Literal["cold", "warm"] = "warm"
    probe_direct: Literal["periodic", "never"] = "periodic"
    least_timeout_seconds: float = 0.3
    most_timeout_seconds: float = 4.0
    initial_timeout_seconds: float = 1.0
    least_unanswered: Literal[1, 2] = 2
    hiccup_seconds: float = 0.02
    grace_seconds: float = 0.05
    stagger_seconds: float = 1.0
    backoff_seconds: float = 0.25
    most_backoff_seconds: float = 8.0
    keepalive_seconds: float = 10.0
    probe_seconds: float = 2.0
    probe_timeout_seconds: float = 3.0
    probe_successes: int = 2
    most_probe_successes: int = 16
    settle_seconds: float = 5.0
