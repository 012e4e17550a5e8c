"""The constants of the policy `tg-android`, each with its source. Sans-IO."""

from __future__ import annotations

from typing import Literal

import msgspec

from client.policies.ranges import Count, Interval, Positive, Seconds


class TgAndroidSettings(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="name", tag="tg-android", kw_only=True
):
    """Constants of Telegram for Android (repository DrKLO/Telegram, TMessagesProj/jni/tgnet), times in seconds.

    - `proxies`: "off": no proxy is used, as by default there; "rotation": the user has enabled the first proxy of the
      list and the rotation among them (both are switches in the program, off by default).
    - `connect_seconds`, `reconnect_seconds`: a connection is given up so long after its last event while it has brought
      no data; the second once one has failed (Connection.cpp, `Connection::connect`: `setTimeout(12)`, with
      `isTryingNextPort` `setTimeout(8)`).
    - `idle_seconds`, `idle_step_seconds`, `most_idle_seconds`: the same after the first data, if anything waits for an
      answer; each time that a connection was lost this way the time grows by the step (`currentTimeout`: += 2 while
      < 16 in copies of later versions of Connection.cpp, the initial 4 in one derived Connection.h; neither could be
      looked up in the repository itself). Its older versions, and CLIENTS.md, have 25 without steps (`onReceivedData`:
      `setTimeout(25)`).
    - `ping_seconds`: a ping so often (ConnectionsManager.cpp, `ConnectionsManager::select`: 19000 ms).
    - `ports`: so many ports of an address come before the next address (Datacenter.cpp, `nextAddressOrPort`). A route
      has one port, which is tried as often.
    - `retries`, `retries_after_data`: so often the same port is tried again before the next; the second if data had
      come at least `useful_seconds` before the end (`onDisconnected`: `willRetryConnectCount`; `hasUsefullData`: 4 s).
    - `backoff_seconds`, `most_backoff_seconds`: pause after a reset or "host unreachable", doubled each time until data
      comes (`lastReconnectTimeout`: 50 to 400 ms). `pause_seconds`: after any other end (`reconnectTimer`: 1000 ms).
    - `rotation_seconds`: rotation begins after so long in "connecting" (ProxyRotationController.java,
      `ROTATION_TIMEOUTS` with `DEFAULT_TIMEOUT_INDEX`). `recheck_seconds`: proxies checked since are not checked again
      (the same file, `2 * 60 * 1000`). `checks`: at a time (Defines.h, `PROXY_CONNECTIONS_COUNT`). `check_seconds`: a
      check without an event for so long has failed (`Connection::connect`: `setTimeout(5)`).
    """

    proxies: Literal["off", "rotation"] = "off"
    connect_seconds: Interval = 12.0
    reconnect_seconds: Interval = 8.0
    idle_seconds: Seconds = 4.0
    idle_step_seconds: Seconds = 2.0
    most_idle_seconds: Seconds = 16.0
    ping_seconds: Interval = 19.0
    ports: Positive = 4
    retries: Count = 1
    retries_after_data: Count = 3
    useful_seconds: Seconds = 4.0
    backoff_seconds: Interval = 0.05
    most_backoff_seconds: Interval = 0.4
    pause_seconds: Interval = 1.0
    rotation_seconds: Interval = 10.0
    recheck_seconds: Interval = 120.0
    checks: Positive = 4
    check_seconds: Interval = 5.0

    @property
    def stage_seconds(self) -> float:
        """So long no stage of a dial may be cut short by the driver."""
        return max(self.connect_seconds, self.reconnect_seconds)
