"""Pipes for splice, pooled. Linux.

A pipe in the pool is empty, always: bytes left in one would end up in somebody else's flow.

An ordinary user may hold `fs.pipe-user-pages-soft` pages (64 MiB) in pipes; past it the kernel refuses larger ones and
hands out pipes of a page or two. So the first few that are lent are large, the others smaller, which makes 640 of them;
after that `take()` returns None, and the flow is copied until a pipe comes back.
"""

from __future__ import annotations

import fcntl
import os
import sys
from bisect import insort
from operator import attrgetter

SIZES_BYTES = (1 << 20, 1 << 18, 1 << 16)
"""Largest first; what a pipe cannot have, the next one may."""
LARGEST_LENT, LARGE_LENT = 16, 64
"""How many pipes are lent before new ones get the second and the third size."""
POOLED_MOST = 32

if sys.platform == "linux":
    _F_SETPIPE_SZ, _F_GETPIPE_SZ = fcntl.F_SETPIPE_SZ, fcntl.F_GETPIPE_SZ
else:
    _F_SETPIPE_SZ, _F_GETPIPE_SZ = 0, 0


class Pipe:
    """The two descriptors of a non-blocking pipe, and what it holds at most."""

    __slots__ = ("read_fd", "size_bytes", "write_fd")

    def __init__(self, read_fd: int, write_fd: int, size_bytes: int) -> None:
        self.read_fd = read_fd
        self.write_fd = write_fd
        self.size_bytes = size_bytes

    def close(self) -> None:
        os.close(self.read_fd)
        os.close(self.write_fd)


_size_bytes = attrgetter("size_bytes")


class PipePool:
    """Lends pipes. `take()` gets one or None, `give_back()` is for empty ones, `discard()` for those with bytes."""

    def __init__(self, *, pooled_most: int = POOLED_MOST) -> None:
        self._free: list[Pipe] = []  # largest last
        self._pooled_most = pooled_most
        self._lent = 0
        self._lent_at_limit: int | None = None

    def take(self) -> Pipe | None:
        """An empty pipe of at least the smallest of SIZES_BYTES; None where the limits allow no more of them."""
        if self._free:
            pipe = self._free.pop()
        elif self._lent_at_limit is not None and self._lent >= self._lent_at_limit:
            return None  # nothing came back since the last refusal: do not ask the kernel again
        else:
            made = self._make()
            self._lent_at_limit = None if made else self._lent
            if made is None:
                return None
            pipe = made
        self._lent += 1
        return pipe

    def give_back(self, pipe: Pipe) -> None:
        """Take back an empty pipe; when there are enough, the smallest is closed."""
        self._lent -= 1
        insort(self._free, pipe, key=_size_bytes)
        if len(self._free) > self._pooled_most:
            self._free.pop(0).close()

    def discard(self, pipe: Pipe) -> None:
        """Close a pipe that holds bytes of a flow that is over."""
        self._lent -= 1
        pipe.close()

    def close(self) -> None:
        """Close the pipes in the pool."""
        while self._free:
            self._free.pop().close()

    def _make(self) -> Pipe | None:
        try:
            read_fd, write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None  # out of descriptors, or past the hard limit of pages
        for wished in SIZES_BYTES[(self._lent >= LARGEST_LENT) + (self._lent >= LARGE_LENT) :]:
            try:
                size = fcntl.fcntl(write_fd, _F_SETPIPE_SZ, wished)
                break
            except OSError:
                continue  # EPERM: over the soft limit, or over fs.pipe-max-size
        else:
            size = fcntl.fcntl(write_fd, _F_GETPIPE_SZ)
        pipe = Pipe(read_fd, write_fd, size)
        if size < SIZES_BYTES[-1]:
            pipe.close()
            return None
        return pipe
