"""The root command: lazy parts, and Ctrl-C while one is being imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sidedoor.cli import main
from sidedoor.root import COMMANDS

INTERRUPTED = """
import os, signal, sys
from sidedoor.cli import main

class Interrupts:
    @staticmethod
    def find_spec(name, *_):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupts)
signal.signal(signal.SIGINT, signal.default_int_handler)  # A script's background ignores it.
main(sys.argv[2:])
"""


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    out = capsys.readouterr().out
    assert all(f"  {name}" in out for name in COMMANDS)


@pytest.mark.parametrize("name", [*COMMANDS, "click"])
def test_ctrl_c_during_the_imports_is_quiet(name: str) -> None:
    """Of each command, and of what all need."""
    module = COMMANDS[name][0].partition(":")[0] if name in COMMANDS else name
    words = [name if name in COMMANDS else "client", "--help"]
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, module, *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        (["--help"], {"proxy", "client", "censor", "lab", "rich", "aiohttp", "asyncio"}),
        (["proxy", "--help"], {"client", "censor", "lab", "scapy", "docker", "pyroute2"}),
    ],
)
def test_a_command_imports_only_its_part(arguments: list[str], absent: set[str]) -> None:
    program = f"""
import sys
from sidedoor.cli import main
try:
    main({arguments!r})
except SystemExit as exit_:
    print(*sys.modules, file=sys.stderr)
    raise
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not absent & set(done.stderr.split())
