"""The results as a picture: one HTML file that loads nothing from anywhere. bokeh (extra `report`) is imported late."""

from __future__ import annotations

from html import escape
from typing import Any

from lab.benchmarks.results import Results
from lab.benchmarks.table import SECTIONS, Column, Section, headline

_COLOURS = (
    "#dd6b20",
    "#2b6cb0",
    "#2f855a",
    "#805ad5",
    "#b83280",
    "#718096",
    "#d69e2e",
    "#319795",
    "#9c4221",
    "#4a5568",
)
_PAGE = """\
<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Sidedoor: relays compared</title>
<style>body {{ font: 16px sans-serif; margin: 2em; color: #2d3748 }}</style>
{bokeh}
</head>
<body>
<h1>Relays compared</h1>
<p>{subtitle}. Bars are medians, dots the rounds.</p>
{figures}
{script}
</body>
</html>
"""


def html(results: Results) -> str:
    """The whole document."""
    from bokeh.embed import components
    from bokeh.resources import Resources

    figures: dict[str, Any] = {}
    for section in SECTIONS:
        for title, columns in _panels(section, results):
            figures[str(len(figures))] = _figure(title, columns, results)
    script, places = components(figures) if figures else ("", {})
    return _PAGE.format(
        bokeh=Resources(mode="inline", components=["bokeh"]).render(),
        subtitle=escape(headline(results)),
        figures="\n".join(places.values()),
        script=script,
    )


def _panels(section: Section, results: Results) -> list[tuple[str, list[Column]]]:
    """The section's columns that somebody has a value in, by metric: bars of one unit stand side by side."""
    panels: dict[str, list[Column]] = {}
    for column in section.columns:
        if any(results.values(peer.name, column.workload, column.metric) for peer in results.peers):
            panels.setdefault(column.metric, []).append(column)
    if len(panels) < 2:
        return [(section.title, columns) for columns in panels.values()]
    titles = {metric: f"{section.title}: {metric.replace('_', ' ')}" for metric in panels}
    return [(titles[metric], columns) for metric, columns in panels.items()]


def _figure(title: str, columns: list[Column], results: Results) -> Any:
    from bokeh.models import ColumnDataSource, FactorRange, HoverTool
    from bokeh.plotting import figure
    from bokeh.transform import dodge

    headings = [column.workload for column in columns]
    plot = figure(
        x_range=FactorRange(*headings),
        height=320,
        width=1100,
        title=title,
        toolbar_location="above",
        tools="save,reset",
    )
    shown = [peer for peer in results.peers if any(results.values(peer.name, c.workload, c.metric) for c in columns)]
    for index, peer in enumerate(results.peers):
        if peer not in shown:
            continue
        place = (shown.index(peer) + 0.5) / len(shown) * 0.8 - 0.4
        colour = _COLOURS[index % len(_COLOURS)]
        medians = [results.median(peer.name, column.workload, column.metric) for column in columns]
        source = ColumnDataSource(
            {"workload": headings, "median": medians, "peer": [peer.name] * len(headings)},
        )
        bars = plot.vbar(
            x=dodge("workload", place, range=plot.x_range),
            top="median",
            width=0.75 / len(shown),
            source=source,
            color=colour,
            legend_label=peer.name,
        )
        plot.add_tools(HoverTool(renderers=[bars], tooltips=[("", "@peer, @workload"), ("median", "@median{0,0.000}")]))
        rounds = [
            (column.workload, value)
            for column in columns
            for value in results.values(peer.name, column.workload, column.metric)
        ]
        points = ColumnDataSource({"workload": [name for name, _ in rounds], "value": [value for _, value in rounds]})
        plot.scatter(
            x=dodge("workload", place, range=plot.x_range), y="value", source=points, size=3, color="#1a202c", alpha=0.5
        )
    plot.y_range.start = 0
    plot.add_layout(plot.legend[0], "right")
    plot.legend.click_policy = "hide"
    return plot
