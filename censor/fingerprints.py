"""Sans-IO: names for a TLS client by how its ClientHello looks: JA3 and JA4, so that a rule can single out a program.

Both leave out GREASE (RFC 8701), which is random. Lists are in the order of the wire.
Sources: github.com/salesforce/ja3; github.com/FoxIO-LLC/ja4, technical_details/JA4.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

GREASE = frozenset(0x0A0A + 0x1010 * i for i in range(16))

_SERVER_NAME, _ALPN = 0, 16
_JA4_VERSIONS = {0x0304: "13", 0x0303: "12", 0x0302: "11", 0x0301: "10", 0x0300: "s3", 0x0002: "s2"}
_NOTHING = "0" * 12


def ja3(
    version: int, suites: Iterable[int], extensions: Iterable[int], groups: Iterable[int], point_formats: Iterable[int]
) -> str:
    """The MD5 of JA3's five fields, 32 hexadecimal digits. version: the hello's legacy_version."""
    lists = (suites, extensions, groups, point_formats)
    fields = [str(version), *("-".join(str(number) for number in one if number not in GREASE) for one in lists)]
    return hashlib.md5(",".join(fields).encode(), usedforsecurity=False).hexdigest()


def ja4(
    transport: str,
    version: int,
    suites: Iterable[int],
    extensions: Iterable[int],
    alpn: bytes,
    signature_algorithms: Iterable[int],
) -> str:
    """JA4, such as `t13d1516h2_8daaf6152771_e5627efa2ab1`.

    transport: t (TLS over TCP) or q (QUIC). version: the highest offered. alpn: the first protocol's name, b"" if none.
    """
    suites = [suite for suite in suites if suite not in GREASE]
    extensions = [type_ for type_ in extensions if type_ not in GREASE]
    shape = (
        f"{transport}{_JA4_VERSIONS.get(version, '00')}{'d' if _SERVER_NAME in extensions else 'i'}"
        f"{min(len(suites), 99):02}{min(len(extensions), 99):02}{_ends(alpn)}"
    )
    hidden = sorted(type_ for type_ in extensions if type_ not in (_SERVER_NAME, _ALPN))
    signatures = [algorithm for algorithm in signature_algorithms if algorithm not in GREASE]
    return f"{shape}_{_digest(_list(sorted(suites)))}_{_digest(_list(hidden), _list(signatures))}"


def _ends(alpn: bytes) -> str:
    """The first and the last character, of the hexadecimal form if either is not alphanumeric."""
    if not alpn:
        return "00"
    ends = alpn[:1] + alpn[-1:]
    return ends.decode() if ends.isalnum() else alpn.hex()[0] + alpn.hex()[-1]


def _list(numbers: Sequence[int]) -> str:
    return ",".join([f"{number:04x}" for number in numbers])


def _digest(first: str, second: str = "") -> str:
    if not first:
        return _NOTHING
    return hashlib.sha256(f"{first}_{second}".encode() if second else first.encode()).hexdigest()[:12]
