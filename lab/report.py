"""The report: `report.html`, one file that works offline, and the table at the end of `sidedoor lab run`.

Both say the same from the same summary; the words are in `lab.measurement.words`, the pictures in
`lab.measurement.timeline`. bokeh (extra `report`) is imported only to write the HTML.
"""

from __future__ import annotations

import datetime
import io
import re
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from lab.measurement.distributions import MINIMUM_FOR_INTERVAL, Distribution
from lab.measurement.episodes import Block, Event
from lab.measurement.summary import Run, Summary
from lab.measurement.words import (
    block_sentence,
    count,
    duration,
    ending,
    fault_sentences,
    interval_words,
    median_words,
    run_sentence,
    typical_sentence,
    verdict,
)

# Metric -> what a person calls it, and what exactly it is.
_COLUMNS = {
    "ttd_seconds": ("noticed", "from the first packet that the censor hit until the client marks the path bad"),
    "tts_seconds": ("on proxy", "until the first message leaves on the new path"),
    "ttr_seconds": ("recovered", "until the receiver's confirmation of a message written after the hit is back"),
    "outage_seconds": ("silence", "the longest time in which the receiver was shown nothing new"),
    "failback_seconds": ("direct again", "from the lifting of the block until messages are confirmed directly"),
}


def terminal_table(summary: Summary) -> RenderableType:
    """The results for a terminal: a row for each block of each run, then sentences.

    Where the rows are wider than the terminal, each becomes a list.
    """
    sentences = [Text(line) for line in _sentences(summary)]
    title = Text(verdict(summary), style="bold")
    return Group(title, _Rows(list(_rows(summary))), *sentences) if summary.metrics else Group(title, *sentences)


_HEADINGS = ("run", "block", "blocked", *(name for name, _ in _COLUMNS.values()))


def _rows(summary: Summary) -> Iterator[tuple[str | None, list[str]]]:
    """(style, cells) of each row."""
    for number, run in enumerate(summary.runs, 1):
        for block in run.blocks:
            yield None if block.recovered else "red", [str(number), block.name, *_cells(block)]
    if len(summary.runs) > 1:
        for name, metrics in summary.metrics.items():
            yield "bold", ["median", name, "", *(duration(metrics[metric].p50) for metric in _COLUMNS)]


class _Rows:
    """Rows as a table if it fits, else below each other; no word is ever broken or left out."""

    def __init__(self, rows: list[tuple[str | None, list[str]]]) -> None:
        self._rows = rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = self._table()
        wide = options.update(width=1000)
        fits = Measurement.get(console, wide, table).maximum <= options.max_width
        yield table if fits else self._lists()

    def _table(self) -> Table:
        table = Table(header_style="bold", box=box.SIMPLE_HEAD)
        for name in _HEADINGS:  # headings of two words take two lines
            justify: Any = "left" if name == "block" else "right"
            table.add_column(name.replace(" ", "\n"), justify=justify, no_wrap=True)
        for number, (style, cells) in enumerate(self._rows):
            if cells[0] == "median" and self._rows[number - 1][1][0] != "median":
                table.add_section()
            table.add_row(*cells, style=style)
        return table

    def _lists(self) -> RenderableType:
        lines = []
        for style, (number, block, *cells) in self._rows:
            lines.append(Text(f"{number if number == 'median' else f'run {number}'}, {block}", style="bold"))
            for name, cell in zip(_HEADINGS[2:], cells, strict=True):
                if cell:
                    lines.append(Text(f"  {name:<12} {cell}", style=style or ""))
        return Group("", *lines, "")


def _cells(block: Block) -> Iterator[str]:
    yield "no hit" if block.t0 is None else f"{block.t0:.1f} s"
    for metric in _COLUMNS:
        value = getattr(block, metric)
        if metric == "ttr_seconds" and not block.recovered and block.censored_at_seconds is not None:
            yield f"> {duration(block.censored_at_seconds)}"
        else:
            yield duration(value)


