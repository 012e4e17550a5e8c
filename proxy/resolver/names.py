"""Which names DNS is asked for, and how they are written there. Sans-IO.

For the resolvers that ask by themselves; the system's has its own ideas (and /etc/hosts).
"""

from __future__ import annotations

import re
from ipaddress import ip_address

NAME_LIMIT_BYTES = 253
"""The longest name in dotted form, without a trailing dot: 255 bytes on the wire (RFC 1035 section 2.3.4)."""

LOOPBACK = ("::1", "127.0.0.1")

# Letters, digits, hyphens (RFC 1123 section 2.1), and the underscores that many hosts have all the same.
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
# What getaddrinfo's inet_aton would take for the last part of an address: decimal, octal or hexadecimal.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


def known_addresses(host: str) -> tuple[str, ...]:
    """The addresses of `host` that need no asking: an IP literal (without a zone) is its own, localhost and names
    below it are the loopback's (RFC 6761 section 6.3). Empty: DNS has to be asked."""
    try:
        return () if "%" in host else (str(ip_address(host)),)
    except ValueError:
        pass
    name = host.lower().removesuffix(".")
    return LOOPBACK if name == "localhost" or name.endswith(".localhost") else ()


def query_name(host: str) -> str | None:
    """`host` as it is asked for: A-labels in lower case, without a trailing dot. None: there can be no such name.

    A name whose last label is a number cannot be a domain (RFC 3696 section 2): "127.1" and "0x7f.1", which
    getaddrinfo takes for the loopback, are no names here, so that no address gets past a rule in disguise.
    """
    name = host if host.isascii() else _a_labels(host)
    if name is None:
        return None
    name = name.lower().removesuffix(".")
    labels = name.split(".")
    if len(name) > NAME_LIMIT_BYTES or not all(map(_LABEL.fullmatch, labels)) or _NUMBER.fullmatch(labels[-1]):
        return None
    return name


def _a_labels(host: str) -> str | None:
    """U-labels as A-labels (RFC 5891), mapped by UTS 46 before; by IDNA 2003 where the package idna is missing."""
    try:
        return _encode(host).decode()
    except UnicodeError:  # of which idna.IDNAError is one
        return None


def _encode(host: str) -> bytes:
    try:
        import idna
    except ImportError:
        return host.encode("idna")
    return idna.encode(host, uts46=True)
