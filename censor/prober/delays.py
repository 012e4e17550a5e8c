"""How long the censor takes until it probes, and draws that do not depend on the order of calls. Sans-IO."""

from __future__ import annotations

import math
from bisect import bisect_right
from hashlib import blake2b

from censor.prober.settings import ProberSettings

Server = tuple[bytes, int]
"""An IP address (4 or 16 bytes, network order) and a TCP port."""

IMC2020: tuple[tuple[float, float], ...] = (
    (0.0, 0.28),
    (0.20, 1.0),
    (0.50, 60.0),
    (0.75, 900.0),
    (1.0, 570 * 3600.0),
)
"""Share of the first replays, seconds after which they had come: the five points that "How China Detects and Blocks
Shadowsocks" (IMC 2020) states."""


def imc2020_seconds(share: float) -> float:
    """The delay within which `share` (0 to 1) of the first replays came: between two points the logarithm is linear."""
    at = min(bisect_right(IMC2020, share, key=lambda point: point[0]), len(IMC2020) - 1)
    (low, least), (high, most) = IMC2020[at - 1], IMC2020[at]
    return least * math.exp((share - low) / (high - low) * math.log(most / least))


def delay_seconds(settings: ProberSettings, share: float) -> float:
    """The delay of the first probe where `share` (0 to 1) is drawn."""
    if settings.delay == "imc2020":
        seconds = imc2020_seconds(share)
    else:
        least, most = settings.delay
        seconds = least + share * (most - least)
    return seconds / settings.time_scale


def draw(seed: int, what: str, server: Server, number: int = 0) -> float:
    """A number in [0, 1) that is always the same for the same seed, purpose, server and number."""
    # The 53 bits that a float has.
    return (draw_bits(seed, what, server, number) >> 11) / (1 << 53)


def draw_bits(seed: int, what: str, server: Server, number: int = 0) -> int:
    """64 bits, of the same kind."""
    key = seed.to_bytes(16, "big", signed=True)
    text = b"%s %d %d %s" % (what.encode(), number, server[1], server[0])
    return int.from_bytes(blake2b(text, digest_size=8, key=key).digest(), "big")