def _sentences(summary: Summary) -> Iterator[str]:
    """One run: each block's story; several: the typical one, and what became of each run's messages."""
    if len(summary.runs) == 1:
        yield from (f"{block.name}: {block_sentence(block)}." for block in summary.runs[0].blocks)
    else:
        yield from (f"{name}, typically: {typical_sentence(metrics)}." for name, metrics in summary.metrics.items())
    for number, run in enumerate(summary.runs, 1):
        yield from (f"run {number}: {fault}." for fault in fault_sentences(run))
        yield f"run {number}: {run_sentence(run)}."
        yield from (f"run {number}: PROBLEM: {problem}." for problem in run.problems)


def picture(summary: Summary, path: Path, *, columns: int = 96) -> None:
    """What `terminal_table` shows, as an SVG that loads nothing from anywhere. Raises OSError."""
    console = Console(record=True, width=columns, file=io.StringIO())
    console.print(terminal_table(summary))
    svg = console.export_svg(title=f"sidedoor lab run {summary.scenario}")
    # rich's template fetches its font; any monospaced one will do.
    path.write_text(re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL), encoding="utf-8")


def write(summary: Summary, events: Sequence[Sequence[Event]], path: str | Path) -> None:
    """Write the report to `path`. `events`: those of each run, in the order of `summary.runs`. Raises OSError."""
    Path(path).write_text(html(summary, events), encoding="utf-8")


def html(summary: Summary, events: Sequence[Sequence[Event]]) -> str:
    """The report as one HTML document that loads nothing from anywhere."""
    from bokeh.embed import components
    from bokeh.resources import Resources

    from lab.measurement.timeline import block_figure, run_figure

    figures: dict[str, Any] = {}
    for number, (run, log) in enumerate(zip(summary.runs, events, strict=True), 1):
        figures[f"run{number}"] = run_figure(log, run.blocks, run.faults)
        for index, block in enumerate(run.blocks):
            if block.t0 is not None:
                figures[f"run{number}-{index}"] = block_figure(log, block, run.faults)
    script, places = components(figures) if figures else ("", {})
    body = [_head(summary), _metrics_table(summary)]
    body += [_run_section(number, run, places) for number, run in enumerate(summary.runs, 1)]
    return _PAGE.format(
        title=escape(f"Sidedoor: {summary.scenario}"),
        style=_STYLE,
        bokeh=Resources(mode="inline", components=["bokeh"]).render(),
        script=script,
        body="\n".join([*body, _GLOSSARY]),
    )


def _head(summary: Summary) -> str:
    facts = [f"scenario {summary.scenario}", f"runtime {summary.runtime}", f"seed {summary.seed}"]
    if summary.clock is not None:
        started = datetime.datetime.fromtimestamp(summary.clock.realtime, datetime.UTC)
        facts.append(f"{started:%Y-%m-%d %H:%M} UTC")
    cost = summary.cost
    notes = [
        f"{count(cost.connections_opened, 'connection')} opened",
        f"{count(cost.proxies_revealed, 'proxy').replace('proxys', 'proxies')} shown to the censor",
        f"{count(cost.false_switches, 'switch').replace('switchs', 'switches')} without a reason",
    ]
    looks = "'verdict problem'" if any(map(ending, summary.runs)) else "verdict"
    return (
        f"<header><h1>Sidedoor</h1><p class=facts>{escape(' · '.join(facts))}</p>"
        f"<p class={looks}>{escape(verdict(summary))}.</p><p>{escape(', '.join(notes))}.</p></header>"
    )


def _metrics_table(summary: Summary) -> str:
    if not summary.metrics:
        return ""
    heads = "".join(f"<th title='{escape(meaning)}'>{escape(name)}</th>" for name, meaning in _COLUMNS.values())
    rows = "".join(
        f"<tr><th>{escape(name)}</th>" + "".join(_metric_cell(metrics[metric]) for metric in _COLUMNS) + "</tr>"
        for name, metrics in summary.metrics.items()
    )
    grey = (
        f"In grey: from {MINIMUM_FOR_INTERVAL} runs on the 95 % bootstrap interval of the median, else the range. "
        if len(summary.runs) > 1
        else ""
    )
    return (
        f"<section><h2>{'The run' if len(summary.runs) == 1 else 'All runs: the median'}</h2><div class=wide><table>"
        f"<thead><tr><th>block</th>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
        f"<p class=small>{grey}All times but the last two count from the first packet that the censor hit.</p>"
        "</section>"
    )


