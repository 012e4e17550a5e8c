"""Which routes a program uses that never changes between direct and proxy by itself. Sans-IO."""

from __future__ import annotations

from collections.abc import Sequence

from client.policies import RouteFacts


def scope(routes: Sequence[RouteFacts], *, by_proxy: bool) -> tuple[RouteFacts, ...]:
    """The routes through a proxy (`by_proxy`: the user has set one up), or those without; all when there are none of
    the kind, since then the others are what the user has. Never empty when `routes` is not."""
    return tuple(route for route in routes if route.proxied == by_proxy) or tuple(routes)
