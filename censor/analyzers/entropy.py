"""Sans-IO: whether a first payload looks fully encrypted, by the heuristic that China used until March 2023.

Wu et al., "How the Great Firewall of China Detects and Blocks Fully Encrypted Traffic", USENIX Security 2023: a payload
is exempt if any of five conditions holds, and what is left is taken for a proxy's. `entropy` is that verdict; the other
properties are what it is made from, for rules with thresholds of their own.
"""

from __future__ import annotations

import math
from collections import Counter

from censor.analyzers import Analyzer, Finding, Outcome, Wanted
from censor.properties import Properties, Type

_PRINTABLE = range(0x20, 0x7F)
_AS_FLAGS = bytes(byte in _PRINTABLE for byte in range(256))
_FIRST_PRINTABLE = b"\x01" * 6
_RUN_EXEMPT = b"\x01" * 21  # more than 20 in a row
_TLS_TYPES = b"\x16\x17"
_METHODS = (b"GET ", b"PUT ", b"POST ", b"HEAD ")


def first_payload(data: bytes, wanted: Wanted) -> Finding | Outcome:
    """What the first payload of a connection looks like; OTHER only if it is empty.

    `entropy` is false where an exemption holds. `entropy.printable_run` and `entropy.shannon_bits` are there if wanted.
    """
    length = len(data)
    if not length:
        return Outcome.OTHER
    bits = int.from_bytes(data, "big").bit_count()
    # One byte a byte, 1 for printable: then counting and looking for runs are searches, which run in C.
    flags = data.translate(_AS_FLAGS)
    printable = flags.count(1)
    printable_first = flags.startswith(_FIRST_PRINTABLE)
    known = _is_known_protocol(data)
    exempt = (
        bits * 10 <= length * 34  # 3.4 and 4.6 bits a byte, in whole numbers
        or bits * 10 >= length * 46
        or printable_first
        or printable * 2 > length
        or _RUN_EXEMPT in flags
        or known
    )
    properties: Properties = {
        "entropy": not exempt,
        "entropy.length": length,
        "entropy.bits_per_byte": bits / length,
        "entropy.printable_first": printable_first,
        "entropy.printable_share": printable / length,
        "entropy.known_protocol": known,
    }
    if "entropy.printable_run" in wanted:
        properties["entropy.printable_run"] = max(map(len, flags.split(b"\0")))
    if "entropy.shannon_bits" in wanted:
        properties["entropy.shannon_bits"] = _shannon_bits(data)
    return Finding(properties, length)


def _is_known_protocol(data: bytes) -> bool:
    """The fifth exemption: it starts as a TLS record (handshake or application data, 03 00 to 03 09) or as HTTP."""
    if data[0] in _TLS_TYPES:
        return len(data) > 2 and data[1] == 3 and data[2] <= 9
    return data.startswith(_METHODS)


def _shannon_bits(data: bytes) -> float:
    """The Shannon entropy of the distribution of byte values, in bits a byte (0 to 8)."""
    length = len(data)
    return max(0.0, math.log2(length) - sum(n * math.log2(n) for n in Counter(data).values()) / length)  # not -1e-16


ANALYZER = Analyzer(
    "entropy",
    {
        "entropy": Type.BOOLEAN,
        "entropy.length": Type.INTEGER,
        "entropy.bits_per_byte": Type.NUMBER,
        "entropy.printable_first": Type.BOOLEAN,
        "entropy.printable_share": Type.NUMBER,
        "entropy.printable_run": Type.INTEGER,
        "entropy.known_protocol": Type.BOOLEAN,
        "entropy.shannon_bits": Type.NUMBER,
    },
    first_payload=first_payload,
)
