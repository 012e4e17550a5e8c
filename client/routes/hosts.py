"""Names that need no query: `localhost` (RFC 6761 section 6.3) and those of the host's own table (hosts(5))."""

from __future__ import annotations

import ipaddress
from pathlib import Path

LOOPBACK = ("::1", "127.0.0.1")


def is_localhost(name: str) -> bool:
    """Whether the name is `localhost` or below it; the case of letters and a dot at the end do not matter."""
    labels = name.lower().removesuffix(".").split(".")
    return labels[-1] == "localhost"


def parse_hosts(text: str) -> dict[str, list[str]]:
    """The table's names, in lower case, each with its addresses in their order; lines that are none are passed over."""
    hosts: dict[str, list[str]] = {}
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        try:
            ipaddress.ip_address(address)
        except ValueError:
            continue
        for name in names:
            addresses = hosts.setdefault(name.lower().removesuffix("."), [])
            if address not in addresses:
                addresses.append(address)
    return hosts


def read_hosts(path: str | None) -> dict[str, list[str]]:
    """`parse_hosts` of the file; nothing where there is none, or none that can be read."""
    if path is None:
        return {}
    try:
        return parse_hosts(Path(path).read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return {}
