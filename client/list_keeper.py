"""The sender's side of the proxy list: the newest one that is right, in memory and in a file."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from client import private_file
from client.proxy_list import ListError, Listing, personal, verified
from client.routes.settings import RouteSettings
from client.settings import ProxyListSettings
from sidedoor.events import Emit


class ListKeeper:
    """The list of the sender called `name`, at first the one in the file. `now`: UTC. Raises SettingsError for a file
    in a folder that is not there.

    A list from the file that has expired is used all the same (and reported): it was good when it came, and without it
    a client that was away for long has no way to a newer one. Only what comes from the network must not have expired.
    """

    def __init__(self, settings: ProxyListSettings, name: str, emit: Emit, now: datetime) -> None:
        self._settings = settings
        self._public_key = bytes.fromhex(settings.public_key)
        self._name = name
        self._emit = emit
        self._listing: Listing | None = None
        private_file.check_folder(settings.file, "proxy_list")
        self._load(now)

    @property
    def version(self) -> int:
        """The version of the newest list known; 0: none is."""
        return 0 if self._listing is None else self._listing.header.version

    @property
    def routes(self) -> tuple[RouteSettings, ...]:
        """Those of the list that this sender uses."""
        listed = () if self._listing is None else self._listing.routes
        return personal(listed, self._name, self._settings.most_proxies)

    def offered(self, document: bytes, now: datetime) -> bool:
        """The origin's answer; whether it was a newer list, which is kept from now on. Never raises for a bad one."""
        if not document:
            return False
        try:
            listing = verified(document, self._public_key)
            listing.check_age(now, self.version)
        except ListError as error:
            self._emit("proxy_list_refused", reason=error.reason, detail=str(error))
            return False
        if listing.header.version == self.version:
            return False  # Perhaps another part of it: one client sees one part of each version.
        self._listing = listing
        self._emit("proxy_list_updated", version=self.version, routes=[route.name for route in self.routes])
        try:
            private_file.replace(self._settings.file, document + b"\n")
        except OSError as error:
            self._emit("proxy_list_unwritable", file=self._settings.file, detail=str(error.strerror))
        return True

    def _load(self, now: datetime) -> None:
        try:
            listing = verified(Path(self._settings.file).read_bytes(), self._public_key)
        except FileNotFoundError:
            return
        except OSError as error:
            self._emit("proxy_list_refused", reason="unreadable", detail=f"{self._settings.file}: {error.strerror}")
            return
        except ListError as error:
            self._emit("proxy_list_refused", reason=error.reason, detail=f"{self._settings.file}: {error}")
            return
        self._listing = listing
        try:
            listing.check_age(now, 0)
        except ListError as error:
            self._emit("proxy_list_expired", version=self.version, detail=str(error))
