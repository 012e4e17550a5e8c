"""Which rules and lists a command is about: a rules file or a profile, and files in the place of its lists."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from censor import profiles
from censor.conditions import ListHolder
from censor.lists.binding import Lists
from censor.lists.block_list import BlockList
from censor.rules import List, RuleSet
from censor.rules_file import load_rules, profile_rules
from sidedoor.settings import UsageError


class Selection(NamedTuple):
    """Rules, and the folder where the file names of their lists begin."""

    rules: RuleSet
    folder: Path

    def lists(self) -> Lists:
        """The lists, read. Raises SettingsError."""
        lists = Lists()
        lists.stage(self.rules.lists, self.folder)
        lists.commit()
        return lists


def selected(
    rules_path: str | None, profile: str | None, list_files: Iterable[str] = (), *, seed: int | None = None
) -> Selection:
    """The rules that `--rules`, `--profile`, `--list NAME=FILE` and `--seed` say. Raises UsageError."""
    if (rules_path is None) == (profile is None):
        raise UsageError("expected one of --rules FILE and --profile NAME (`sidedoor censor profiles` lists them)")
    if rules_path is not None:
        rules, folder = load_rules(rules_path), Path(rules_path).parent
    else:
        assert profile is not None
        rules, folder = profile_rules(profile), Path()
    rules = _with_files(rules, list_files)
    if seed is not None:
        rules = msgspec.structs.replace(rules, censor=msgspec.structs.replace(rules.censor, seed=seed))
    return Selection(rules, folder)


def named(source: str, list_files: Iterable[str] = ()) -> Selection:
    """The rules of `source`: a profile's name, or a file. Raises UsageError."""
    if source in profiles.names():
        return selected(None, source, list_files)
    if "/" not in source and "." not in source and not Path(source).exists():
        near = difflib.get_close_matches(source, profiles.names(), n=1)
        guess = f"did you mean {near[0]}?" if near else "`sidedoor censor profiles` lists the profiles"
        raise UsageError(f"{source}: neither a profile nor a file; {guess}")
    return selected(source, None, list_files)


def empty_lists(lists: Mapping[str, ListHolder]) -> list[str]:
    """The names of the lists in which there is nothing."""
    return [name for name, holder in lists.items() if isinstance(holder.content, BlockList) and not holder.content.rows]


def lists_of(lists: Mapping[str, ListHolder]) -> list[dict[str, Any]]:
    """What is in each list, in numbers, and the first of the rows that could not be read. For JSON."""
    return [
        {
            "list": name,
            "rows": content.rows,
            "skipped": content.skipped,
            "names": len(content.domains),
            "networks": len(content.networks),
            "urls": len(content.urls),
            "problems": [problem._asdict() for problem in content.problems],
        }
        for name, holder in lists.items()
        if isinstance(content := holder.content, BlockList)
    ]


def _with_files(rules: RuleSet, list_files: Iterable[str]) -> RuleSet:
    """The rules with other files for their lists; what a list had before is replaced."""
    lists = {one.name: one for one in rules.lists}
    for text in list_files:
        name, equals, path = text.partition("=")
        if not equals or not path:
            raise UsageError(f"--list {text}: expected NAME=FILE")
        if name not in lists:
            raise UsageError(f"--list {text}: the rules have no list {name!r} ({_lists(lists)})")
        file = str(Path(path).absolute())
        lists[name] = msgspec.structs.replace(lists[name], file=file, format="auto", entries=())
    return msgspec.structs.replace(rules, lists=tuple(lists.values()))


def _lists(lists: dict[str, List]) -> str:
    return f"they have {', '.join(lists)}" if lists else "they have none"
