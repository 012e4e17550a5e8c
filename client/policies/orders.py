"""The commands of a policy as they come together within one call, and the path they put messages on. Sans-IO."""

from __future__ import annotations

from dataclasses import dataclass, field

from client.policies import Abort, Close, Command, Dial, PathBad, Ping, ProbeEnded, ProbeStarted, Remember, Use


@dataclass(slots=True)
class Orders:
    """Numbers connections and pings, and reports each bad path once. `path`: the route in use, or the last that was."""

    path: str
    _path_bad: bool = False
    _connections: int = 0
    _pings: int = 0
    _commands: list[Command] = field(default_factory=list)

    def dial(self, route: str) -> int:
        """Dial the route; the new connection's number."""
        self._connections += 1
        self._commands.append(Dial(self._connections, route))
        return self._connections

    def ping(self, connection: int) -> int:
        """Ping by the connection; the ping's number."""
        self._pings += 1
        self._commands.append(Ping(connection, self._pings))
        return self._pings

    def use(self, connection: int, route: str) -> None:
        """Put messages on this connection. A path that is left for another one was bad, if only for being slower."""
        if route != self.path:
            self.bad("dial_failed")
        self.path, self._path_bad = route, False
        self._commands.append(Use(connection, route))

    def bad(self, reason: str) -> None:
        """The path is bad; reported once until messages go again."""
        if not self._path_bad:
            self._path_bad = True
            self._commands.append(PathBad(self.path, reason))

    def abort(self, connection: int) -> None:
        """Give the connection or dial up."""
        self._commands.append(Abort(connection))

    def close(self, connection: int) -> None:
        """End the established connection in order."""
        self._commands.append(Close(connection))

    def probe(self, route: str) -> int:
        """Dial a route that is not in use, and say that it is deliberate; the new connection's number."""
        number = self.dial(route)
        self._commands.append(ProbeStarted(number, route))
        return number

    def probe_ended(self, connection: int, route: str, failure: str | None) -> None:
        """Report a probe's end; before the connection is given up."""
        self._commands.append(ProbeEnded(connection, route, failure))

    def remember(self, route: str, rtt_seconds: float | None) -> None:
        """Keep for this network that the route has worked, or failed (None)."""
        self._commands.append(Remember(route, rtt_seconds))

    def take(self) -> list[Command]:
        """All commands since the last call of this."""
        commands, self._commands = self._commands, []
        return commands


def reason_of(failure: str) -> str:
    """Why a path is bad whose connection has ended by itself with this failure."""
    return "eof" if failure == "eof_error" else "reset"
