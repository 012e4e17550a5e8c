"""The sending end: the user's messages and attachments, kept and sent by whatever route carries them.

What is to be sent is in the lanes (`client.lanes`); the driver of the policy (`client.driver`) gets it there.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time

import msgspec

from client.attachments.source import SourceChanged, open_source, reopen_source
from client.driver import Driver
from client.inboxes import Inboxes
from client.keys import make_encryption
from client.lanes import Lanes
from client.policies.catalogue import dial_settings, make_policy
from client.route_table import RouteTable
from client.settings import SenderSettings
from client.state.sending import SendingState, boot_id
from client.status import Status
from client.surroundings import Surroundings
from sidedoor.events import Emit


class Sender:
    """Sends messages to `settings.peer`, by whatever route carries them. Raises SettingsError for a bad CA file or key,
    or a memory file in a folder that is not there, UsageError for a state file that cannot be used.

    `submit` and `attach` may be called before and while `run` runs; `run` ends by cancellation only, and lets go of the
    state file.
    """

    def __init__(self, settings: SenderSettings, emit: Emit, inboxes: Inboxes | None = None) -> None:
        """`inboxes`: take what is sent to `settings.name`; None: there is another end of that name, or none."""
        self._settings = settings
        self._emit = emit
        dial = dial_settings(settings.policy, settings.dial)
        self._routes = RouteTable(msgspec.structs.replace(settings, dial=dial), emit)
        surroundings = Surroundings(settings.memory_file, settings.network_poll_seconds, emit)
        policy = make_policy(
            settings.policy,
            self._routes.facts,
            random=random.Random(secrets.randbits(64)),
            recollection=surroundings.recollection(self._routes.names),
        )
        encryption = make_encryption(settings)
        state = SendingState(
            settings.state_file,
            name=settings.name,
            peer=settings.peer,
            draw=lambda: secrets.randbits(63),
            boot=boot_id(),
        )
        self._lanes = Lanes(settings, state, encryption, emit, time.monotonic())
        self._progress = asyncio.Event()
        self._driver = Driver(
            settings.name,
            policy,
            self._routes,
            surroundings,
            self._lanes,
            emit,
            inboxes=inboxes,
            progress=self._progress.set,
        )

    def submit(self, body: bytes) -> int:
        """Queue a message; returns its id, and what has one survives this process if there is a state file.

        Raises OverflowError when `limit_messages` wait already (see `room`), UsageError when the state file cannot be
        written: then the message is not queued.
        """
        now = time.monotonic()
        peak = self._lanes.peak
        id_ = self._lanes.submit(body, now)
        self._emit("message_queued", t=now, session=self._lanes.session, id=id_, bytes=len(body))
        if self._lanes.peak > peak:
            self._emit("queue_length", t=now, length=self._lanes.peak)
        self._driver.wake()
        return id_

    async def attach(self, path: str) -> int:
        """Queue a file; returns its number in the events `attachment_...`. It has to stay as it is until it is sent.

        Raises UsageError: no file, longer than 64 MB, unreadable, or the state file cannot be written.
        """
        number = self._lanes.attach(await asyncio.to_thread(open_source, path))
        self._driver.wake()
        return number

    async def room(self) -> None:
        """Wait until `submit` has room: back-pressure."""
        while self._lanes.full:
            self._progress.clear()
            await self._progress.wait()

    async def drain(self, timeout: float) -> bool:
        """Wait until all is acknowledged, attachments too, at most `timeout` seconds; whether that was reached."""
        try:
            async with asyncio.timeout(timeout):
                while not self._lanes.empty:
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            return False
        return True

    @property
    def unacknowledged(self) -> int:
        """Messages without an end-to-end ack, sent or not."""
        return self._lanes.messages

    @property
    def unsent_attachments(self) -> int:
        """Attachments that are on their way; those that have failed are not."""
        return len(self._lanes.attachments)

    @property
    def status(self) -> Status:
        """How things are, for people."""
        return self._driver.status

    @property
    def routes(self) -> tuple[str, ...]:
        """Their names, in order of preference."""
        return tuple(facts.name for facts in self._routes.facts)

    async def run(self) -> None:
        """Keep a path up and messages moving until cancelled; then close what is open."""
        try:
            async with asyncio.TaskGroup() as group:
                if self._lanes.attachments.unread:
                    group.create_task(self._read_again(), name="attachments of an earlier life")
                if self._settings.proxy_list is not None:
                    refresh_seconds = self._settings.proxy_list.refresh_seconds
                    group.create_task(self._refresh_list(refresh_seconds), name="proxy list")
                await self._driver.run(group)
        finally:
            self._lanes.close()  # After the lines: they may still have an ack to note.

    async def _read_again(self) -> None:
        """The files of attachments that an earlier life had queued: whether they are what they were."""
        for queued in self._lanes.attachments.unread:
            try:
                source = await asyncio.to_thread(reopen_source, queued.path, queued.size, queued.sha256)
            except SourceChanged as error:
                self._lanes.attachments.read(queued.number, error)
            else:
                self._lanes.attachments.read(queued.number, source)
            self._progress.set()
            self._driver.wake()

    async def _refresh_list(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            self._driver.want_list()
