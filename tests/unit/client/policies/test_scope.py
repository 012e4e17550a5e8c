from __future__ import annotations

import pytest

from client.policies import RouteFacts
from client.policies.scope import scope

DIRECT, DOH = RouteFacts("direct", proxied=False), RouteFacts("doh", proxied=False)
PROXY = RouteFacts("proxy", proxied=True)


@pytest.mark.parametrize(
    ("routes", "by_proxy", "used"),
    [
        ([DIRECT, PROXY, DOH], False, (DIRECT, DOH)),
        ([DIRECT, PROXY, DOH], True, (PROXY,)),
        ([PROXY], False, (PROXY,)),
        ([DIRECT, DOH], True, (DIRECT, DOH)),
    ],
)
def test_scope(routes: list[RouteFacts], by_proxy: bool, used: tuple[RouteFacts, ...]) -> None:
    assert scope(routes, by_proxy=by_proxy) == used
