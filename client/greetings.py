"""Who has said hello: the origin sends what it has for this end by the connection that said it last."""

from __future__ import annotations

import math

from client.line import Line
from client.messages import Hello

HOME_SECONDS = 1.0
"""So long after the last copy the origin is told again to send by the line in use, and no more by a standby as well."""


class Greetings:
    """`hello`: this end's. `now` is on the monotonic clock, in seconds."""

    def __init__(self, hello: Hello) -> None:
        self._hello = hello
        self._last: Line | None = None
        self._copied_at = -math.inf

    def greet(self, line: Line) -> None:
        """Say hello by this line."""
        line.greeted = True
        self._last = line
        line.say(self._hello)

    def copied(self, line: Line, now: float) -> None:
        """Messages go by this line, too: their acknowledgements shall come by it."""
        self._copied_at = now
        if not line.greeted:
            self.greet(line)

    def answered(self, in_use: Line, now: float) -> None:
        """The line in use has answered: if copies went by another for a while, what comes in may take it again."""
        other = self._last
        if in_use is not other and now - self._copied_at >= HOME_SECONDS:
            if other is not None:
                other.greeted = False
            self.greet(in_use)

    def gone(self, line: Line, in_use: Line | None) -> None:
        """What the origin sent by a line that is gone may be lost: it sends it again to who says hello."""
        if self._last is line:
            self._last = None
            if in_use is not None:
                self.greet(in_use)
