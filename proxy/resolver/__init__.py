"""Names to addresses.

- `lookup`: what every resolver does, and what turns answers into it; `open_resolver` picks one by the settings;
- `system`: the system's getaddrinfo, on threads;
- `servers`: DNS servers of our choice, UDP and TCP; `https`: DNS over HTTPS (RFC 8484);
- `caching`: remembers the answers of those two, and asks once for all who want the same; `cache`: its memory, sans-IO;
- `names`: which names are asked for at all, sans-IO; `messages`: the DNS messages, sans-IO; `answers`: what they say.

The libraries for DNS and HTTPS are loaded when the settings want them: that takes longer than all the rest.
"""

from __future__ import annotations

import time

from proxy.resolver.lookup import Resolver, SocketAddress, Source
from proxy.resolver.system import SystemResolver
from proxy.settings import ResolverSettings

__all__ = ["Resolver", "SocketAddress", "SystemResolver", "open_resolver"]


def open_resolver(settings: ResolverSettings) -> Resolver:
    """The resolver that `settings` ask for. Raises SettingsError where its file of authorities cannot be used."""
    if settings.kind == "system":
        return SystemResolver()
    from proxy.resolver.caching import CachingResolver

    source: Source
    if settings.kind == "dns":
        from proxy.resolver.servers import DnsResolver

        source = DnsResolver(settings)
    else:
        from proxy.resolver.https import DohResolver

        source = DohResolver(settings)
    return CachingResolver(
        source, settings.cache_names, settings.ttl_least_seconds, settings.ttl_most_seconds, time.monotonic
    )
