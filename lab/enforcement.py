"""A rules file is put in force by the lab's censor, which may not see the files that it names: they are copied to it.

Where names of list files are relative they begin at the rules file's folder, on whatever runtime.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from censor.actions import Freeze, Police
from censor.rules import List, Rule
from censor.rules_file import parse_rules
from lab.control import RoleConnection
from lab.deployment import Deployment
from sidedoor.settings import UsageError


async def enforce(
    censor: RoleConnection, deployment: Deployment, rules: str, *, origin: str, folder: Path
) -> tuple[str, ...]:
    """Have the censor act by `rules` (TOML) alone, lists read from `folder`; the rules' names.

    Raises UsageError, and nothing has changed; CommandFailed.
    """
    read = parse_rules(rules, origin=origin)
    with _copies(read.lists, folder, deployment.state) as files:
        seen = {name: deployment.path_in_host(copy) for name, copy in files.items()}
        await censor.call("apply", rules=rules, origin=origin, files=seen)
    return tuple(rule.name for rule in read.rules)


def recovery_of(rules: Sequence[Rule]) -> Literal["acks", "goodput"]:
    """What shows that a client has got around these: acks, or, where they let some of a flow pass, its goodput."""
    return "goodput" if any(isinstance(a, Freeze | Police) for rule in rules for a in rule.actions) else "acks"


@contextmanager
def _copies(lists: tuple[List, ...], folder: Path, place: Path) -> Iterator[dict[str, Path]]:
    """Name of a list -> copy of its file below `place`, for as long as the censor reads. Raises UsageError."""
    files = {one.name: folder / one.file for one in lists if one.file is not None}
    if not files:
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="lists-", dir=place) as temporary:
        yield {name: _copy(file, Path(temporary) / name) for name, file in files.items()}


def _copy(file: Path, target: Path) -> Path:
    """The copy, in a folder `target` of its own: under the name that its user knows, should it be complained about."""
    target.mkdir()
    try:
        return Path(shutil.copyfile(file, target / file.name))
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from error
