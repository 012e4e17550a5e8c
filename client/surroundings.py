"""The sender's surroundings: which network it is on, and what is remembered of it. The driver of `client.memory`."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection
from pathlib import Path

from client import private_file
from client.memory import SALT_BYTES, Memory
from client.network import changed
from client.network_reader import ChangeAlarm, read_network
from client.policies import Recollection
from sidedoor.events import Emit

SAVE_SECONDS = 5.0
"""The file is written at most so often; who is killed loses that much of what is only a help."""


class Surroundings:
    """Without a `memory_file`, what is remembered ends with this process. Raises SettingsError for a file in a folder
    that is not there; a file that cannot be used is reported (event `memory_unreadable`) and begun anew."""

    def __init__(self, memory_file: str | None, poll_seconds: float, emit: Emit) -> None:
        self._file = memory_file
        self._poll_seconds = poll_seconds
        self._emit = emit
        self._memory = self._load()
        self._network = read_network()
        self._memory.enter(self._network, time.time())
        self._saved_at = -SAVE_SECONDS
        self._trouble = ""

    def recollection(self, routes: Collection[str]) -> Recollection:
        """What is remembered of these routes on this network."""
        known = self._memory.recollection(time.time())
        return Recollection(
            {name: rtt for name, rtt in known.rtt_seconds.items() if name in routes}, known.failed & frozenset(routes)
        )

    def remember(self, route: str, rtt_seconds: float | None) -> None:
        """As `client.policies.Remember` has it."""
        self._memory.remember(route, rtt_seconds, time.time())

    def diagnosed(self, route: str, kind: str, confidence: float) -> None:
        """As `client.policies.Diagnosed` has it."""
        self._memory.diagnosed(route, kind, confidence, time.time())

    async def watch(self, network_changed: Callable[[], None]) -> None:
        """Call `network_changed` each time this host comes to another network, and keep the file up to date; until
        cancelled."""
        alarm = ChangeAlarm()
        try:
            while True:
                self._look(network_changed)
                self._save_if_due()
                await alarm.wait(self._poll_seconds)
        finally:
            alarm.close()
            self._save()

    def _look(self, network_changed: Callable[[], None]) -> None:
        found = read_network()
        if found == self._network:
            return
        before, self._network = self._network, found
        another = self._memory.enter(found, time.time())
        if found is not None and (another or changed(before, found)):
            self._emit("network_changed", remembered=self._remembered())
            network_changed()

    def _remembered(self) -> bool:
        known = self._memory.recollection(time.time())
        return bool(known.rtt_seconds or known.failed)

    def _save_if_due(self) -> None:
        if time.monotonic() - self._saved_at >= SAVE_SECONDS:
            self._save()

    def _save(self) -> None:
        if self._file is None or not self._memory.changed:
            return
        self._saved_at = time.monotonic()
        try:
            private_file.replace(self._file, self._memory.dumps(time.time()))
        except OSError as error:
            self._memory.changed = True
            if str(error.strerror) != self._trouble:
                self._trouble = str(error.strerror)
                self._emit("memory_unwritable", file=self._file, detail=self._trouble)

    def _load(self) -> Memory:
        if self._file is None:
            return Memory.new(secrets.token_bytes(SALT_BYTES))
        private_file.check_folder(self._file, "memory_file")
        try:
            return Memory.loads(Path(self._file).read_bytes())
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            self._emit("memory_unreadable", file=self._file, detail=str(error))
        return Memory.new(secrets.token_bytes(SALT_BYTES))
