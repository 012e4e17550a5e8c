"""The screen in a terminal: the conversation in its scrollback, below it what is pending, the status, and the prompt.

What is finished is written above the prompt once and for good, so that it can be scrolled, searched and copied; what
may still change is drawn in place by prompt_toolkit: the status, too, as a part of the prompt, since prompt_toolkit has
no toolbar on terminals that do not tell where their cursor is.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import termios
from collections.abc import AsyncIterator, Callable, Iterator
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
        self._ready = asyncio.Event()
        self._session: PromptSession[str] = PromptSession(
            message=self._prompt,
            refresh_interval=REFRESH_SECONDS,
            erase_when_done=True,
            complete_style=CompleteStyle.READLINE_LIKE,
            history=DummyHistory(),
        )

    async def lines(self) -> AsyncIterator[str]:
        await self._ready.wait()
        while True:
            try:
                yield await self._session.prompt_async(handle_sigint=False)
            except (EOFError, KeyboardInterrupt):
                return

    async def run(self) -> None:
        with _end_of_file_is_a_key():
            self._ready.set()
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


@contextlib.contextmanager
def _end_of_file_is_a_key() -> Iterator[None]:
    """Ctrl-D waits for the prompt, as other keys do. While something is being printed, and between two prompts, the
    terminal is not the prompt's: then its driver would take Ctrl-D for an end of file (termios(3), VEOF), and lose it.
    """
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    meanwhile = termios.tcgetattr(descriptor)
    meanwhile[6][termios.VEOF] = os.fpathconf(descriptor, "PC_VDISABLE").to_bytes(1, "big")
    termios.tcsetattr(descriptor, termios.TCSANOW, meanwhile)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSANOW, before)


def _write(lines: list[Line]) -> None:
    for line in lines:
        style = "ansibrightblack" if line.notice else ""
        print_formatted_text(FormattedText([(style, f"-- {line.text}" if line.notice else line.text)]))
