"""The constants of the policy `tdlib`, each with its source. Sans-IO."""

from __future__ import annotations

from typing import Literal

import msgspec

from client.policies.ranges import Factor, Interval, Positive, Seconds

Limits = tuple[tuple[float, int], ...]
"""Of a flood control: in so many seconds at most so many connections are opened."""


class TdlibSettings(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="name", tag="tdlib", kw_only=True
):
    """Constants of TDLib (repository tdlib/td), times in seconds.

    - `proxies`: "off": no proxy is used, as by default there; "user": the user has set the first proxy of the list, and
      all goes through it. TDLib never chooses (ConnectionCreator.cpp, `active_proxy_id_`).
    - `online`: whether the user is (td_api's option `online`). If not, all is slower, and there is a back-off.
    - `checks`: so many connections are tried at once while the paths are in doubt (ConnectionCreator.cpp,
      `client_loop`: `checking_connections >= 3`); each must answer `check_pings` pings (`PingActor`,
      `create_req_pq(..., 2)`) within `check_seconds` (`PingActor::start_up`, `set_timeout_in(10)`), after at most
      `handshake_seconds` for the proxy's part (tdnet/td/net/TransparentProxy.cpp, `set_timeout_in(10)`).
    - `recent_error_seconds`: paths are in doubt so long after any error (DcOptionsSet.cpp, `find_connection`).
    - `ready_seconds`: a checked connection that is not needed is kept so long (ConnectionCreator.h,
      `READY_CONNECTIONS_TIMEOUT`).
    - `least_rtt_seconds`, `rtt_factor`, `rtt_extra_seconds`: r = max(least, factor * rtt + extra), with the RTT of the
      check, 0 without one (td/mtproto/SessionConnection.h, `rtt()`).
    - `piggyback_factor`, `ping_factor`: a ping goes with any message after 0.5 r, by itself after r
      (`ping_may_delay`, `ping_must_delay`). `pong_factor`, `read_factor`: dead 2.5 r after the last pong, 3.5 r after
      the last byte (`ping_disconnect_delay` of the main session, `read_disconnect_delay`).
    - `offline_piggyback_seconds`, `offline_ping_seconds`, `offline_timeout_seconds`: the same four when not online. The
      real one adds up to 5 s at random.
    - `online_limits`, `offline_limits`: flood control: in so many seconds at most so many connections
      (ConnectionCreator.cpp, `ClientInfo::ClientInfo`).
    - `backoff_seconds`, `most_backoff_seconds`: pause before each connection when not online, doubled each time
      (ConnectionCreator.h, `Backoff`; 300 s on mobile systems).
    """

    proxies: Literal["off", "user"] = "off"
    online: bool = True
    checks: Positive = 3
    check_pings: Positive = 2
    check_seconds: Interval = 10.0
    handshake_seconds: Seconds = 10.0
    recent_error_seconds: Seconds = 10.0
    ready_seconds: Seconds = 10.0
    least_rtt_seconds: Seconds = 2.0
    rtt_factor: Factor = 1.5
    rtt_extra_seconds: Seconds = 1.0
    piggyback_factor: Factor = 0.5
    ping_factor: Factor = 1.0
    pong_factor: Factor = 2.5
    read_factor: Factor = 3.5
    offline_piggyback_seconds: Seconds = 30.0
    offline_ping_seconds: Interval = 60.0
    offline_timeout_seconds: Seconds = 135.0
    online_limits: Limits = ((1.0, 4), (5.0, 5))
    offline_limits: Limits = ((1.0, 1), (4.0, 2), (8.0, 3))
    backoff_seconds: Interval = 1.0
    most_backoff_seconds: Interval = 16.0

    @property
    def stage_seconds(self) -> float:
        """So long no stage of a dial may be cut short by the driver."""
        return max(self.check_seconds, self.handshake_seconds)

    def pause(self, factor: float, offline_seconds: float, rtt_seconds: float) -> float:
        """`factor` times r when online, else `offline_seconds`."""
        if not self.online:
            return offline_seconds
        return factor * max(self.least_rtt_seconds, self.rtt_factor * rtt_seconds + self.rtt_extra_seconds)
