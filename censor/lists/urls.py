"""Sans-IO: URLs as plain HTTP shows them on the wire: the host, and the path with the query."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

from censor.lists.domains import canonical
from censor.lists.prefixes import interval

_URL = re.compile(r"([a-z][a-z0-9+.-]*)://(?:[^/?#@]*@)?(\[[^\]/?#]*\]|[^/?#:@\[\]]*)(?::[0-9]*)?([/?][^#]*)?", re.I)
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))


@dataclass(frozen=True, slots=True)
class Url:
    """scheme: lower case. host: a canonical name, or an address (bare: `2001:db8::1`). path: with the query."""

    scheme: str
    host: str
    is_address: bool
    path: str

    @property
    def key(self) -> str:
        """`host/path?query`, as lists keep it."""
        return f"[{self.host}]{self.path}" if ":" in self.host else self.host + self.path


def parse_url(text: str) -> Url:
    """An absolute URL; user, port and fragment are dropped. Raises ValueError."""
    match = _URL.match(text)
    if match is None:
        raise ValueError(f"{text!r} is not an absolute URL")
    scheme, authority, path = match.groups("")
    name = canonical(authority)
    if name is None:
        _check_address(authority, text)
    host = authority.strip("[]").lower() if name is None else name
    return Url(scheme.lower(), host, name is None, _wire_path(path))


def _check_address(authority: str, url: str) -> None:
    try:
        _, first, last = interval(authority.strip("[]"))
    except ValueError:
        raise ValueError(f"{url!r}: the host {authority!r} is neither a domain name nor an address") from None
    if first != last:
        raise ValueError(f"{url!r}: the host {authority!r} is more than one address")


def _wire_path(path: str) -> str:
    """As a request line has it: something, and what is not printable ASCII percent-encoded as UTF-8 (RFC 3986, 2.5)."""
    if path[:1] != "/":
        path = f"/{path}"
    return quote(path, safe=_PRINTABLE, errors="replace")
