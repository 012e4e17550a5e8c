"""A run as pictures (bokeh): the whole time line, and each block from close by. Import it lazily."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bokeh.models import (
    BoxAnnotation,
    ColumnDataSource,
    FixedTicker,
    HoverTool,
    Label,
    NumeralTickFormatter,
    Range1d,
    Span,
)
from bokeh.plotting import figure

from lab.measurement.episodes import Block, Event, blocked_intervals
from lab.measurement.summary import Killed
from lab.measurement.words import duration

_DIRECT, _PROXIES = "#2b6cb0", ("#dd6b20", "#2f855a", "#805ad5", "#b83280")
_BLOCK, _INK, _FAINT = "#e53e3e", "#2d3748", "#a0aec0"
# In order of time, the earlier the wider: where two fall together, the wider one is seen behind the other.
_MARKS = (
    ("first packet hit", "t0", _BLOCK, 2),
    ("noticed", "ttd_seconds", "#d69e2e", 7),
    ("first message on the new path", "tts_seconds", "#805ad5", 3),
    ("confirmed again", "ttr_seconds", "#2f855a", 1.5),
)
_LABELS_SHARE = 0.45  # of the messages' height is kept free above them for the marks' labels, a line each
_LEAD_SECONDS, _SHORTEST_SECONDS = 0.4, 1.0


def colours(events: Sequence[Event]) -> dict[str, str]:
    """route -> colour: direct blue, the proxies in the order of their names."""
    routes = {str(event["route"]) for event in events if event["event"] in ("message_sent", "message_acked")}
    proxies = sorted(routes - {"direct"})
    return {"direct": _DIRECT} | {name: _PROXIES[i % len(_PROXIES)] for i, name in enumerate(proxies)}


def run_figure(events: Sequence[Event], blocks: Sequence[Block], faults: Sequence[Killed] = ()) -> Any:
    """The whole run: each message's time from queue to confirmation, blocks as bands, broken bystanders and faults."""
    plot = _figure(
        height=360,
        x_title="seconds since the start of the run",
        y_title="message confirmed after (ms)",
        y_axis_type="log",
    )
    acks = [event for event in events if event["event"] == "message_acked"]
    milliseconds = [event["latency_seconds"] * 1000 for event in acks] or [1.0, 1000.0]
    top = max(milliseconds)
    plot.y_range = Range1d(max(0.1, min(milliseconds)) / 2, top * 5)
    plot.yaxis.ticker = FixedTicker(ticks=[step * 10**power for power in range(-1, 6) for step in (1, 2, 5)])
    plot.yaxis.formatter = NumeralTickFormatter(format="0[.]0")
    for route, colour in colours(events).items():
        mine = [event for event in acks if event["route"] == route]
        source = ColumnDataSource(
            {
                "t": [event["t"] for event in mine],
                "ms": [event["latency_seconds"] * 1000 for event in mine],
                "id": [event["id"] for event in mine],
            }
        )
        dots = plot.scatter("t", "ms", source=source, size=5, color=colour, alpha=0.75, legend_label=_path(route))
        tip = [("message", "@id"), ("path", _path(route)), ("confirmed after", "@ms{0.0} ms"), ("at", "@t{0.000} s")]
        plot.add_tools(HoverTool(renderers=[dots], tooltips=tip))
    _bystanders(plot, events, y=top * 1.7)
    for name, start, end in blocked_intervals(events):
        plot.add_layout(BoxAnnotation(left=start, right=end, fill_color=_BLOCK, fill_alpha=0.08, level="underlay"))
        plot.add_layout(Label(x=start, y=top * 2.6, x_offset=5, text=f"{name} blocked", text_color=_BLOCK, **_SMALL))
    for block in blocks:
        if block.t0 is not None:
            plot.add_layout(Span(location=block.t0, dimension="height", line_color=_BLOCK, line_width=1.5))
    for fault in faults:
        plot.add_layout(_fault_span(fault.at_seconds))
        left = fault.at_seconds <= 0.7 * float(events[-1]["t"])  # else it would run out of the picture
        side = {"text_align": "left", "x_offset": 5} if left else {"text_align": "right", "x_offset": -5}
        words = f"{fault.role} killed"
        plot.add_layout(Label(x=fault.at_seconds, y=top * 1.1, text=words, text_color=_INK, **side, **_SMALL))
    _finish(plot)
    plot.legend.click_policy = "hide"
    return plot


