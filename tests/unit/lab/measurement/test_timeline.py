"""The pictures: that what happened is in them."""

from __future__ import annotations

from typing import Any

import pytest
from bokeh.models import BoxAnnotation, Legend, Span

from lab.measurement.episodes import Block, measure_blocks
from lab.measurement.timeline import block_figure, colours, run_figure
from tests.unit.lab.measurement.story import CLIENT, run_events


@pytest.fixture
def blocks() -> list[Block]:
    return measure_blocks(run_events(), [CLIENT])


def labels(plot: Any) -> list[str]:
    return [item.label.value for legend in plot.select(Legend) for item in legend.items]  # one legend a plot


def test_direct_and_each_proxy_have_colours_of_their_own() -> None:
    events = [{"event": "message_sent", "route": route} for route in ("proxy2", "direct", "proxy1")]
    found = colours(events)
    assert list(found) == ["direct", "proxy1", "proxy2"]
    assert len(set(found.values())) == 3


def test_the_run_shows_paths_blocks_and_broken_bystanders(blocks: list[Block]) -> None:
    plot = run_figure(run_events(), blocks)
    assert labels(plot) == ["the direct path", "proxy1", "bystander's flow broken"]
    bands = {(band.left, band.right) for band in plot.center if isinstance(band, BoxAnnotation)}
    assert bands == {(7.998, 16.0), (23.998, 32.0)}
    assert sorted(span.location for span in plot.select(Span)) == [8.002, 24.002]


def test_a_run_in_which_nothing_was_confirmed_can_be_drawn() -> None:
    events = [event for event in run_events() if event["event"] not in ("message_acked", "bystander_flow")]
    assert labels(run_figure(events, [Block(name="domain")])) == ["the direct path", "proxy1"]


def test_a_block_from_close_by_names_its_moments(blocks: list[Block]) -> None:
    found = labels(block_figure(run_events(), blocks[0]))
    assert found == [
        "via the direct path",
        "via proxy1",
        "first packet hit",
        "noticed, 448 ms",
        "first message on the new path, 498 ms",
        "confirmed again, 518 ms",
    ]


def test_messages_that_were_never_confirmed_are_shown_as_such() -> None:
    events = [e for e in run_events() if not (e["event"] == "message_acked" and e["t"] > 8.0)]
    block = Block(name="domain", t0=8.002, censored_at_seconds=8.0)
    found = labels(block_figure(events, block))
    assert "never confirmed" in found
    assert "noticed, 448 ms" not in found


def test_a_block_without_messages_can_be_drawn() -> None:
    assert labels(block_figure([], Block(name="domain", t0=1.0))) == ["first packet hit"]
