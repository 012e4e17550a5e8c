"""Sans-IO: when goodput is back after a throttle or a freeze. They let some of a flow pass, so that acks do not tell.

The shortfall is what goodput lacks of 80 % of what it was: it grows by that rate, each acknowledged byte takes one
off, it never falls below nothing (a burst of what was held up pays for no silence to come), and has an upper end. A
throttled path keeps it there; on a good one, what waits in the queue makes up for it at once.
"""

from __future__ import annotations

from collections.abc import Sequence

SHARE = 0.8
SMALL_MESSAGES = 2  # messages come one by one: a shortfall of so many is none
BEGINS_WITHIN_SECONDS = 1.0  # the first shortfall that begins so soon after t0 is the block's
# How long nothing may come on a path that is good again: a lost segment is repeated after TCP's least timeout of 0.2 s,
# and an RTT and a half later its ack, and all behind it, is there.
STALL_SECONDS = 0.2
STALL_LATENCIES = 1.5


def restored(
    acks: Sequence[tuple[float, int]], *, t0: float, hold_seconds: float, goodput: float, latency_seconds: float
) -> frozenset[int]:
    """Which acks, by index, find no shortfall, with no lasting one in the hold time behind them.

    `acks`: (moment, bytes) in order, none before t0; of the last ones the hold time may not be over yet. `goodput`:
    bytes per second of before. `latency_seconds`: of an ack when all is well.
    """
    if not acks:
        return frozenset()
    rate = SHARE * goodput
    small = float(SMALL_MESSAGES * max(size for _, size in acks))
    most = small + rate * (STALL_SECONDS + STALL_LATENCIES * latency_seconds)
    lacking, begins, lasting = _course(acks, t0, rate, small, most)
    since = begins if begins is not None and begins <= t0 + BEGINS_WITHIN_SECONDS else t0
    good = set()
    for index, (moment, _) in enumerate(acks):
        if moment < since or lacking[index] > small:
            continue
        if not any(moment < t <= moment + hold_seconds for t in lasting):
            good.add(index)
    return frozenset(good)


def _course(
    acks: Sequence[tuple[float, int]], t0: float, rate: float, small: float, most: float
) -> tuple[list[float], float | None, list[float]]:
    """The shortfall after each ack, when it first was more than a small one, and when it came to its upper end."""
    lacking, moment_before = 0.0, t0
    after: list[float] = []
    full: list[float] = []
    begins: float | None = None
    for moment, size in acks:
        grown = min(most, lacking + rate * (moment - moment_before))
        if begins is None and grown > small:
            begins = moment_before + (small - lacking) / rate
        if grown == most:
            full.append(moment_before + (most - lacking) / rate)
        lacking, moment_before = max(0.0, grown - size), moment
        after.append(lacking)
    return after, begins, full
