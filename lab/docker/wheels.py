"""Which of the locked requirements the lab's image needs: those of the base install and the `lab` extra.

`python -m lab.docker.wheels requirements.lock 3.11.2` writes them to stdout, versions and hashes as the lock has them,
for the image's Python. What follows from what is read from the installed packages of this environment (`make setup`).
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

Requires = Callable[[str], list[str]]
"""A distribution's `Requires-Dist` lines by its name; raises PackageNotFoundError where it is not installed."""


def environment(python: str) -> dict[str, str]:
    """The marker variables of an image with Python `python` ("3.11.2"), Linux and this machine's processor."""
    return {
        "implementation_name": "cpython",
        "implementation_version": python,
        "os_name": "posix",
        "platform_machine": platform.machine(),
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": python,
        "python_version": ".".join(python.split(".")[:2]),
        "sys_platform": "linux",
    }


def closure(root: Requirement, requires: Requires, variables: dict[str, str]) -> set[str]:
    """The canonical names of everything that `root` (with its extras) needs in that environment, itself left out."""
    seen: set[tuple[str, str]] = set()
    todo = [(root.name, extra) for extra in ("", *root.extras)]
    while todo:
        name, extra = todo.pop()
        if (canonicalize_name(name), extra) in seen:
            continue
        seen.add((canonicalize_name(name), extra))
        for needed in map(Requirement, requires(name)):
            if needed.marker is None or needed.marker.evaluate(variables | {"extra": extra}):
                todo += [(needed.name, wanted) for wanted in ("", *needed.extras)]
    return {name for name, _ in seen} - {canonicalize_name(root.name)}


def entries(lock: str) -> Iterator[tuple[Requirement, str]]:
    """Each requirement of a hashed requirements file with its text: `name==version` and its hashes, without marker."""
    for block in lock.replace("\\\n", " ").splitlines():
        line, *hashes = block.split(" --hash=")
        if line.strip() and not line.startswith("#"):
            requirement = Requirement(line.strip())
            text = f"{requirement.name}{requirement.specifier}"
            yield requirement, " ".join([text, *(f"--hash={hash_.strip()}" for hash_ in hashes)])


def subset(lock: str, names: set[str], variables: dict[str, str]) -> list[str]:
    """The lines of `lock` for `names` whose markers hold. Raises ValueError naming what is not in the lock."""
    lines: dict[str, str] = {}
    for requirement, text in entries(lock):
        if canonicalize_name(requirement.name) in names and _holds(requirement.marker, variables):
            lines[canonicalize_name(requirement.name)] = text
    if missing := sorted(names - lines.keys()):
        raise ValueError(f"not in the lock: {', '.join(missing)}")
    return [lines[name] for name in sorted(lines)]


def _holds(marker: Marker | None, variables: dict[str, str]) -> bool:
    return marker is None or marker.evaluate(variables | {"extra": ""})


def main(arguments: list[str]) -> None:
    """`LOCK PYTHON_VERSION`: writes the image's requirements to stdout."""
    path, python = arguments
    variables = environment(python)
    names = closure(Requirement("sidedoor[lab]"), lambda name: metadata.requires(name) or [], variables)
    print("\n".join(subset(Path(path).read_text(encoding="utf-8"), names, variables)))


if __name__ == "__main__":
    main(sys.argv[1:])