def block_figure(events: Sequence[Event], block: Block, faults: Sequence[Killed] = ()) -> Any:
    """One block from close by: a line for each message, from queued to confirmed, and the moments that are measured."""
    assert block.t0 is not None
    last = max(block.ttd_seconds or 0.0, block.tts_seconds or 0.0, block.ttr_seconds or 0.0, _SHORTEST_SECONDS)
    start, end = block.t0 - _LEAD_SECONDS, block.t0 + last * 1.3
    plot = _figure(height=460, x_title="seconds since the first packet hit", y_title="message number")
    plot.x_range = Range1d(start - block.t0, end - block.t0)
    queued = {event["id"]: event["t"] for event in events if event["event"] == "message_queued"}
    acked = {event["id"]: event for event in events if event["event"] == "message_acked"}
    shown = [id_ for id_, t in queued.items() if t <= end and (id_ not in acked or acked[id_]["t"] >= start)]
    for route, colour in colours(events).items():
        mine = [id_ for id_ in shown if id_ in acked and acked[id_]["route"] == route]
        if mine:
            begins = [queued[id_] - block.t0 for id_ in mine]
            ends = [acked[id_]["t"] - block.t0 for id_ in mine]
            plot.segment(begins, mine, ends, mine, color=colour, line_width=3, legend_label=f"via {_path(route)}")
            plot.scatter(ends, mine, color=colour, size=6)
    never = [id_ for id_ in shown if id_ not in acked]
    if never:
        begins = [queued[id_] - block.t0 for id_ in never]
        ends = [end - block.t0] * len(never)
        plot.segment(begins, never, ends, never, color=_FAINT, line_width=2, legend_label="never confirmed")
    marks = [
        (text if field == "t0" else f"{text}, {duration(value)}", value, colour, width)
        for text, field, colour, width in _MARKS
        if (value := 0.0 if field == "t0" else getattr(block, field)) is not None
    ]
    for _, value, colour, width in marks:
        plot.add_layout(Span(location=value, dimension="height", line_color=colour, line_width=width))
    for fault in faults:
        if start <= fault.at_seconds <= end:
            value = fault.at_seconds - block.t0
            plot.add_layout(_fault_span(value))
            marks.append((f"{fault.role} killed, as planned", value, _INK, 2))
    _label(plot, marks, min(shown, default=0), max(shown, default=1), middle=(start + end) / 2 - block.t0)
    _finish(plot)
    return plot


def _label(plot: Any, marks: Sequence[tuple[str, float, str, float]], first: int, last: int, *, middle: float) -> None:
    """Above the messages `first` to `last`, a line for each of `marks`, so that those of one moment can be read."""
    line = (last - first + 2) * _LABELS_SHARE / max(1, len(marks))
    plot.y_range = Range1d(last + 1, first - 1 - line * (len(marks) + 1))
    for number, (text, value, colour, _) in enumerate(marks):
        left = value <= middle
        plot.add_layout(
            Label(
                x=value,
                y=first - 1 - line * (len(marks) - number),
                x_offset=7 if left else -7,
                text=text,
                text_color=colour,
                text_align="left" if left else "right",
                background_fill_color="white",
                background_fill_alpha=0.8,
                **_SMALL,
            )
        )


def _fault_span(at: float) -> Span:
    return Span(location=at, dimension="height", line_color=_INK, line_width=2, line_dash="dotted")


_SMALL = {"text_font_size": "12px"}


def _path(route: str) -> str:
    return "the direct path" if route == "direct" else route


def _bystanders(plot: Any, events: Sequence[Event], y: float) -> None:
    """Bystanders' broken flows as crosses in a row at `y`."""
    broken = [event for event in events if event["event"] == "bystander_flow" and not event["ok"]]
    if not broken:
        return
    source = ColumnDataSource(
        {
            "t": [event["t"] for event in broken],
            "y": [y] * len(broken),
            "site": [event["site"] for event in broken],
            "failure": [event["failure"] for event in broken],
        }
    )
    crosses = plot.scatter(
        "t", "y", source=source, marker="x", size=9, line_width=2, color=_INK, legend_label="bystander's flow broken"
    )
    plot.add_tools(HoverTool(renderers=[crosses], tooltips=[("bystander", "@site"), ("failure", "@failure")]))


def _figure(*, height: int, x_title: str, y_title: str, y_axis_type: str = "linear") -> Any:
    plot = figure(
        height=height,
        sizing_mode="stretch_width",
        y_axis_type=y_axis_type,
        tools="xpan,xwheel_zoom,box_zoom,reset,save",
        toolbar_location="above",
    )
    plot.xaxis.axis_label, plot.yaxis.axis_label = x_title, y_title
    for axis in (plot.xaxis, plot.yaxis):
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_font_size = "13px"
        axis.major_label_text_font_size = "12px"
        axis.axis_line_color = axis.major_tick_line_color = _FAINT
        axis.minor_tick_line_color = None
    plot.grid.grid_line_color = "#edf2f7"
    plot.outline_line_color = None
    plot.toolbar.logo = None
    plot.toolbar.autohide = True
    return plot


def _finish(plot: Any) -> None:
    """What can be set only after the last glyph: the legend's looks, and its place, where it hides nothing."""
    for legend in list(plot.legend):
        plot.add_layout(legend, "below")
        legend.ncols = 2
        legend.label_text_font_size = "12px"
        legend.background_fill_alpha = 0.85
        legend.border_line_color = None
        legend.padding, legend.spacing = 6, 8
