"""What was said in a chat, line by line, and how far each own line has come. Sans-IO.

An own line is pending until the other end has shown it; then it is finished, as what others say is at once. A screen
shows `pending` in place and prints what `take` gives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from client.printable import printable

QUEUED, SENT, SHOWN = "·", "✓", "✓✓"
PENDING_LINES = 8
"""So many pending lines are shown; of more, their number."""


@dataclass(frozen=True, slots=True)
class Line:
    """`notice`: about the connection and the like; else something that somebody said."""

    text: str
    notice: bool = False


@dataclass(slots=True)
class _Own:
    text: str
    said_at: str
    mark: str = QUEUED


class Conversation:
    """Takes the messenger's events (an Emit), what was said and notices. `clock`: the time of day, as it is shown."""

    def __init__(self, name: str, clock: Callable[[], str]) -> None:
        self._name = name
        self._clock = clock
        self._own: dict[int, _Own] = {}
        self._files: dict[int, str] = {}  # attachments under way: what is shown of each
        self._finished: list[Line] = []
        self._routes: dict[str, str] = {}  # route -> how its last dial ended: empty, or "STAGE: FAILURE"

    def __call__(self, event: str, /, **fields: Any) -> None:
        match event:
            case "message_sent" if (own := self._own.get(fields["id"])) is not None:
                own.mark = SENT
            case "message_acked" if (own := self._own.pop(fields["id"], None)) is not None:
                self._finished.append(Line(self._line(own, SHOWN)))
            case "attachment_queued":
                self._files[fields["attachment"]] = f"{QUEUED} {fields['name']}"
            case "attachment_progress":
                percent = 100 * fields["sent"] // fields["bytes"]
                self._files[fields["attachment"]] = f"{SENT} {fields['name']} {percent} %"
            case "attachment_sent" | "attachment_failed":
                self._files.pop(fields["attachment"], None)
            case "route_dialed":
                self._routes[fields["route"]] = ""
            case "route_failed":
                self._routes[fields["route"]] = f"{fields['stage']}: {fields['failure']}"

    def said(self, id_: int, text: str) -> None:
        """This end's own words, queued under this id."""
        self._own[id_] = _Own(printable(text), self._clock())

    def heard(self, sender: str, body: bytes) -> None:
        """Somebody's words have come."""
        text = printable(body.decode(errors="replace"))
        self._finished.append(Line(f"{self._clock()} {printable(sender)}: {text}"))

    def notice(self, text: str) -> None:
        """Something about the connection, or an answer to a command."""
        self._finished.append(Line(printable(text), notice=True))

    def take(self) -> list[Line]:
        """What is finished and was not taken before."""
        finished, self._finished = self._finished, []
        return finished

    @property
    def pending(self) -> list[str]:
        """Own lines and files that are not there yet, each with its mark; the last ones, if there are many."""
        lines = [*(self._line(own, own.mark) for own in self._own.values()), *self._files.values()]
        hidden = len(lines) - PENDING_LINES
        return lines if hidden <= 0 else [f"({hidden} more)", *lines[hidden:]]

    def dial_of(self, route: str) -> str | None:
        """How the last dial of this route ended: empty if it stood, "STAGE: FAILURE" in OONI's words; None: none was
        dialed."""
        return self._routes.get(route)

    def _line(self, own: _Own, mark: str) -> str:
        return f"{own.said_at} {self._name}: {own.text} {mark}"