def _metric_cell(distribution: Distribution) -> str:
    interval = interval_words(distribution)
    below = f"<div class=small>{escape(interval)}</div>" if interval else ""
    return f"<td>{escape(median_words(distribution))}{below}</td>"


def _run_section(number: int, run: Run, places: dict[str, str]) -> str:
    parts = [f"<section><h2>Run {number} <span class=small>seed {run.seed}</span></h2>"]
    ended, problems = ending(run), run.problems
    if ended and not any(problem.startswith(ended) for problem in problems):
        problems = [ended, *problems]
    parts += [f"<p class=problem>{escape(problem)}</p>" for problem in problems]
    lines = [f"<b>{escape(block.name)}</b>: {escape(block_sentence(block))}." for block in run.blocks]
    lines += [f"{escape(sentence)}." for sentence in (*fault_sentences(run), run_sentence(run))]
    parts.append("<ul>" + "".join(f"<li>{line}</li>" for line in lines) + "</ul>")
    if run.leaks.examples:
        parts.append("<p class=problem>Leaked: " + "<br>".join(map(escape, run.leaks.examples)) + "</p>")
    parts.append(f"<figure><figcaption>{_RUN_CAPTION}</figcaption>{places[f'run{number}']}</figure>")
    near = [
        f"<figure><figcaption><b>{escape(block.name)}, from close by.</b> {_BLOCK_CAPTION}</figcaption>"
        f"{places[f'run{number}-{index}']}</figure>"
        for index, block in enumerate(run.blocks)
        if block.t0 is not None
    ]
    return "".join([*parts, "<div class=near>", *near, "</div></section>"])


_RUN_CAPTION = (
    "<b>The whole run.</b> Each dot is a message: across, when its confirmation came back; upwards, how long that took "
    "since it was written (each step up is a multiple). The colour is the path that it was confirmed on."
)
_BLOCK_CAPTION = (
    "Each line is a message, from left, when it was written, to right, when its confirmation was back. Downwards they "
    "are numbered in the order in which they were written, from 1 at the start of the run."
)

_GLOSSARY = (
    "<section><h2>What the words mean</h2><dl>"
    + "".join(f"<dt>{escape(name)}</dt><dd>{escape(meaning)}</dd>" for name, meaning in _COLUMNS.values())
    + "<dt>lost, shown twice</dt><dd>messages that the receiver was never shown, or more than once</dd>"
    "<dt>bystander flow</dt><dd>a visit to an innocent web site from the same home network during the run</dd>"
    "<dt>leaked</dt><dd>packets to the messenger, or with its name, past the proxy after the switch</dd>"
    "</dl></section>"
)

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #2d3748; background: #f7fafc; margin: 0 auto; max-width: 1080px;
  padding: 24px; }
* { box-sizing: border-box; } h1 { margin: 0; font-size: 28px; } h2 { margin: 0 0 8px; font-size: 20px; }
header, section { background: #fff; border: 1px solid #e2e8f0; border-radius: 10px;
  padding: 20px 24px; margin: 0 0 20px; }
header p { margin: 6px 0 0; } .facts, .small, figcaption { color: #718096; font-size: 14px; font-weight: normal; }
.verdict { font-size: 20px; font-weight: 600; } .problem { color: #c53030; font-weight: 600; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left;
  padding: 8px 12px 8px 0; vertical-align: top; }
thead th { border-bottom: 2px solid #e2e8f0; } tbody tr + tr > * { border-top: 1px solid #edf2f7; }
td { font-variant-numeric: tabular-nums; } ul { margin: 0 0 12px; padding-left: 20px; }
figure { margin: 12px 0 0; min-width: 0; overflow-x: auto; } .wide { overflow-x: auto; } .near { display: grid;
  grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr)); gap: 24px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 20px; margin: 0; } dt { font-weight: 600; }
dd { margin: 0; }
@media (max-width: 640px) { body { padding: 8px; } header, section { padding: 14px 12px; } dl { display: block; }
  .verdict { font-size: 18px; } }
"""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>{style}</style>
{bokeh}
</head><body>
{body}
{script}
</body></html>
"""
