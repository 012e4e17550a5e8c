"""The pictures: that what happened is in them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from bokeh.models import BoxAnnotation, Label, Legend, Span

from lab.measurement.episodes import Block, measure_blocks
from lab.measurement.summary import Killed
from lab.measurement.timeline import block_figure, colours, run_figure
from tests.unit.lab.measurement.story import CLIENT, run_events


@pytest.fixture
def blocks() -> list[Block]:
    return measure_blocks(run_events(), [CLIENT])


def labels(plot: Any) -> list[str]:
    return [item.label.value for legend in plot.select(Legend) for item in legend.items]  # one legend a plot


def notes(plot: Any) -> list[str]:
    return [label.text for label in plot.select(Label)]


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
    plot = block_figure(run_events(), blocks[0])
    assert labels(plot) == ["via the direct path", "via proxy1"]
    assert sorted(notes(plot)) == [
        "confirmed again, 0.52 s",
        "first message on the new path, 0.50 s",
        "first packet hit",
        "noticed, 0.45 s",
    ]


def test_moments_that_fall_together_can_all_be_read(blocks: list[Block]) -> None:
    block = msgspec.structs.replace(blocks[0], ttd_seconds=0.280, tts_seconds=0.281, ttr_seconds=0.282)
    plot = block_figure(run_events(), block)
    heights = sorted(label.y for label in plot.select(Label))
    assert len(set(heights)) == len(heights) == 4
    assert plot.y_range.end < heights[0], "above the messages, below the edge"
    widths = [span.line_width for span in sorted(plot.select(Span), key=lambda span: span.location)]
    assert widths[1:] == sorted(widths[1:], reverse=True), "none hides an earlier one"
    sides = {label.text_align for label in plot.select(Label)}
    assert sides == {"left"}
    late = block_figure(run_events(), msgspec.structs.replace(blocks[0], ttr_seconds=9.0))
    assert [label.text_align for label in late.select(Label) if label.text.startswith("confirmed")] == ["right"]


def test_a_fault_is_marked_where_it_is_seen(blocks: list[Block]) -> None:
    faults = [Killed(role="proxy1", at_seconds=8.3), Killed(role="web", at_seconds=30.0)]
    run = run_figure(run_events(), blocks, faults)
    sides = {label.text: label.text_align for label in run.select(Label)}
    assert (sides["proxy1 killed"], sides["web killed"]) == ("left", "right")
    assert {8.3, 30.0} <= {span.location for span in run.select(Span)}
    near = notes(block_figure(run_events(), blocks[0], faults))
    assert "proxy1 killed, as planned" in near
    assert not any("web" in note for note in near)


def test_messages_that_were_never_confirmed_are_shown_as_such() -> None:
    events = [e for e in run_events() if not (e["event"] == "message_acked" and e["t"] > 8.0)]
    block = Block(name="domain", t0=8.002, censored_at_seconds=8.0)
    plot = block_figure(events, block)
    assert "never confirmed" in labels(plot)
    assert notes(plot) == ["first packet hit"]


def test_a_block_without_messages_can_be_drawn() -> None:
    assert notes(block_figure([], Block(name="domain", t0=1.0))) == ["first packet hit"]
