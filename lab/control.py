"""The line between the lab and its roles: JSON lines over a Unix socket, the same on every runtime.

A role connects and says `{"hello": ROLE, "pid": PID}`; the lab answers `{"kind": KIND, "settings": {...}}`. Then the
role sends events (`sidedoor.events`) and replies, the lab sends commands `{"id": N, "command": NAME, "arguments": {}}`.
The end of the connection is the end of the role, seen from either side.

- `RoleControl` is the role's end.
- `Roster` is the lab's end: it accepts roles, passes events on, and calls commands.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from sidedoor.events import encode

LINE_LIMIT_BYTES = 16 * 1024 * 1024

Handler = Callable[..., Awaitable[dict[str, Any] | None]]
OnEvent = Callable[[dict[str, Any]], None]

_decode = msgspec.json.decode
_encode = msgspec.json.encode


class CommandFailed(Exception):
    """A role answered a command with an error, or ended before it answered. The message says which and why."""


class RoleControl:
    """A role's end of the line."""

    def __init__(self, role: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.role = role
        self._reader = reader
        self._writer = writer
        self._handlers: dict[str, Handler] = {}

    @classmethod
    async def connect(cls, path: str | Path, role: str) -> tuple[RoleControl, str, dict[str, Any]]:
        """Say hello at the lab's socket; returns the line, the kind of role to be, and its settings.

        Raises OSError where nobody listens, EOFError where the lab hangs up at once.
        """
        reader, writer = await asyncio.open_unix_connection(path, limit=LINE_LIMIT_BYTES)
        writer.write(_encode({"hello": role, "pid": os.getpid()}) + b"\n")
        line = await reader.readline()
        if not line:
            writer.close()
            raise EOFError("the lab closed the connection at hello")
        start = _decode(line)
        return cls(role, reader, writer), start["kind"], start["settings"]

    def emit(self, event: str, /, **fields: Any) -> None:
        """Report an event (an Emit). Never blocks; after the lab has gone, events are dropped."""
        if not self._writer.is_closing():
            self._writer.write(encode(self.role, event, fields))

    def on(self, command: str, handler: Handler) -> None:
        """Have `handler(**arguments)` called for `command`; what it returns goes back with the reply."""
        self._handlers[command] = handler

    async def serve(self) -> None:
        """Answer commands, one after the other, until the lab closes the line (or dies, which resets it)."""
        while line := await self._next_line():
            request = _decode(line)
            reply: dict[str, Any]
            try:
                handler = self._handlers[request["command"]]
            except KeyError:
                reply = {"ok": False, "error": f"{self.role} knows no command {request['command']!r}"}
            else:
                try:
                    reply = {"ok": True} | (await handler(**request["arguments"]) or {})
                except Exception as error:  # the lab decides what a failed command means
                    reply = {"ok": False, "error": f"{type(error).__name__}: {error}"}
            self._writer.write(_encode({"reply": request["id"]} | reply) + b"\n")

    async def _next_line(self) -> bytes:
        try:
            return await self._reader.readline()
        except ConnectionError:
            return b""

    async def close(self) -> None:
        """Flush what was reported and hang up."""
        try:
            await self._writer.drain()
            self._writer.close()
            await self._writer.wait_closed()
        except OSError:
            pass


class _Hello(msgspec.Struct):
    hello: str
    pid: int


class RoleConnection:
    """The lab's end of one role's line."""

    def __init__(self, role: str, pid: int, writer: asyncio.StreamWriter) -> None:
        self.role = role
        self.pid = pid
        self.closed = asyncio.Event()
        self._writer = writer
        self._pending: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._last_id = 0

    async def call(self, command: str, /, *, timeout: float = 30.0, **arguments: Any) -> dict[str, Any]:
        """Send a command and wait for its reply (seconds). Raises CommandFailed."""
        if self.closed.is_set():
            raise CommandFailed(f"{self.role}: {command}: the role has ended")
        self._last_id = id_ = self._last_id + 1
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._pending[id_] = future
        self._writer.write(_encode({"id": id_, "command": command, "arguments": arguments}) + b"\n")
        try:
            async with asyncio.timeout(timeout):
                reply = await future
        except TimeoutError:
            raise CommandFailed(f"{self.role}: {command}: no reply within {timeout:g} s") from None
        finally:
            self._pending.pop(id_, None)
        if not reply["ok"]:
            raise CommandFailed(f"{self.role}: {command}: {reply['error']}")
        return reply

    def hang_up(self) -> None:
        """Close the line: the role ends in its own time."""
        self._writer.close()

    def _take_reply(self, message: dict[str, Any]) -> None:
        future = self._pending.get(message["reply"])
        if future is not None and not future.done():
            future.set_result(message)

    def _end(self) -> None:
        self.closed.set()
        for future in self._pending.values():
            if not future.done():
                future.set_result({"ok": False, "error": "the role ended before it answered"})
        self._writer.close()


class Roster:
    """The lab's socket: roles that say hello are given their kind and settings, and their events are passed on."""

    def __init__(self, path: Path, on_event: OnEvent) -> None:
        self.path = path
        self._on_event = on_event
        self._expected: dict[str, tuple[str, dict[str, Any]]] = {}
        self._joined: dict[str, asyncio.Future[RoleConnection]] = {}
        self._server: asyncio.Server | None = None
        self._connections: set[RoleConnection] = set()

    async def __aenter__(self) -> Roster:
        self._server = await asyncio.start_unix_server(self._serve_role, self.path, limit=LINE_LIMIT_BYTES)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._server is not None
        self._server.close()
        for connection in list(self._connections):
            connection.hang_up()
        self.path.unlink(missing_ok=True)

    def expect(self, role: str, kind: str, settings: dict[str, Any]) -> asyncio.Future[RoleConnection]:
        """Announce a role before it is spawned; the future is done when it has said hello."""
        self._expected[role] = (kind, settings)
        future = self._joined[role] = asyncio.get_running_loop().create_future()
        return future

    async def _serve_role(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection: RoleConnection | None = None
        try:
            hello = _decode(await reader.readline(), type=_Hello)
            if hello.hello not in self._expected:
                return
            kind, settings = self._expected.pop(hello.hello)
            writer.write(_encode({"kind": kind, "settings": settings}) + b"\n")
            connection = RoleConnection(hello.hello, hello.pid, writer)
            self._connections.add(connection)
            joined = self._joined.pop(hello.hello)
            if not joined.done():
                joined.set_result(connection)
            while line := await reader.readline():
                message = _decode(line)
                if "reply" in message:
                    connection._take_reply(message)
                else:
                    self._on_event(message)
        except (OSError, ValueError, msgspec.DecodeError, asyncio.CancelledError):
            pass  # the role died in mid-line, said what is no line (ValueError: too long), or the lab ends
        finally:
            if connection is not None:
                self._connections.discard(connection)
                connection._end()
            writer.close()
