"""Names as rules compare them, and names that are addresses in disguise. Sans-IO."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from ipaddress import IPv4Address, ip_address

LOOPBACK = "127.0.0.1"


@lru_cache(4096)
def a_label(name: str) -> str:
    """`name` in the form in which it is looked up (A-labels, RFC 3490 as in the system's look-up), lower case,
    without the trailing dot. What IDNA cannot encode has no address; it keeps its letters."""
    if name.isascii():
        return name.lower().rstrip(".")
    try:
        return name.encode("idna").decode("ascii").lower().rstrip(".")
    except UnicodeError:
        return unicodedata.normalize("NFKC", name).casefold().rstrip(".")


def suffixes(name: str) -> list[str]:
    """An A-label name and the domains that it is in: a.b.example, b.example, example."""
    labels = name.split(".")
    return [".".join(labels[i:]) for i in range(len(labels))]


def is_localhost(name: str) -> bool:
    """Whether an A-label name is the loopback whatever DNS says (RFC 6761 section 6.3)."""
    return name == "localhost" or name.endswith(".localhost")


@lru_cache(4096)
def spelled_address(name: str) -> str | None:
    """The address that `name` is another spelling of: what inet_aton takes ("2130706433", "0x7f.1", "0177.0.0.1"),
    other digits and dots that IDNA maps to ASCII, brackets, zones, a trailing dot, localhost. None: a real name."""
    plain = a_label(name)
    if is_localhost(plain):
        return LOOPBACK
    bare = plain.removeprefix("[").removesuffix("]").partition("%")[0]
    try:
        return str(ip_address(bare))
    except ValueError:
        return _inet_aton(bare)


_NUMBER = re.compile(r"0x[0-9a-f]+|[0-9]+", re.ASCII)


def _inet_aton(text: str) -> str | None:
    """One to four numbers, decimal, octal or hexadecimal, the last of which fills the bytes that are left (POSIX)."""
    parts = text.split(".")
    if len(parts) > 4 or not all(map(_NUMBER.fullmatch, parts)):
        return None
    try:
        *leading, last = [int(part, _base(part)) for part in parts]
    except ValueError:  # 08: no octal number
        return None
    if max(leading, default=0) > 0xFF or last >> 8 * (4 - len(leading)):
        return None
    shifted = (number << 8 * (3 - position) for position, number in enumerate(leading))
    return str(IPv4Address(sum(shifted) + last))


def _base(number: str) -> int:
    if number.startswith("0x"):
        return 16
    return 8 if number.startswith("0") else 10
