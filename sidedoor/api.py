"""Control a running lab (`sidedoor lab up`) from a program, over the lab's Unix socket.

    from sidedoor.api import Lab

    lab = Lab.find()
    lab.apply(Path("rules.toml").read_text())
    lab.execute("client", ["curl", "--max-time", "3", "https://messenger.example/"])
    lab.clear()

Nothing here imports the parts, so that a program's own package called `client` or `proxy` is never shadowed.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sidedoor.settings import UsageError

DEFAULT_NAME = "default"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")


def state_root() -> Path:
    """Where the labs of this user keep what they need while they run: one folder a lab.

    In a user namespace (`unshare -r`) a user may be called 0 without being root, whose folder is not theirs: the
    folder's name then says who they are outside, too.
    """
    inside = os.getuid()
    outside = _outside(inside)
    name = f"sidedoor-{inside}" if outside == inside else f"sidedoor-{inside}-of-{outside}"
    return Path(tempfile.gettempdir()) / name


def _outside(uid: int) -> int:
    """What the user namespace around this one calls `uid` (user_namespaces(7)); `uid` itself where nothing says."""
    try:
        for line in Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines():
            first, first_outside, count = map(int, line.split())
            if first <= uid < first + count:
                return first_outside + uid - first
    except (OSError, ValueError):
        pass
    return uid


def state_folder(name: str) -> Path:
    """The folder of the lab called `name`. Raises UsageError for a name that is none."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"lab name {name!r}: expected lower-case letters, digits and dashes, at most 31")
    return state_root() / name


class LabError(Exception):
    """The lab refused or failed; the message is the lab's own."""


class Lab:
    """A running lab."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.name

    @classmethod
    def find(cls, name: str = DEFAULT_NAME) -> Lab:
        """The running lab called `name`. Raises UsageError where there is none."""
        lab = cls(state_folder(name))
        try:
            lab.call("status")
        except OSError:
            option = "" if name == DEFAULT_NAME else f" --name {name}"
            others = ", ".join(other.name for other in cls.running())
            hint = f" (running: {others}; --name chooses)" if others else ""
            raise UsageError(f"no lab {name!r} is running{hint}; start one with: sidedoor lab up{option}") from None
        return lab

    @classmethod
    def running(cls) -> list[Lab]:
        """The interactive labs of this user that answer, by name."""
        found = []
        for line in sorted(state_root().glob("*/lab.sock")):
            lab = cls(line.parent)
            try:
                lab.call("status")
            except (OSError, LabError, ValueError):
                continue
            found.append(lab)
        return found

    def call(self, command: str, **arguments: Any) -> dict[str, Any]:
        """One command, one answer. Raises LabError with the lab's reason, OSError where no lab listens."""
        with socket.socket(socket.AF_UNIX) as line, line.makefile("rwb") as stream:
            line.settimeout(60)
            line.connect(str(self.folder / "lab.sock"))
            stream.write(json.dumps({"command": command, "arguments": arguments}).encode() + b"\n")
            stream.flush()
            answer = json.loads(stream.readline() or b'{"ok": false, "error": "the lab hung up"}')
        if not answer.pop("ok"):
            raise LabError(answer["error"])
        assert isinstance(answer, dict)
        return answer

    def status(self) -> dict[str, Any]:
        """`{"runtime": ..., "hosts": {name: [addresses]}, "roles": [...], "rules": [...], "ca_file": path}`."""
        return self.call("status")

    def apply(self, rules: str, *, origin: str = "rules", folder: str | Path = ".") -> list[str]:
        """Enforce these censor rules (TOML text) in place of those that hold now; returns their names.

        origin: what errors call them. folder: where relative names of their list files begin.
        """
        folder = os.path.abspath(folder)
        names = self.call("censor_apply", rules=rules, origin=origin, folder=folder)["rules"]
        assert isinstance(names, list)
        return names

    def clear(self) -> None:
        """Lift every rule of the censor."""
        self.call("censor_clear")

    def execute(self, host: str, command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[Any]:
        """Run a program on `host`; `options` are subprocess.run's."""
        prefix = [sys.executable, "-m", "sidedoor", "lab", "exec", "--name", self.name, host, "--"]
        return subprocess.run([*prefix, *command], **options)

    def down(self) -> None:
        """Take the lab down; returns when nothing of it is left."""
        prefix = [sys.executable, "-m", "sidedoor", "lab", "down", "--name", self.name]
        subprocess.run(prefix, check=True, capture_output=True)
