"""The sender's routes: those of its settings, then those of the signed list, as long as that is what is known."""

from __future__ import annotations

from datetime import UTC, datetime

from client.list_keeper import ListKeeper
from client.messages import ProxyListWanted
from client.policies import RouteFacts
from client.routes import Route
from client.routes.catalogue import make_routes
from client.routes.settings import RouteSettings
from client.settings import SenderSettings
from sidedoor.events import Emit
from sidedoor.settings import SettingsError


class RouteTable:
    """Of two routes with one name the settings' own is used. Raises SettingsError for what is wrong with the settings;
    a route of the list that cannot be used here is left out (event `route_unusable`)."""

    def __init__(self, settings: SenderSettings, emit: Emit) -> None:
        self._settings = settings
        self._emit = emit
        self._list = None
        if settings.proxy_list is not None:
            self._list = ListKeeper(settings.proxy_list, settings.name, emit, datetime.now(UTC))
        self._made = make_routes(settings, settings.routes)
        self._build()

    def __getitem__(self, name: str) -> Route:
        """The newest of this name, also if it is in no list any more: a policy may still be about to dial it."""
        return self._made[name]

    @property
    def facts(self) -> tuple[RouteFacts, ...]:
        """What a policy may know, in order of preference."""
        return tuple(RouteFacts(route.name, route.proxied, route.evades) for route in self._known)

    @property
    def names(self) -> frozenset[str]:
        """Of the routes that there are now."""
        return frozenset(route.name for route in self._known)

    @property
    def question(self) -> ProxyListWanted | None:
        """What to ask the origin; None: the settings name no list."""
        return None if self._list is None else ProxyListWanted(self._list.version)

    def offered(self, document: bytes) -> bool:
        """The origin's answer; whether the routes are others now."""
        if self._list is None or not self._list.offered(document, datetime.now(UTC)):
            return False
        self._build()
        return True

    def _build(self) -> None:
        self._known: tuple[RouteSettings, ...] = self._settings.routes
        own = self.names
        for route in () if self._list is None else self._list.routes:
            if route.name not in own:
                self._add(route)

    def _add(self, route: RouteSettings) -> None:
        try:
            self._made |= make_routes(self._settings, (route,))
        except SettingsError as error:
            self._emit("route_unusable", route=route.name, detail=str(error))
            return
        self._known = (*self._known, route)
