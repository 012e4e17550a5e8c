"""Every test here leaves as many descriptors open as it found. And what more than one file needs."""

from __future__ import annotations

import gc
import os
import socket
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


@pytest.fixture
def target(no_descriptor_is_left: None) -> Iterator[socket.socket]:
    """A listening socket for the proxy to connect to."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        listener.settimeout(20.0)
        yield listener


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
