"""Each route that the lab has something for at its other end, alone in a scenario of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.test_scenarios import run, times

SCENARIO = """
name = "one-route"
description = "messages by one route"
idle_seconds = 1.0
routes = ["{route}"]
[expect]
lost = 0
duplicated_application = 0
messages_at_least = 20
leaks = 0
"""


@pytest.mark.netns
@pytest.mark.parametrize("route", ["alternate", "doh", "proxy1-http", "proxy2-tls", "bridge"])
def test_messages_by_one_route(route: str, tmp_path: Path) -> None:
    folder = tmp_path / "one-route"
    folder.mkdir()
    (folder / "scenario.toml").write_text(SCENARIO.format(route=route))
    _, events = run(folder, tmp_path / "run")
    (dialed,) = [event for event in events if event["event"] == "route_dialed"]
    assert dialed["route"] == route
    assert times(events, "message_acked", route=route)
    assert not times(events, "route_failed")
