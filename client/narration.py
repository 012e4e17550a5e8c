"""What the commands say on stderr about the way to the origin: the first failure, each change, the connection.

An Emit that listens in on the events `route_failed`, `route_dialed`, `path_bad`, `route_switched`, `failed_back` and
`diagnosed`, and on those about lists of proxies and the memory, and passes everything on. It repeats nothing: each
route has one line until something else happens on it. It says as well what becomes of attachments, and when something
cannot be decrypted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from client.diagnosis import KINDS, NONE
from client.diagnosis.judgement import LIKELY
from client.policies import DIRECT
from client.routes.failures import in_words
from client.settings import OriginAddress
from sidedoor.events import Emit

_CONNECTED = ""
_REASONS = {"ack_overdue": "generic_timeout_error", "reset": "connection_reset", "eof": "eof_error"}
"""Reasons of `path_bad`, but for `dial_failed`, which `route_failed` tells better, in OONI's words."""

MOST_UNDECRYPTABLE = 50
"""Of so many senders and reasons it is said that a message of theirs cannot be decrypted."""

_NOTICES = {
    "memory_unreadable": "memory file {file} cannot be used, it is begun anew: {detail}",
    "memory_unwritable": "memory file {file} cannot be written: {detail}",
    "proxy_list_expired": "the list of proxies on disk is used although {detail}",
    "proxy_list_refused": "a list of proxies is not used: {detail}",
    "proxy_list_unwritable": "the new list of proxies cannot be kept in {file}: {detail}",
    "proxy_list_updated": "a new list of proxies, version {version}",
    "route_unusable": "{route} of the list of proxies is left out: {detail}",
}


