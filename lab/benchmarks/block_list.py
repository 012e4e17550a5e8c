"""Block lists of a given size to measure with: a registry dump of names and addresses that nobody has."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterator

ENCODING = "windows-1251"
V4_SHARE = 0.6
_V4_FIRST = int(ipaddress.IPv4Address("198.18.0.0"))
V4_LIMIT = 1 << 16  # every other address of 198.18.0.0/15: neighbours would merge
_V6_FIRST = int(ipaddress.IPv6Address("2001:db8::"))
_SYLLABLES = ("ba", "di", "fo", "gu", "ka", "le", "mi", "no", "pu", "ra", "se", "ti", "vo", "zu")
_AGENCIES = ("Роскомнадзор", "ФНС", "Мосгорсуд", "Генпрокуратура", "суд", "МВД")
_MALFORMED_EVERY = 10_000


def sample(domains: int, prefixes: int, seed: int) -> bytes:
    """A dump that bans exactly so many domains and as many disjoint prefixes (and some URLs), the same for each seed.

    Names are below `.example`, prefixes in 198.18.0.0/15 and 2001:db8::/32. One row in 10,000 is malformed, one in 100
    bans URLs only.
    """
    rng = random.Random(seed)
    rows = [_domain_row(number, rng) for number in range(domains)]
    rows += (_url_row(number, rng) for number in range((domains + prefixes) // 100))
    rows += (f"{prefix};;" for prefix in _prefixes(prefixes))
    rng.shuffle(rows)
    lines = ["Updated: 2018-04-17 12:00:00 +0300"]
    for number, row in enumerate(rows, 1):
        lines.append(f"{row};{rng.choice(_AGENCIES)};27-31-2018/Ид{number}-18;2018-04-{rng.randint(1, 17):02}")
        if number % _MALFORMED_EVERY == 0:
            lines.append(row)
    return "\n".join([*lines, ""]).encode(ENCODING)


def _domain_row(number: int, rng: random.Random) -> str:
    """The three fields that count. Of the names 3 % are Cyrillic, 27 % have a `*.`."""
    address = f"203.0.113.{rng.randrange(256)}"
    kind = rng.random()
    if kind < 0.03:
        return f"{address};сайт{number}.example;"
    if kind < 0.3:
        return f"{address}|2001:db8::{rng.randrange(1 << 16):x};*.{_word(rng)}{number}.example;"
    return f"{address};{_word(rng)}{number}.example;"


def _url_row(number: int, rng: random.Random) -> str:
    page = f"http://pages.example/{_word(rng)}/{number}"
    return f"203.0.113.1;pages.example;{page} | {page}?view=1|2"


def _word(rng: random.Random) -> str:
    return "".join(rng.choices(_SYLLABLES, k=rng.randint(2, 5)))


def _prefixes(count: int) -> Iterator[str]:
    """Disjoint ones of which none touches another: single addresses of IPv4, and /64 networks."""
    v4 = min(int(count * V4_SHARE), V4_LIMIT)
    for number in range(v4):
        length = "/32" if number % 3 == 0 else ""
        yield f"{ipaddress.IPv4Address(_V4_FIRST + 2 * number)}{length}"
    for number in range(count - v4):
        yield f"{ipaddress.IPv6Address(_V6_FIRST + (2 * number << 64))}/64"
