"""From settings to routes: the one place that knows all kinds."""

from __future__ import annotations

from collections.abc import Sequence

from client.routes import Route
from client.routes.alternate import Alternate
from client.routes.connection import DialContext, tls_context
from client.routes.direct import Direct
from client.routes.doh import Doh
from client.routes.http_connect import HttpConnect
from client.routes.obfuscated import Obfuscated
from client.routes.resolver import Resolver
from client.routes.settings import (
    AlternateRoute,
    DirectRoute,
    DohRoute,
    HttpConnectRoute,
    ObfuscatedRoute,
    RouteSettings,
    Socks5Route,
    Socks5TlsRoute,
    TcpSegmentRoute,
    TlsFragmentRoute,
)
from client.routes.socks5 import Socks5
from client.routes.socks5_tls import Socks5Tls
from client.routes.tcp_segment import TcpSegment
from client.routes.tls_fragment import TlsFragment
from client.settings import EndSettings


def make_routes(settings: EndSettings, routes: Sequence[RouteSettings]) -> dict[str, Route]:
    """The routes by name, in the order given. Raises SettingsError (`tls_context`, `Resolver`)."""
    dial = DialContext(settings, tls_context(settings), Resolver(settings.resolver))
    return {route.name: _make(route, dial) for route in routes}


def _make(route: RouteSettings, dial: DialContext) -> Route:
    match route:
        case DirectRoute():
            return Direct(dial)
        case AlternateRoute():
            return Alternate(route, dial)
        case DohRoute():
            return Doh(route, dial)
        case Socks5Route():
            return Socks5(route, dial)
        case Socks5TlsRoute():
            return Socks5Tls(route, dial)
        case HttpConnectRoute():
            return HttpConnect(route, dial)
        case TlsFragmentRoute():
            return TlsFragment(route, dial)
        case TcpSegmentRoute():
            return TcpSegment(route, dial)
        case ObfuscatedRoute():
            return Obfuscated(route, dial)
