"""The lists that a rules file names, read from their files and held where conditions look them up."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from censor.conditions.contents import ListHolder
from censor.lists.block_list import BlockList
from censor.lists.domains import DomainSet
from censor.lists.formats import parse, read
from censor.lists.prefixes import PrefixSet, Version
from censor.lists.reading import read_aside
from sidedoor.settings import SettingsError

if TYPE_CHECKING:
    from censor.rules import List


_VERSIONS: tuple[Version, ...] = (4, 6)
_LARGE_BYTES = 1 << 17  # some 10 ms of parsing


class Lists:
    """Holders by name. `stage` reads, and changes nothing that is in use; `commit` exchanges.

    folder: where relative file names begin.
    """

    def __init__(self) -> None:
        self.holders: dict[str, ListHolder] = {}
        self._staged: Mapping[str, BlockList] = {}

    def stage(self, lists: tuple[List, ...], folder: Path) -> None:
        """Read the lists. Raises SettingsError, and nothing has changed."""
        self.stage_contents({one.name: load(one, folder) for one in lists})

    async def stage_aside(self, lists: tuple[List, ...], folder: Path) -> None:
        """The same, with large files read by a process of their own, so that packets do not wait meanwhile."""
        self.stage_contents({one.name: await load_aside(one, folder) for one in lists})

    @property
    def staged(self) -> Mapping[str, BlockList]:
        """What the next `commit` exchanges the contents for."""
        return self._staged

    def stage_contents(self, staged: Mapping[str, BlockList]) -> None:
        """Lists that were read already."""
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
        # Where nothing has changed, one copy of two is enough.
        self._staged = {name: self._same(name, content) for name, content in self._staged.items()}
        return frozenset(changed)

    def _same(self, name: str, content: BlockList) -> BlockList:
        """What is held, which equals `content`."""
        held = self.holders[name].content
        return held if isinstance(held, BlockList) else content


def check_files(lists: tuple[List, ...], folder: Path) -> None:
    """Raises SettingsError for a list whose file cannot be read. What is in it is another question."""
    for one in lists:
        if one.file is not None:
            try:
                (folder / one.file).open("rb").close()
            except OSError as error:
                message = f"list {one.name!r}: {folder / one.file}: cannot be read: {error.strerror}"
                raise SettingsError(message) from error


def load(one: List, folder: Path) -> BlockList:
    """A list's content: its file's and its entries'. Raises SettingsError."""
    entries = parse("\n".join(one.entries), "plain", origin=f"list {one.name!r}") if one.entries else None
    if one.file is None:
        return entries or parse("", "plain", origin=f"list {one.name!r}")
    try:
        content = read(folder / one.file, one.format)
    except SettingsError as error:
        raise SettingsError(f"list {one.name!r}: {error}") from error
    return content if entries is None else _joined(content, entries)


async def load_aside(one: List, folder: Path) -> BlockList:
    """What `load` gives; a large file is read by another process."""
    if one.file is None or not _is_large(folder / one.file):
        return load(one, folder)
    try:
        content = await read_aside(folder / one.file, one.format)
    except SettingsError as error:
        raise SettingsError(f"list {one.name!r}: {error}") from error
    entries = load(msgspec.structs.replace(one, file=None), folder)
    return _joined(content, entries) if one.entries else content


def _is_large(path: Path) -> bool:
    try:
        return path.stat().st_size > _LARGE_BYTES
    except OSError:  # reading it says what is wrong
        return False


def _joined(one: BlockList, other: BlockList) -> BlockList:
    v4, v6 = ([*one.networks.intervals(version), *other.networks.intervals(version)] for version in _VERSIONS)
    return dataclasses.replace(
        one,
        domains=DomainSet.from_canonical(one.domains.names | other.domains.names),
        networks=PrefixSet.from_intervals(v4, v6),
        urls=one.urls | other.urls,
        rows=one.rows + other.rows,
    )
