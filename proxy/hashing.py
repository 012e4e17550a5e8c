"""Hashes of passwords: Argon2 (RFC 9106) in its usual text form, computed off the loop.

A hash takes tens of milliseconds of a core on purpose. The library lets go of the interpreter meanwhile, so that
threads do; they are daemons, like the resolver's: the interpreter does not wait for them at exit.
"""

from __future__ import annotations

import asyncio
import base64
import queue
import re
import secrets
import threading
from collections.abc import Callable

from sidedoor.settings import SettingsError

HASH_MARK = "$argon2"
"""A password in the settings that begins so is a hash."""
THREADS = 2

# OWASP's Password Storage Cheat Sheet: some 30 ms and 19 MiB per log-in. One lane, so that it takes one core.
TIME_COST = 2
MEMORY_KIB = 19456
MEMORY_MOST_KIB = 1 << 20

_FORM = re.compile(
    r"\$argon2(?:id|i|d)\$v=(?:16|19)\$m=(?P<m>[0-9]{1,7}),t=(?P<t>[0-9]{1,4}),p=(?P<p>[0-9]{1,3})"
    r"\$(?P<salt>[A-Za-z0-9+/]{11,})\$(?P<digest>[A-Za-z0-9+/]{22,})",
    re.ASCII,
)

_Answer = bool | Exception
_Job = tuple[asyncio.AbstractEventLoop, str, bytes, Callable[[_Answer], object]]


def hash_password(password: str) -> str:
    """The Argon2id hash of `password`, with a random salt, for the settings."""
    import argon2  # not needed, and not loaded, where there are no hashes

    hasher = argon2.PasswordHasher(time_cost=TIME_COST, memory_cost=MEMORY_KIB, parallelism=1)
    return hasher.hash(password)


def check_hash(key: str, text: str) -> None:
    """Raise SettingsError, which names `key` and never shows the hash, for what `matches` could not use."""
    form = _FORM.fullmatch(text)
    if form is None or not (_is_base64(form["salt"]) and _is_base64(form["digest"])):
        raise SettingsError(
            f'{key}: begins like an Argon2 hash ("{HASH_MARK}") and is none; expected all of what '
            f"`sidedoor proxy hash-password` prints: $argon2id$v=19$m=...,t=...,p=...$SALT$DIGEST"
        )
    memory, time, lanes = int(form["m"]), int(form["t"]), int(form["p"])
    if not (time >= 1 and lanes >= 1 and 8 * lanes <= memory <= MEMORY_MOST_KIB):
        raise SettingsError(
            f"{key}: is a hash with m={memory},t={time},p={lanes}; expected t and p of at least 1, and m (KiB) from "
            f"8 times p to {MEMORY_MOST_KIB}"
        )


def decoy(text: str) -> str:
    """A hash that no password has, which takes as long to find out as for the hash `text`."""
    head, _, _ = text.rpartition("$")
    return f"{head}${base64.b64encode(secrets.token_bytes(32)).decode().rstrip('=')}"


def matches(text: str, password: bytes) -> bool:
    """Whether `text` is the hash of `password`. Raises argon2.exceptions.Argon2Error where that cannot be found out
    (no memory)."""
    import argon2

    try:
        return argon2.PasswordHasher().verify(text, password)
    except argon2.exceptions.VerifyMismatchError:
        return False


class Hashers:
    """Compares passwords with hashes on THREADS threads, which are started when they are needed."""

    def __init__(self, matches: Callable[[str, bytes], bool] = matches) -> None:
        self._matches = matches
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads = 0
        self._underway = 0

    @property
    def idle(self) -> bool:
        """Whether a thread is free: what is submitted now begins now."""
        return self._underway < THREADS

    def submit(self, text: str, password: bytes, done: Callable[[_Answer], object]) -> None:
        """Call `done` in the running loop with whether `text` is the hash of `password`, or with what went wrong."""
        self._underway += 1

        def settled(answer: _Answer) -> None:
            self._underway -= 1
            done(answer)

        self._jobs.put((asyncio.get_running_loop(), text, password, settled))
        if self._threads < self._underway:
            threading.Thread(target=self._work, name="hasher", daemon=True).start()
            self._threads += 1

    def close(self) -> None:
        """Let the threads go when they have done what was submitted."""
        for _ in range(self._threads):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            loop, text, password, settled = job
            answer: _Answer
            try:
                answer = self._matches(text, password)
            except Exception as error:
                answer = error
            try:
                loop.call_soon_threadsafe(settled, answer)
            except RuntimeError:
                return  # the loop is closed: nobody waits any more


def _is_base64(text: str) -> bool:
    """Whether `text` is base64 without padding, as the library reads it: no bits left over."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        return False
    return base64.b64encode(data).decode().rstrip("=") == text
