"""From settings to routes: the one place that knows all kinds."""

from __future__ import annotations

from client.routes import Route
from client.routes.connection import tls_context
from client.routes.direct import Direct
from client.routes.resolver import Resolver
from client.routes.socks5 import Socks5
from client.settings import DirectRoute, EndSettings, RouteSettings, Socks5Route


def make_routes(settings: EndSettings, routes: tuple[RouteSettings, ...]) -> dict[str, Route]:
    """The routes by name, in the order given. Raises SettingsError (`tls_context`, `Resolver`)."""
    context = tls_context(settings)
    resolver = Resolver(settings.resolver)
    made: dict[str, Route] = {}
    for route in routes:
        match route:
            case DirectRoute():
                made[route.name] = Direct(settings.origin, context, resolver, settings.dial)
            case Socks5Route():
                made[route.name] = Socks5(route, settings.origin, context, resolver, settings.dial)
    return made
