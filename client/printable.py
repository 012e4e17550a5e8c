"""What others wrote, fit for a terminal. Sans-IO."""

from __future__ import annotations

import unicodedata

_INDENT = "\n    "
_DANGEROUS = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def printable(text: str) -> str:
    """Without what a terminal obeys or what reorders text: that is replaced by U+FFFD. Further lines are indented."""
    return "".join(_printable(character) for character in text.replace("\r\n", "\n"))


def _printable(character: str) -> str:
    if character == "\n":
        return _INDENT
    if character == "\t":
        return "    "
    return "\N{REPLACEMENT CHARACTER}" if unicodedata.category(character) in _DANGEROUS else character
