"""Queue, origin and inbox together, killed at any statement: nothing lost, nothing twice, in order, bit for bit.

The real parts with their real state files; the network between them is a list that loses, repeats and reorders. A kill
is an exception that no part catches, at a statement to SQLite, which then has what a SIGKILL leaves in it: what was
committed. The application keeps the position of what it took together with what it took, as `client.receiver` asks.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.public import PrivateKey

from client.attachments.incoming import IncomingAttachments
from client.attachments.pieces import CHUNK_BYTES
from client.attachments.source import open_source, reopen_source
from client.delivery import Delivery
from client.encryption import Encryption
from client.inboxes import Inboxes
from client.lanes import Lanes
from client.messages import Ack, Message, Record
from client.settings import OriginAddress, SenderSettings
from client.state.file import StateFile
from client.state.receiving import ReceivingState
from client.state.sending import SendingState
from client.switchboard import Switchboard

KEYS = {"alice": bytes([1]) * 32, "bob": bytes([2]) * 32}
SETTINGS = SenderSettings(
    name="alice",
    peer="bob",
    origin=OriginAddress("localhost"),
    ca_file="ca.pem",
    window_messages=4,
    attachment_window_bytes=2 * CHUNK_BYTES,
)

MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None
"""Files are made and ended so often here that a disk would be most of the time."""


class Killed(BaseException):
    """This end dies here."""


class Fate:
    """Kills at a statement now and then, while the weather is bad."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.bad = True
        self.kills = 0

    def strike(self, share: float) -> None:
        if self.bad and self.chance.random() < share:
            self.kills += 1
            raise Killed


def mortal(fate: Fate) -> Callable[..., Any]:
    """StateFile.execute, whose owner may die before or after any statement."""
    execute = StateFile.execute

    def struck(self: StateFile, statement: str, values: tuple[Any, ...] = ()) -> Any:
        fate.strike(0.01)
        result = execute(self, statement, values)
        fate.strike(0.01)
        return result

    return struck


def encryption(own: str, peer: str, chance: random.Random) -> Encryption:
    public = bytes(PrivateKey(KEYS[peer]).public_key)
    return Encryption(KEYS[own], public, chance.randbytes(32), random=chance.randbytes)


