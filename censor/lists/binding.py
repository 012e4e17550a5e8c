"""The lists that a rules file names, read from their files and held where conditions look them up."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from censor.conditions.contents import ListHolder
from censor.lists.block_list import BlockList
from censor.lists.domains import DomainSet
from censor.lists.formats import parse, read
from censor.lists.prefixes import PrefixSet, Version

if TYPE_CHECKING:
    from censor.rules import List


_VERSIONS: tuple[Version, ...] = (4, 6)


class Lists:
    """Holders by name. `stage` reads, and changes nothing that is in use; `commit` exchanges.

    folder: where relative file names begin.
    """

    def __init__(self) -> None:
        self.holders: dict[str, ListHolder] = {}
        self._staged: dict[str, BlockList] = {}

    def stage(self, lists: tuple[List, ...], folder: Path) -> None:
        """Read the lists. Raises SettingsError, and nothing has changed."""
        staged = {one.name: load(one, folder) for one in lists}
        self._staged = staged
        for name, content in staged.items():
            self.holders.setdefault(name, ListHolder(content))

    def commit(self) -> frozenset[str]:
        """Exchange the contents for those that were read last; the names of lists whose content is another now."""
        changed = set()
        for name in [name for name in self.holders if name not in self._staged]:
            del self.holders[name]
        for name, content in self._staged.items():
            holder = self.holders[name]
            if holder.content is not content and holder.content != content:
                changed.add(name)
                holder.content = content
        return frozenset(changed)


def load(one: List, folder: Path) -> BlockList:
    """A list's content: its file's and its entries'. Raises SettingsError."""
    entries = parse("\n".join(one.entries), "plain", origin=f"list {one.name!r}") if one.entries else None
    if one.file is None:
        return entries or parse("", "plain", origin=f"list {one.name!r}")
    content = read(folder / one.file, one.format)
    return content if entries is None else _joined(content, entries)


def _joined(one: BlockList, other: BlockList) -> BlockList:
    v4, v6 = ([*one.networks.intervals(version), *other.networks.intervals(version)] for version in _VERSIONS)
    return dataclasses.replace(
        one,
        domains=DomainSet.from_canonical(one.domains.names | other.domains.names),
        networks=PrefixSet.from_intervals(v4, v6),
        urls=one.urls | other.urls,
        rows=one.rows + other.rows,
    )