class Narrator:
    """`say` gets each line, without a line feed."""

    def __init__(self, origin: OriginAddress, emit: Emit, say: Callable[[str], None], *, greet: bool = False) -> None:
        """`greet`: the first connection is told of even if nothing has failed before it."""
        self._origin = str(origin)
        self._emit = emit
        self._say = say
        self._greet = greet
        self._noticed: set[str] = set()
        self._in_use: str = DIRECT  # by which messages went last
        self._state: dict[str, str] = {}  # route -> "STAGE: FAILURE" in words, or _CONNECTED
        self._diagnoses: dict[str, dict[str, float]] = {}  # route -> kind -> how sure, until it is well again
        self._undecryptable: set[tuple[str, str]] = set()  # what of, and why
        self.failed_attachments = 0
        self.was_reached = False
        """Whether any route has led to the origin."""

    def __call__(self, event: str, /, **fields: Any) -> None:
        self._emit(event, **fields)
        if event == "route_failed":
            self._failed(fields["route"], f"{fields['stage']}: {in_words(fields['failure'])}")
        elif event == "route_dialed":
            if self._greet or self._state.get(fields["route"], _CONNECTED) != _CONNECTED:
                self.connected(fields["route"])
            self._state[fields["route"]] = _CONNECTED
            self.was_reached = True
        elif event in ("route_switched", "failed_back"):
            self._switched(fields["old"], fields["new"])
        elif event == "path_bad" and fields["reason"] in _REASONS:
            self._lost(fields["route"], in_words(_REASONS[fields["reason"]]))
        elif event == "diagnosed":
            self._diagnosed(fields["route"], fields["kind"], fields["confidence"])
        elif event in _NOTICES:
            self._notice(_NOTICES[event].format_map(fields))
        elif event in ("message_undecryptable", "ack_refused"):
            self._not_decrypted(event, fields)
        elif event.startswith("attachment_"):
            self._attachment(event, fields)

    def connected(self, route: str = DIRECT) -> None:
        """The route leads to the origin."""
        self._greet = False
        self._state[route] = _CONNECTED
        self._say(f"connected to origin {self._origin}{_by(route)}")

    @property
    def reached(self) -> bool:
        """Whether any route leads to the origin now, as far as is known."""
        return _CONNECTED in self._state.values()

    @property
    def failures(self) -> list[str]:
        """How each route that leads nowhere failed last: "direct: dns: NXDOMAIN"."""
        return [f"{route}: {failure}" for route, failure in self._state.items() if failure != _CONNECTED]

    def _notice(self, line: str) -> None:
        """Once: what is refused is offered again at the next refresh."""
        if line not in self._noticed:
            self._noticed.add(line)
            self._say(line)

    def _not_decrypted(self, event: str, fields: dict[str, Any]) -> None:
        """Once for each sender's messages, and for acks, and each reason. The origin may make up senders without end:
        only so many are told of."""
        what = f"a message from {fields['sender']}" if event == "message_undecryptable" else "an acknowledgement"
        told = (what, fields["reason"])
        if told not in self._undecryptable and len(self._undecryptable) < MOST_UNDECRYPTABLE:
            self._undecryptable.add(told)
            self._say(
                f"{what} cannot be decrypted: {fields['reason']}; do --key and --peer-key of both ends fit each other?"
            )

    def _attachment(self, event: str, fields: dict[str, Any]) -> None:
        if event == "attachment_received":
            self._say(f"received {fields['path']} from {fields['sender']} ({fields['bytes']} bytes)")
        elif event == "attachment_sent":
            self._say(f"sent {fields['name']} ({fields['bytes']} bytes)")
        elif event == "attachment_failed":
            self.failed_attachments += 1
            self._say(f"{fields['name']} was not sent: {fields['reason']}")
        elif event == "attachment_refused":
            self._say(f"{fields['name']} from {fields['sender']} was not received: {fields['reason']}")

    def _lost(self, route: str, failure: str) -> None:
        self._state[route] = failure
        self._say(f"connection to origin {self._origin}{_by(route)} lost: {failure}; trying again")

    def _diagnosed(self, route: str, kind: str, confidence: float) -> None:
        """What is worth a person's attention: once for each kind, when it is more likely than not; one that was
        followed by another comes again only surer, else two that take turns would fill the screen."""
        said = self._diagnoses.setdefault(route, {})
        if kind == NONE:
            if said:
                self._say(f"{route}: {KINDS[NONE]}")
            said.clear()
        elif confidence >= LIKELY and confidence > said.get(kind, 0.0):
            if kind != next(reversed(said), None):
                self._say(f"{route}: {KINDS[kind]} ({kind}, {confidence:.0%} sure)")
            said.pop(kind, None)
            said[kind] = confidence

    def _switched(self, old: str | None, new: str) -> None:
        self._in_use = new
        if old is not None or self.failures:
            self._say(f"messages go {_way(new)} now")

    def _failed(self, route: str, failure: str) -> None:
        """A failed probe of one route is not taken for the loss of all: it says by which one messages go meanwhile."""
        if self._state.get(route) == failure:
            return
        self._state[route] = failure
        if route != self._in_use and self._state.get(self._in_use) == _CONNECTED:
            self._say(f"{route} does not lead to origin {self._origin}: {failure}; messages go {_way(self._in_use)}")
        else:
            self._say(f"cannot reach origin {self._origin}{_by(route)}: {failure}; trying again")


def afterwards(state_file: str | None, occasion: str, *, was_reached: bool) -> str:
    """What becomes of what has no ack when this end is gone. `occasion`: when a state file is used again, as "chat";
    `was_reached`: the origin may have some of it."""
    if state_file is not None:
        return f"kept in {state_file} for the next {occasion}"
    would = f"with --state FILE %s would be kept for the next {occasion}"
    if was_reached:
        return f"what the origin has already it may still deliver; {would % 'the rest'}"
    return f"the origin has none of it; {would % 'it'}"


def _way(route: str) -> str:
    return route if route == DIRECT else f"by {route}"


def _by(route: str) -> str:
    return "" if route == DIRECT else f" by {route}"
