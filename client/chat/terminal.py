"""The screen in a terminal: the conversation in its scrollback, below it what is pending, the status, and the prompt.

What is finished is written above the prompt once and for good, so that it can be scrolled, searched and copied; what
may still change is drawn in place by prompt_toolkit: the status, too, as a part of the prompt, since prompt_toolkit has
no toolbar on terminals that do not tell where their cursor is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from prompt_toolkit import PromptSession, print_formatted_text
from prompt_toolkit.application import in_terminal
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import DummyHistory
from prompt_toolkit.shortcuts import CompleteStyle

from client.chat.conversation import Conversation, Line

if TYPE_CHECKING:
    from client.status import Status

REFRESH_SECONDS = 0.5
"""The status changes by time alone, too."""


class TerminalScreen:
    """Implements `client.chat.session.Screen`. `status`: how things are now."""

    def __init__(self, conversation: Conversation, status: Callable[[], Status]) -> None:
        self._conversation = conversation
        self._status = status
        self._news = asyncio.Event()
        self._session: PromptSession[str] = PromptSession(
            message=self._prompt,
            refresh_interval=REFRESH_SECONDS,
            erase_when_done=True,
            complete_style=CompleteStyle.READLINE_LIKE,
            history=DummyHistory(),
        )

    async def lines(self) -> AsyncIterator[str]:
        while True:
            try:
                yield await self._session.prompt_async(handle_sigint=False)
            except (EOFError, KeyboardInterrupt):
                return

    async def run(self) -> None:
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                if finished := self._conversation.take():
                    async with in_terminal():
                        _write(finished)
                self._session.app.invalidate()
        finally:
            _write(self._conversation.take())

    def changed(self) -> None:
        self._news.set()

    def _prompt(self) -> FormattedText:
        pending = "".join(f"{line}\n" for line in self._conversation.pending)
        return FormattedText([("", pending), ("reverse", f" {self._status().line} "), ("", "\n"), ("bold", "> ")])


def _write(lines: list[Line]) -> None:
    for line in lines:
        style = "ansibrightblack" if line.notice else ""
        print_formatted_text(FormattedText([(style, f"-- {line.text}" if line.notice else line.text)]))
