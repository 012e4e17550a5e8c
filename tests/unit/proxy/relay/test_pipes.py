"""The pool, on real pipes: what comes out is empty, and running out of pages means copying, not failing."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from typing import Any

import pytest

from proxy.relay.pipes import LARGE_LENT, LARGEST_LENT, SIZES_BYTES, PipePool

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pipe sizes can be set on Linux only")


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_pipe_goes_round() -> None:
    before = open_descriptors()
    pool = PipePool()
    pipe = pool.take()
    assert pipe is not None
    assert pipe.size_bytes >= SIZES_BYTES[-1]
    assert os.get_blocking(pipe.read_fd) is os.get_blocking(pipe.write_fd) is False
    pool.give_back(pipe)
    assert pool.take() is pipe
    pool.give_back(pipe)
    pool.close()
    assert open_descriptors() == before


def test_a_pipe_with_bytes_in_it_never_comes_back() -> None:
    pool = PipePool()
    pipe = pool.take()
    assert pipe is not None
    os.write(pipe.write_fd, b"somebody's")
    pool.discard(pipe)
    again = pool.take()
    assert again is not None
    assert again is not pipe
    with pytest.raises(BlockingIOError):
        os.read(again.read_fd, 1)
    pool.discard(again)
    pool.close()


def test_the_pool_keeps_no_more_than_it_should() -> None:
    before = open_descriptors()
    pool = PipePool(pooled_most=1)
    pipes = [pool.take(), pool.take()]
    for pipe in pipes:
        assert pipe is not None
        pool.give_back(pipe)
    assert open_descriptors() == before + 2
    pool.close()
    assert open_descriptors() == before


def test_the_largest_are_lent_first_and_kept_longest() -> None:
    pool = PipePool(pooled_most=2)
    pipes = [pipe for _ in range(LARGE_LENT + 1) if (pipe := pool.take()) is not None]
    sizes = [pipe.size_bytes for pipe in pipes]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[LARGEST_LENT] <= SIZES_BYTES[1]
    assert sizes[LARGE_LENT] == SIZES_BYTES[2]
    for pipe in reversed(pipes):
        pool.give_back(pipe)
    first, second = pool.take(), pool.take()
    assert first is not None
    assert second is not None
    assert [first.size_bytes, second.size_bytes] == sizes[:2]
    pool.discard(first)
    pool.discard(second)


def test_past_the_soft_limit_smaller_pipes_then_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel refuses sizes (EPERM) and gives pipes of a page: the flow is copied until one comes back."""
    before = open_descriptors()
    asked = []
    allowed = {1: SIZES_BYTES[1], 2: 0}
    real = fcntl.fcntl

    def limited(fd: int, command: int, argument: Any = 0) -> int:
        if command == fcntl.F_SETPIPE_SZ:
            asked.append(argument)
            if argument > allowed[len([size for size in asked if size == SIZES_BYTES[0]])]:
                raise PermissionError(errno.EPERM, "over the soft limit")
            return int(real(fd, command, argument))
        if command == fcntl.F_GETPIPE_SZ:
            return 4096
        return int(real(fd, command, argument))

    monkeypatch.setattr(fcntl, "fcntl", limited)
    pool = PipePool(pooled_most=0)
    first = pool.take()
    assert first is not None
    assert first.size_bytes == SIZES_BYTES[1]
    assert pool.take() is None
    assert asked == [*SIZES_BYTES[:2], *SIZES_BYTES]
    assert pool.take() is None
    assert asked == [*SIZES_BYTES[:2], *SIZES_BYTES], "asked again though nothing came back"
    allowed[3] = SIZES_BYTES[0]
    pool.give_back(first)
    second = pool.take()
    assert second is not None
    pool.give_back(second)
    pool.close()
    assert open_descriptors() == before


def test_out_of_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(flags: int) -> tuple[int, int]:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(os, "pipe2", no_more)
    assert PipePool().take() is None
