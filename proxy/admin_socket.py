"""Where the admin endpoint listens: a socket in the file system, or the loopback.

The supervisor binds it and keeps it: what cannot be listened on is said before anything runs, and requests wait while a
dead admin process is replaced.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from proxy.settings import parse_listen
from sidedoor.settings import UsageError

BACKLOG = 64


@contextlib.contextmanager
def listening(listen: str) -> Iterator[list[socket.socket]]:
    """Sockets that listen on `listen`, "unix:PATH" (mode 0600) or "HOST:PORT". They are closed and the file is removed
    at the end. Raises UsageError where nothing can listen there."""
    with contextlib.ExitStack() as stack:
        yield list(_bind(listen, stack))


def _bind(listen: str, stack: contextlib.ExitStack) -> Iterator[socket.socket]:
    try:
        if listen.startswith("unix:"):
            yield _bind_unix(listen.removeprefix("unix:"), stack)
            return
        host, port = parse_listen(listen, "admin.listen")
        for family, _, _, _, sockaddr in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            sock = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(sockaddr)
            sock.listen(BACKLOG)
            yield sock
    except OSError as error:
        raise UsageError(
            f"admin.listen: cannot listen on {listen}: {error.strerror or error}; {_remedy(error)}"
        ) from error


def _remedy(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "another program has it: stop that, or choose another address"
        case errno.ENOENT | errno.EACCES | errno.EROFS:
            return "the folder of the socket must exist, and be writable for this user"
        case _:
            return "choose another address"


def _bind_unix(path: str, stack: contextlib.ExitStack) -> socket.socket:
    sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    _remove_stale(path)
    before = os.umask(0o177)  # from the first moment on, it is nobody else's
    try:
        sock.bind(path)
    finally:
        os.umask(before)
    stack.callback(_remove, path, os.stat(path).st_ino)
    sock.listen(BACKLOG)
    return sock


def _remove_stale(path: str) -> None:
    """Remove a socket that nobody listens on any more. Raises OSError (EADDRINUSE) for anything else there."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(errno.EADDRINUSE, "there is a file that is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        try:
            sock.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass  # its queue is full: somebody has it
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _remove(path: str, inode: int) -> None:
    """Remove our socket, unless another one has taken its place."""
    with contextlib.suppress(OSError):
        if os.stat(path).st_ino == inode:
            Path(path).unlink()
