"""Runs functions in processes of their own, as root of fresh user, network, mount and PID namespaces."""

from __future__ import annotations

import os
import subprocess
import sys

from lab.machine import search_path

_UNSHARE = ("unshare", "-Urnmpf", "--map-root-user", "--kill-child", "--mount-proc")
_SETUP = "set -e\nmount -t tmpfs tmpfs /run\nip link set lo up\n"


def run_in_namespace(module: str, function: str, setup: str) -> None:
    """Fails with what it printed when the shell script `setup`, or `module` run with the name of `function`, does."""
    done = subprocess.run(
        [*_UNSHARE, "sh", "-c", f"{_SETUP}{setup}\nexec {sys.executable} -m {module} {function}"],
        env=os.environ | {"PATH": search_path()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stdout
