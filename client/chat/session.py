"""A chat from its first line to its last: what is typed goes to the messenger, what happens goes to the screen."""

from __future__ import annotations

import asyncio
import os.path
from collections.abc import AsyncIterator
from typing import Protocol

from client.chat.conversation import Conversation
from client.chat.typed import HELP, Mistake, Order, Say, meaning
from client.diagnosis import KINDS
from client.messages import LIMIT_BYTES
from client.messenger import Messenger, Missing
from client.routes.failures import in_words
from sidedoor.settings import UsageError, first_of


class Screen(Protocol):
    """Where the person is. It shows what the conversation has, whenever it is `changed`."""

    def lines(self) -> AsyncIterator[str]:
        """What is typed; ends when the person has no more to say."""
        ...

    async def run(self) -> None:
        """Show what changes, until cancelled; what is finished by then is shown."""
        ...

    def changed(self) -> None:
        """There is something new to show."""
        ...


class Chat:
    """`timeout`: how long, in seconds, the end waits for what is under way. `failure`: why the messenger ended."""

    def __init__(self, messenger: Messenger, conversation: Conversation, screen: Screen, timeout: float) -> None:
        self._messenger = messenger
        self._conversation = conversation
        self._screen = screen
        self._timeout = timeout
        self.failure: UsageError | None = None
        self._over = asyncio.Event()
        self._hurried = asyncio.Event()

    def quit(self) -> bool:
        """End in order, as if that had been typed; once it is ending, wait no longer for what is under way. False: it
        does that already."""
        if not self._over.is_set():
            self._over.set()
        elif not self._hurried.is_set():
            self._hurried.set()
        else:
            return False
        return True

    async def run(self) -> Missing:
        """Until `quit`, nothing more is typed, or there is a `failure`. Returns what is not acknowledged."""
        async with asyncio.TaskGroup() as group:
            reader = group.create_task(self._read(), name="typed lines")
            others = [
                group.create_task(self._talk(), name="messenger"),
                group.create_task(self._screen.run(), name="screen"),
            ]
            await self._over.wait()
            if self._messenger.missing and self.failure is None:
                self._tell(f"waiting for what is under way, {self._timeout:g} s at most; Ctrl-C ends it now")
            reader.cancel()
            await asyncio.wait([reader])
            if self.failure is None:
                await self._drain()
            missing = self._messenger.missing
            self._tell(*(f"not acknowledged: {line}" for line in self._conversation.pending))
            for task in others:
                task.cancel()
        return missing

    async def _talk(self) -> None:
        """The messenger. When it fails the chat ends in order: whoever draws in the terminal has to put it back."""
        try:
            await self._messenger.run()
        except* UsageError as group:
            self.failure = first_of(group)
            self._over.set()

    async def _drain(self) -> None:
        """Wait for what is under way, until `quit` is called again."""
        async with asyncio.TaskGroup() as group:
            waits = [
                group.create_task(self._messenger.sender.drain(self._timeout), name="drain"),
                group.create_task(self._hurried.wait(), name="hurry"),
            ]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()

    async def _read(self) -> None:
        async for line in self._screen.lines():
            match meaning(line):
                case Say(text=text):
                    await self._say(text)
                case Order(name="send", argument=path):
                    await self._attach(os.path.expanduser(path))
                case Order(name="routes"):
                    self._tell(*self._routes())
                case Order(name="help"):
                    self._tell(*HELP)
                case Order(name="quit"):
                    break
                case Mistake(text=text):
                    self._tell(text)
        self._over.set()

    async def _say(self, text: str) -> None:
        body = text.encode(errors="replace")
        if len(body) > LIMIT_BYTES // 2:
            self._tell(f"that has {len(body)} bytes; {LIMIT_BYTES // 2} are the most, /send FILE takes more")
            return
        await self._messenger.sender.room()
        self._conversation.said(self._messenger.sender.submit(body), text)
        self._screen.changed()

    async def _attach(self, path: str) -> None:
        try:
            await self._messenger.sender.attach(path)
        except UsageError as error:
            self._tell(str(error))

    def _routes(self) -> list[str]:
        status = self._messenger.sender.status
        troubles = {trouble.route: KINDS[trouble.kind] for trouble in status.troubles}
        standby = None if status.health is None else status.health.standby
        told = {standby: "stands by", status.route: "in use"}
        return [
            f"{name}: {told.get(name) or troubles.get(name) or self._dial(name)}"
            for name in self._messenger.sender.routes
        ]

    def _dial(self, route: str) -> str:
        dial = self._conversation.dial_of(route)
        if not dial:
            return "was not tried" if dial is None else "worked when it was tried last"
        stage, _, failure = dial.partition(": ")
        return f"{stage}: {in_words(failure)}"

    def _tell(self, *lines: str) -> None:
        for line in lines:
            self._conversation.notice(line)
        self._screen.changed()
