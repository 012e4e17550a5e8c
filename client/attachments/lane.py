"""The sender's lane of attachments: one after the other, in pieces, a few of them under way. No sockets, no clock.

A piece follows from its id: the offer has the attachment's first id, the chunks the next ones. So a later life of the
sender needs only to know up to which id there are acks, and reads the rest from the file again. When the file is not
what it was, the ids that were given already go out as `Cancel`: a receiver that has the chunk drops them as copies,
and the one behind them reaches it in any case.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from client.attachments.pieces import CHUNK_BYTES, Cancel, Chunk, Offer, Piece, chunks, encode
from client.attachments.source import Source, SourceChanged
from client.attachments.window import PieceWindow
from client.delivery import Entry, Outbox
from client.messages import Ack
from client.state.sending import QueuedAttachment, SendingState
from sidedoor.events import Emit


@dataclass(slots=True)
class _Transfer:
    """An attachment that is not done. `last_id`: of its last piece, once it has begun. `source`: None until the file
    was read again after a restart."""

    number: int
    name: str
    size: int
    sha256: bytes
    source: Source | None
    first_id: int = 0
    last_id: int = 0
    failure: str = ""
    percent: int = 0

    def piece(self, id_: int) -> Piece:
        """Raises SourceChanged."""
        if self.failure:
            return Cancel(self.number, self.failure)
        if id_ == self.first_id:
            return Offer(self.number, self.name, self.size, self.sha256)
        assert self.source is not None
        offset = (id_ - self.first_id - 1) * CHUNK_BYTES
        return Chunk(self.number, offset, self.source.read(offset, CHUNK_BYTES))


class AttachmentLane:
    """The attachments of one sender; `len` of those that are on their way. `window`: how many pieces are under way.

    Events: attachment_queued, attachment_progress (each per cent), attachment_sent, attachment_failed.
    """

    def __init__(self, state: SendingState, emit: Emit, *, window: PieceWindow) -> None:
        lane = state.attachments_lane
        self.session = lane.session
        self._state = state
        self._emit = emit
        self._window = window
        self._outbox = Outbox(window_messages=window.most, limit_messages=window.most, last_id=lane.acked_id)
        self._sent_again_id = 0  # acks of pieces up to here may be those of an earlier copy (Karn, RFC 6298 section 3)
        self._used_id = lane.used_id
        self._transfers: deque[_Transfer] = deque()
        self.unread: list[QueuedAttachment] = []
        for queued in state.attachments:
            self._restore(queued)

    def __len__(self) -> int:
        return sum(not transfer.failure for transfer in self._transfers)

    def add(self, source: Source, name: str) -> int:
        """Queue it; its number."""
        number = self._state.add_attachment(source.path, name, source.size, source.sha256)
        self._transfers.append(_Transfer(number, name, source.size, source.sha256, source))
        self._emit("attachment_queued", attachment=number, name=name, bytes=source.size)
        return number

    def read(self, number: int, source: Source | SourceChanged) -> None:
        """The file of one of `unread` was read again: what came of it."""
        transfer = next(transfer for transfer in self._transfers if transfer.number == number)
        if isinstance(source, Source):
            transfer.source = source
        else:
            self._fail(transfer, str(source))

    def next(self, connection: int, now: float) -> Entry | None:
        """The piece to send on `connection` now, marked as sent on it; None: none is due, or the window is full."""
        if (entry := self._outbox.next(connection)) is not None:
            return entry
        if not self._window.fits(len(self._outbox)) or not self._submit(now):
            return None
        return self._outbox.next(connection)

    def lost(self, connection: int) -> int:
        """As `Outbox.lost`."""
        lost = self._outbox.lost(connection)
        if lost:
            self._sent_again_id = self._outbox.last_id
            self._window.path_changed()
        return lost

    @property
    def base(self) -> int:
        """As `Outbox.base`."""
        return self._outbox.base

    def acked(self, ack: Ack, now: float) -> None:
        """The end-to-end ack of a piece, with what the receiver says of the attachment."""
        # An earlier life may have sent more than this one has, and the receiver says how far it is.
        acked = self._outbox.acked(min(ack.id, self._outbox.last_id) if ack.id <= self._used_id else ack.id, now)
        if not acked:
            return
        for id_, seconds in acked:
            if id_ > self._sent_again_id:
                self._window.acked(seconds)
        self._state.acked_piece(self._outbox.base - 1)
        transfer = self._transfers[0]
        if ack.refused and not transfer.failure:
            self._fail(transfer, f"the receiver refuses it: {ack.refused}", heard=True)
        self._report(transfer)
        if self._is_over(transfer):
            self._finish()

    def close(self) -> None:
        """Let go of the files."""
        for transfer in self._transfers:
            if transfer.source is not None:
                transfer.source.close()

    def _restore(self, queued: QueuedAttachment) -> None:
        transfer = _Transfer(
            queued.number, queued.name, queued.size, queued.sha256, None, queued.first_id, failure=queued.failure
        )
        if transfer.failure:
            transfer.last_id = self._used_id + 1
        else:
            transfer.last_id = transfer.first_id + chunks(transfer.size)
            self.unread.append(queued)
        self._transfers.append(transfer)

    def _submit(self, now: float) -> bool:
        """Give the next piece its id; False: there is none to give now."""
        transfer = self._current()
        if transfer is None:
            return False
        id_ = self._outbox.last_id + 1
        if transfer.first_id and id_ > transfer.last_id:
            return False
        if not transfer.first_id:
            transfer.first_id, transfer.last_id = id_, id_ + chunks(transfer.size)
            self._state.begin_attachment(transfer.number, id_)
        try:
            piece = transfer.piece(id_)
        except SourceChanged as error:
            self._fail(transfer, str(error))
            piece = transfer.piece(id_)
        if id_ > self._used_id:
            self._used_id = id_
            self._state.use_piece(id_)
        self._outbox.submit(encode(piece), now)
        return True

    def _current(self) -> _Transfer | None:
        """The first that is not over: an earlier life may have died before it noted that."""
        while self._transfers and self._is_over(self._transfers[0]):
            self._finish()
        if not self._transfers:
            return None
        transfer = self._transfers[0]
        return transfer if transfer.source is not None or transfer.failure else None

    def _is_over(self, transfer: _Transfer) -> bool:
        """One that failed before it began has nothing to take back."""
        if not transfer.first_id:
            return bool(transfer.failure)
        return not len(self._outbox) and self._outbox.last_id >= transfer.last_id

    def _fail(self, transfer: _Transfer, failure: str, *, heard: bool = False) -> None:
        """`heard`: the receiver knows, so that only ids that were given before have to go out."""
        transfer.failure = failure
        transfer.last_id = max(self._used_id, self._outbox.last_id) + (0 if heard else 1)
        self._state.fail_attachment(transfer.number, failure)
        self._emit("attachment_failed", attachment=transfer.number, name=transfer.name, reason=failure)

    def _report(self, transfer: _Transfer) -> None:
        sent = min(transfer.size, (self._outbox.base - 1 - transfer.first_id) * CHUNK_BYTES)
        percent = 100 * sent // transfer.size if transfer.size else 100
        if not transfer.failure and percent > transfer.percent:
            transfer.percent = percent
            self._emit(
                "attachment_progress", attachment=transfer.number, name=transfer.name, sent=sent, bytes=transfer.size
            )

    def _finish(self) -> None:
        transfer = self._transfers.popleft()
        self._state.remove_attachment(transfer.number)
        if transfer.source is not None:
            transfer.source.close()
        if not transfer.failure:
            self._emit("attachment_sent", attachment=transfer.number, name=transfer.name, bytes=transfer.size)
