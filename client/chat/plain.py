"""The screen without a terminal: lines in from stdin, what was said to stdout, notices to stderr."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

from client.chat.conversation import Conversation
from client.command_line import say
from client.standard_input import lines


class PlainScreen:
    """Implements `client.chat.session.Screen`. An own line is written when it is known to have been shown."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation

    async def lines(self) -> AsyncIterator[str]:
        async for line in lines():
            yield line.decode(errors="replace")

    async def run(self) -> None:
        await asyncio.Event().wait()

    def changed(self) -> None:
        for line in self._conversation.take():
            if line.notice:
                say(line.text)
            else:
                sys.stdout.write(line.text + "\n")
                sys.stdout.flush()
