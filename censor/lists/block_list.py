"""Sans-IO: what a block list says, and how one is put together row by row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from censor.lists.domains import DomainSet, checked
from censor.lists.prefixes import Interval, PrefixSet, Version, interval
from sidedoor.settings import SettingsError

PROBLEMS_LIMIT = 10
REASON_LIMIT_CHARACTERS = 160
"""Reasons quote the row, and a file that is no list may be a single line."""


class Problem(NamedTuple):
    """A row that was skipped: its line, from 1, and why."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class BlockList:
    """What a list blocks.

    urls: as `Url.key`, without the scheme, for plain HTTP.
    rows: rows with content, comments and headers apart. skipped: how many of them were malformed, and blocked nothing;
        `problems` are the first of these.
    updated: what the list says about its own age, in its words.
    """

    domains: DomainSet
    networks: PrefixSet
    urls: frozenset[str] = field(default=frozenset(), repr=False)
    rows: int = 0
    skipped: int = 0
    problems: tuple[Problem, ...] = ()
    updated: str | None = None

    @property
    def blocks_anything(self) -> bool:
        """Whether there is an entry at all."""
        return bool(self.urls or len(self.domains) or len(self.networks))

    def covers_url(self, host: str, path: str) -> bool:
        """Whether the URL of a request for `path` (query and all) at the (canonical) host is listed."""
        return f"{host}{path or '/'}" in self.urls


class Draft:
    """A block list while it is read. Parsers fill `domains`, `intervals` and `urls`, or call `skip` for a row."""

    def __init__(self) -> None:
        self.domains: set[str] = set()
        self.intervals: dict[Version, list[Interval]] = {4: [], 6: []}
        self.urls: set[str] = set()
        self.rows = 0
        self.skipped = 0
        self.problems: list[Problem] = []

    def skip(self, line: int, reason: str) -> None:
        self.skipped += 1
        if len(reason) > REASON_LIMIT_CHARACTERS:
            reason = f"{reason[:REASON_LIMIT_CHARACTERS]}..."
        if len(self.problems) < PROBLEMS_LIMIT:
            self.problems.append(Problem(line, reason))

    def add_domains(self, texts: Iterable[str]) -> None:
        """All of them or, where one is no domain name, none and ValueError."""
        self.domains.update([checked(text) for text in texts])

    def add_addresses(self, texts: Iterable[str]) -> None:
        """Addresses, blocks and ranges; all of them or, where one is malformed, none and ValueError."""
        for version, first, last in [interval(text) for text in texts]:
            self.intervals[version].append((first, last))

    def finish(self, origin: str, expected: str, updated: str | None = None) -> BlockList:
        """The list. Raises SettingsError where more rows are malformed than not: then it is something else."""
        if self.skipped * 2 > self.rows:
            line, reason = self.problems[0]
            share = f"{self.skipped} of {self.rows} rows are malformed"
            raise SettingsError(f"{origin}: line {line}: {reason}; expected {expected} ({share})")
        return BlockList(
            domains=DomainSet.from_canonical(self.domains),
            networks=PrefixSet.from_intervals(self.intervals[4], self.intervals[6]),
            urls=frozenset(self.urls),
            rows=self.rows,
            skipped=self.skipped,
            problems=tuple(self.problems),
            updated=updated,
        )
