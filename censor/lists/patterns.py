"""Sans-IO: names by what is in them. Substrings over-block, on purpose: `t.co` hit reddit.com (IMC 2021).

The text that is looked into should have a limit (a domain name has one): both take time in its length.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# Measured on names of 30 characters: a loop of `in` takes some 30 ns a substring, the table 3 us for however many;
# one regular expression of alternatives takes longer than the loop for 64, and three times as long for 1,024.
LOOP_LIMIT = 96


class SubstringSet:
    """Texts of which any may be in a name. Raises ValueError for an empty one: it is in every name."""

    __slots__ = ("_by_head", "_head_characters", "substrings")

    substrings: tuple[str, ...]
    """In lower case, without doubles, in the order given."""

    def __init__(self, substrings: Iterable[str]) -> None:
        self.substrings = tuple(dict.fromkeys(map(str.lower, substrings)))
        if "" in self.substrings:
            raise ValueError("an empty substring is in every name")
        # Their first characters, as many as the shortest has, find the few that may stand at a position.
        self._head_characters = min(map(len, self.substrings), default=0)
        self._by_head: dict[str, list[str]] = {}
        if len(self.substrings) > LOOP_LIMIT:
            for substring in self.substrings:
                self._by_head.setdefault(substring[: self._head_characters], []).append(substring)

    def match(self, name: str) -> str | None:
        """One of the substrings that are in the (lower-case) name; None: none is."""
        if self._by_head:
            return self._match_by_head(name)
        for substring in self.substrings:
            if substring in name:
                return substring
        return None

    def _match_by_head(self, name: str) -> str | None:
        by_head, size = self._by_head, self._head_characters
        for start in range(len(name) - size + 1):
            for substring in by_head.get(name[start : start + size], ()):
                if name.startswith(substring, start):
                    return substring
        return None

    def __len__(self) -> int:
        return len(self.substrings)


class RegexSet:
    """Regular expressions (Python's) to be found in names. Raises ValueError naming the malformed one."""

    __slots__ = ("_searches",)

    def __init__(self, patterns: Iterable[str]) -> None:
        self._searches = tuple((pattern, _compiled(pattern).search) for pattern in dict.fromkeys(patterns))

    def match(self, name: str) -> str | None:
        """The first pattern, in the order given, that is found in the name; None: none is."""
        for pattern, search in self._searches:
            if search(name):
                return pattern
        return None

    def __len__(self) -> int:
        return len(self._searches)


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
