"""Reads a list in a process of its own: parsing takes a second for 300,000 rows, and packets cannot wait so long.

The process is `python -m censor.lists.reading FILE FORMAT`; it writes the list as a pickle to its parent, which takes a
tenth of that time to read it.
"""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
from pathlib import Path

from censor.lists.block_list import BlockList
from censor.lists.formats import read
from sidedoor.settings import SettingsError

_REFUSED = 2


async def read_aside(path: Path, format: str) -> BlockList:
    """The list in a file, as `formats.read` gives it. Raises SettingsError."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, str(path), format, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        output, errors = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        said = errors.decode(errors="replace").strip()
        raise SettingsError(said if process.returncode == _REFUSED else f"{path}: reading it failed: {said[-200:]}")
    content = pickle.loads(output)  # what this very program has written
    assert isinstance(content, BlockList)
    return content


def main(path: str, format: str) -> int:
    """Write the list to stdout; what is wrong with it to stderr, with the status 2."""
    try:
        content = read(path, format)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return _REFUSED
    sys.stdout.buffer.write(pickle.dumps(content, pickle.HIGHEST_PROTOCOL))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
