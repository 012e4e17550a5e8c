"""The results as a picture: one HTML file that loads nothing from anywhere. bokeh (extra `report`) is imported late.

A panel for each block type, warm and cold: the share of a policy's runs that have recovered by a time (the
Kaplan-Meier estimate), time on a log scale. A curve that ends below 1 in a triangle: the others never recovered in the
time that they were watched, which ends there.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from lab.benchmarks.fallback.arms import BASELINES, NO_SPARE, OURS, RACE
from lab.benchmarks.fallback.results import Cell, Results, split
from lab.benchmarks.fallback.table import headline
from lab.measurement.distributions import steps

_COLOURS = dict(
    zip(
        (OURS, *BASELINES, NO_SPARE, RACE),
        ("#dd6b20", "#2b6cb0", "#2f855a", "#805ad5", "#b83280", "#718096", "#319795", "#9c4221", "#d69e2e"),
        strict=True,
    )
)
_LEAST_SECONDS = 0.05
_PAGE = """\
<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Sidedoor: fallback times</title>
<style>body {{ font: 16px sans-serif; margin: 2em; color: #2d3748 }} .row {{ display: flex; flex-wrap: wrap }}</style>
{bokeh}
</head>
<body>
<h1>Share of runs that have recovered, by seconds since the first packet that was hit</h1>
<p>{subtitle}. A triangle: not recovered in the time watched.</p>
<div class="row">{figures}</div>
{script}
</body>
</html>
"""


def html(results: Results) -> str:
    """The whole document."""
    from bokeh.embed import components
    from bokeh.resources import Resources

    figures = {str(number): _figure(title, cells) for number, (title, cells) in enumerate(panels(results))}
    script, places = components(figures) if figures else ("", {})
    return _PAGE.format(
        bokeh=Resources(mode="inline", components=["bokeh"]).render(),
        subtitle=escape(headline(results)),
        figures="\n".join(places.values()),
        script=script,
    )


def panels(results: Results) -> list[tuple[str, list[Cell]]]:
    """Title and cells of each panel: the same block, warm or cold, RTT and loss."""
    found: dict[str, list[Cell]] = {}
    for cell in results.cells:
        key = cell.key
        if cell.runs and not key.killed:
            title = f"{key.block}, {'warm' if key.warm else 'cold'}, {key.rtt_ms} ms, loss {100 * key.loss:g} %"
            found.setdefault(title, []).append(cell)
    return list(found.items())


def curve(cell: Cell) -> tuple[list[float], list[float], float | None]:
    """(seconds, shares) of the steps, from 0 on, and until when the last was watched if not all have recovered."""
    observed, censored = split(cell.runs, "ttr_seconds")
    seconds, shares = steps(observed, censored)
    end = max(censored) if censored and shares[-1:] != [1.0] else None
    seconds, shares = [_LEAST_SECONDS, *seconds], [0.0, *shares]
    if end is not None:
        seconds, shares = [*seconds, max(end, seconds[-1])], [*shares, shares[-1]]
    return seconds, shares, end


def _figure(title: str, cells: Sequence[Cell]) -> Any:
    from bokeh.models import Range1d
    from bokeh.plotting import figure

    plot = figure(
        x_axis_type="log",
        x_range=Range1d(_LEAST_SECONDS, 90),
        y_range=Range1d(0, 1.05),
        height=280,
        width=560,
        title=title,
        tools="save,reset,xwheel_zoom,xpan",
    )
    for cell in cells:
        seconds, shares, end = curve(cell)
        style = {"color": _COLOURS.get(cell.key.policy, "#4a5568"), "legend_label": cell.key.policy}
        plot.step(seconds, shares, mode="after", line_width=2, **style)
        if end is not None:
            plot.scatter([seconds[-1]], [shares[-1]], marker="triangle", size=9, **style)
    plot.legend.click_policy = "hide"
    plot.legend.label_text_font_size = "8pt"
    plot.add_layout(plot.legend[0], "right")
    return plot
