"""Profiles: what real censors did, as rules files with the source of every number. One file each, `NAME.toml`."""

from __future__ import annotations

import difflib
from importlib import resources

_SUFFIX = ".toml"


def names() -> tuple[str, ...]:
    """The profiles that are shipped, in alphabetical order."""
    files = resources.files(__name__).iterdir()
    return tuple(sorted(file.name.removesuffix(_SUFFIX) for file in files if file.name.endswith(_SUFFIX)))


def text(name: str) -> str:
    """The rules file of a profile. Raises KeyError, whose first argument is a message."""
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1)
        guess = f"; did you mean {near[0]}?" if near else ""
        raise KeyError(f"no profile {name!r}{guess} (there are: {', '.join(names())})")
    return (resources.files(__name__) / f"{name}{_SUFFIX}").read_text(encoding="utf-8")
