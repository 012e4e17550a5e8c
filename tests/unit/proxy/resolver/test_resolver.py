from pathlib import Path

import pytest

from proxy.resolver import SystemResolver, open_resolver
from proxy.resolver.caching import CachingResolver
from proxy.settings import ResolverSettings
from sidedoor.settings import SettingsError


def test_the_kinds() -> None:
    kinds = [
        ResolverSettings(),
        ResolverSettings(kind="dns", servers=("192.0.2.53", "[2001:db8::53]:5353")),
        ResolverSettings(kind="doh", url="https://dns.example/dns-query"),
    ]
    resolvers = [open_resolver(settings) for settings in kinds]
    assert [type(resolver) for resolver in resolvers] == [SystemResolver, CachingResolver, CachingResolver]
    for resolver in resolvers:
        resolver.close()


@pytest.mark.parametrize("text", [None, "no certificate"])
def test_authorities_that_cannot_be_used(text: str | None, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    if text is not None:
        ca.write_text(text)
    with pytest.raises(SettingsError, match=r"resolver\.ca: .*ca\.pem"):
        open_resolver(ResolverSettings(kind="doh", url="https://dns.example/", ca=str(ca)))
