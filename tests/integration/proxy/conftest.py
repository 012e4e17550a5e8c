"""Every test here leaves as many descriptors open as it found."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

_DESCRIPTORS = Path("/proc/self/fd")


def _open() -> dict[str, str]:
    found = {}
    for entry in _DESCRIPTORS.iterdir():
        try:
            found[entry.name] = os.readlink(entry)
        except OSError:
            pass  # the descriptor of the listing itself
    return found


@pytest.fixture(autouse=True)
def no_descriptor_is_left() -> Iterator[None]:
    if not _DESCRIPTORS.is_dir():
        yield
        return
    before = _open()
    yield
    gc.collect()
    after = _open()
    assert {number: name for number, name in after.items() if before.get(number) != name} == {}
