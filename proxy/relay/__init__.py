"""The hot path: established flows, from the moment both connections stand until both are closed.

- `flow`: what every relay takes and reports: `Limits`, `Ended`, `Reason`, and the interface `Relay`;
- `poller`: waits for sockets: on Linux with an epoll of its own, nested in the asyncio loop's; in the command's own
  loop (`FlowLoop`) the other way round, so that a message does not pass through asyncio;
- `fast`: Linux: all flows on that epoll; `end`: how their bytes move: a direction starts with recv/send and goes over
  to `os.splice` when it carries bulk, so that the bytes never enter Python;
- `courtesy`: how much of the time bulk may take while others chat;
- `pipes`: the pipes that splice goes through, pooled, aware of the page limits of ordinary users;
- `wheel`, `deadlines`: idle flows, dials and handshakes that take too long; `bucket`: rate limits;
- `portable`: everywhere else: the same behaviour on plain asyncio.

What both promise: bytes in order and exactly once, early data first; a FIN is passed on after all bytes, and the
other direction goes on; a reset is passed on as a reset; a slow reader slows its sender down; every byte delivered is
counted; a flow without a byte for too long is closed.
"""

from __future__ import annotations

from proxy.relay import fast
from proxy.relay.fast import FastRelay
from proxy.relay.flow import Ended, Limits, Reason, Relay
from proxy.relay.portable import PortableRelay

__all__ = ["Ended", "FastRelay", "Limits", "PortableRelay", "Reason", "Relay", "open_relay"]


def open_relay(limits: Limits) -> Relay:
    """The fastest relay that this system has."""
    return FastRelay(limits) if fast.SUPPORTED else PortableRelay(limits)