class World:
    """Everything, and what the user and the application know."""

    def __init__(self, folder: Path, fate: Fate) -> None:
        self.folder, self.chance, self.fate = folder, fate.chance, fate
        self.up: list[Record] = []  # to the origin
        self.down: list[Record] = []  # to the receiver
        self.back: list[Record] = []  # to the sender
        self.submitted: list[bytes] = []
        self.taken: list[tuple[int, bytes]] = []
        self.files: list[Path] = []
        self.attached: list[str] = []  # Those of which the user was told.
        self.connection = 1
        self.origin = Switchboard()
        self.born(self.sender_born)
        self.born(self.receiver_born)

    def born(self, birth: Callable[[], None]) -> None:
        """Birth may end in death, too."""
        while True:
            try:
                birth()
            except Killed:
                continue
            return

    def sender_born(self) -> None:
        self.sender_state = SendingState(
            str(self.folder / "alice.db"), name="alice", peer="bob", draw=lambda: self.chance.getrandbits(63)
        )
        self.connection += 1
        self.up.clear()
        self.back.clear()
        try:
            keys = encryption("alice", "bob", self.chance)
            self.lanes = Lanes(SETTINGS, self.sender_state, keys, lambda event, /, **_: None, 0.0)
            for queued in self.lanes.attachments.unread:
                self.lanes.attachments.read(queued.number, reopen_source(queued.path, queued.size, queued.sha256))
        except Killed:
            self.sender_state.close()
            raise

    def receiver_born(self) -> None:
        self.receiver_state = ReceivingState(str(self.folder / "bob.db"), name="bob")
        try:
            incoming = IncomingAttachments(
                str(self.folder / "in"), 1 << 20, self.receiver_state, lambda event, /, **_: None
            )
            keys = encryption("bob", "alice", self.chance)
            self.inboxes = Inboxes("bob", self.receiver_state, keys, incoming, lambda event, /, **_: None, self.show)
            self.inboxes.resume(self.taken[-1][0] if self.taken else 0)
        except Killed:
            self.receiver_state.close()
            raise
        self.down.clear()
        self.route(self.origin.receive(1, self.inboxes.hello))

    def show(self, delivery: Delivery) -> None:
        self.fate.strike(0.05)
        self.taken.append((delivery.position, delivery.body))
        self.fate.strike(0.05)

    def route(self, outgoing: list[tuple[int, Record]]) -> None:
        for connection, record in outgoing:
            if connection == 1:
                self.down.append(record)
            elif connection == self.connection:
                self.back.append(record)

    def arriving(self, way: list[Record]) -> Record | None:
        """In bad weather any of them, and it may stay behind as a copy; else the first."""
        if not way:
            return None
        record = way[self.chance.randrange(len(way)) if self.fate.bad else 0]
        if not (self.fate.bad and self.chance.random() < 0.2):
            way.remove(record)
        return record

    def sender_step(self) -> None:
        try:
            if self.fate.bad and self.chance.random() < 0.3 and not self.lanes.full:
                body = b"message %d" % (len(self.submitted) + 1)
                before = self.lanes.messages
                try:
                    self.lanes.submit(body, 0.0)
                    self.submitted.append(body)
                except Killed:
                    # The user has no id, and may find that it is queued all the same.
                    self.lanes.close()
                    self.born(self.sender_born)
                    if self.lanes.messages > before:
                        self.submitted.append(body)
                    return
            if self.fate.bad and len(self.files) < 3 and self.chance.random() < 0.02:
                self.attach()
            if (due := self.lanes.next(self.connection, 0.0)) is not None:
                self.up.append(due.message)
            if isinstance(ack := self.arriving(self.back), Ack):
                self.lanes.acked(ack, 1.0)
        except Killed:
            self.lanes.close()
            self.born(self.sender_born)

    def attach(self) -> None:
        path = self.folder / f"file{len(self.files) + 1}"
        path.write_bytes(self.chance.randbytes(3 * CHUNK_BYTES + len(self.files)))
        self.files.append(path)
        self.lanes.attach(open_source(str(path)))
        self.attached.append(path.name)

    def receiver_step(self) -> None:
        try:
            if isinstance(message := self.arriving(self.down), Message):
                for ack in self.inboxes.receive(message):
                    self.route(self.origin.receive(1, ack))
        except Killed:
            self.receiver_state.close()
            self.born(self.receiver_born)

    def step(self) -> None:
        self.sender_step()
        if isinstance(message := self.arriving(self.up), Message):
            self.route(self.origin.receive(self.connection, message))
        self.receiver_step()
        if self.fate.bad and self.chance.random() < 0.02:
            self.lanes.lost(self.connection)
            self.connection += 1
            self.up.clear()
            self.back.clear()
        if self.fate.bad and self.chance.random() < 0.01:
            self.origin = Switchboard()
            self.receiver_state.close()
            self.born(self.receiver_born)

    def clear_up(self) -> None:
        """Good weather: a new connection, and everything gets through."""
        self.fate.bad = False
        self.lanes.lost(self.connection)
        self.connection += 1
        while not self.lanes.empty:
            self.step()
            if not (self.up or self.down or self.back):
                self.lanes.lost(self.connection)
                self.connection += 1


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_nothing_is_lost_or_taken_twice_whoever_dies_and_when(seed: int) -> None:
    fate = Fate(random.Random(seed))
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(StateFile, "execute", mortal(fate))
        world = World(Path(folder), fate)
        for _ in range(150):
            world.step()
        world.clear_up()
        assert [body for _, body in world.taken] == world.submitted
        received = {path.name: path.read_bytes() for path in (Path(folder) / "in").iterdir()}
        assert received.keys() >= set(world.attached)
        assert received.items() <= {path.name: path.read_bytes() for path in world.files}.items()
        world.lanes.close()
        world.receiver_state.close()
