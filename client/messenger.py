"""Both ends in one: a sender whose connections bring what others send to this end, too. So who receives goes on by
another route when one is blocked, by the same policy as who sends."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import msgspec

from client.attachments.incoming import IncomingAttachments
from client.inboxes import Inboxes, Show
from client.keys import make_encryption
from client.sender import Sender
from client.settings import ChatSettings
from client.state.receiving import ReceivingState
from sidedoor.events import Emit

RECEIVED = ".received"
"""The end of the name of the file with what came, beside the one with what goes out."""


@dataclass(frozen=True, slots=True)
class Missing:
    """What has no ack."""

    messages: int
    attachments: int

    def __bool__(self) -> bool:
        return bool(self.messages or self.attachments)

    def __str__(self) -> str:
        """ "2 messages and 1 attachment"."""
        counts = ((self.messages, "message"), (self.attachments, "attachment"))
        return " and ".join(f"{count} {word}{'s' * (count > 1)}" for count, word in counts if count)

    def of(self, peer: str) -> str:
        """ "2 messages and 1 attachment to bob are"."""
        return f"{self} to {peer} {'is' if self.messages + self.attachments == 1 else 'are'}"


class Messenger:
    """`show` gets each message to `settings.name` once, in order; `sender` is what sends to `settings.peer`.

    Raises SettingsError and UsageError as `Sender` and `run_receiver` do.
    """

    def __init__(self, settings: ChatSettings, emit: Emit, show: Show) -> None:
        queue, received = _state_files(settings)
        with contextlib.ExitStack() as made:  # What is refused leaves nothing behind.
            self._received = ReceivingState(received, name=settings.name)
            made.callback(self._received.abandon)
            attachments = IncomingAttachments(
                settings.attachments_folder, settings.attachment_limit_bytes, self._received, emit
            )
            made.callback(attachments.abandon)
            encryption = make_encryption(settings)
            self._inboxes = Inboxes(settings.name, self._received, encryption, attachments, emit, show)
            self.sender = Sender(msgspec.structs.replace(settings, state_file=queue), emit, self._inboxes)
            made.pop_all()

    @property
    def missing(self) -> Missing:
        """What the peer has not acknowledged."""
        return Missing(self.sender.unacknowledged, self.sender.unsent_attachments)

    async def run(self) -> None:
        """Send and receive until cancelled; then let go of the files."""
        try:
            self._inboxes.resume(0)
            await self.sender.run()
        finally:
            self._received.close()


def _state_files(settings: ChatSettings) -> tuple[str | None, str | None]:
    """Of what goes out and of what came. Who sends to nobody has nothing to go out."""
    if settings.state_file is None or not settings.peer:
        return None, settings.state_file
    return settings.state_file, settings.state_file + RECEIVED
