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
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from lab.measurement.distributions import Distribution
from lab.measurement.episodes import Block, Event
from lab.measurement.summary import Run, Summary
from lab.measurement.words import (
    block_sentence,
    count,
    duration,
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
    """The results for a terminal of 80 columns or more: a row for each block of each run, then sentences."""
    table = Table(
        title=verdict(summary), title_style="bold", title_justify="left", header_style="bold", box=box.SIMPLE_HEAD
    )
    # Headings of two words take two lines; only a block's name may be folded where the terminal is narrow.
    for name in ("run", "block", "blocked", *(name.replace(" ", "\n") for name, _ in _COLUMNS.values())):
        is_block = name == "block"
        table.add_column(name, justify="left" if is_block else "right", no_wrap=not is_block, overflow="fold")
    for number, run in enumerate(summary.runs, 1):
        for block in run.blocks:
            table.add_row(str(number), block.name, *_cells(block), style=None if block.recovered else "red")
    if len(summary.runs) > 1:
        table.add_section()
        for name, metrics in summary.metrics.items():
            table.add_row("median", name, "", *(duration(metrics[metric].p50) for metric in _COLUMNS), style="bold")
    sentences = [Text(line) for line in _sentences(summary)]
    return Group(table, *sentences) if summary.metrics else Group(Text(verdict(summary), style="bold"), *sentences)


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
        figures[f"run{number}"] = run_figure(log, run.blocks)
        for index, block in enumerate(run.blocks):
            if block.t0 is not None:
                figures[f"run{number}-{index}"] = block_figure(log, block)
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
    return (
        f"<header><h1>Sidedoor</h1><p class=facts>{escape(' · '.join(facts))}</p>"
        f"<p class=verdict>{escape(verdict(summary))}.</p><p>{escape(', '.join(notes))}.</p></header>"
    )


def _metrics_table(summary: Summary) -> str:
    if not summary.metrics:
        return ""
    heads = "".join(f"<th title='{escape(meaning)}'>{escape(name)}</th>" for name, meaning in _COLUMNS.values())
    rows = "".join(
        f"<tr><th>{escape(name)}</th>" + "".join(_metric_cell(metrics[metric]) for metric in _COLUMNS) + "</tr>"
        for name, metrics in summary.metrics.items()
    )
    return (
        f"<section><h2>All runs: the median</h2><table><thead><tr><th>block</th>{heads}</tr></thead>"
        f"<tbody>{rows}</tbody></table><p class=small>In grey: the 95 % bootstrap interval of the median, "
        f"from three runs on. All times but the last two count from the first packet that the censor hit.</p></section>"
    )


def _metric_cell(distribution: Distribution) -> str:
    interval = interval_words(distribution)
    below = f"<div class=small>{escape(interval)}</div>" if interval else ""
    return f"<td>{escape(median_words(distribution))}{below}</td>"


def _run_section(number: int, run: Run, places: dict[str, str]) -> str:
    parts = [f"<section><h2>Run {number} <span class=small>seed {run.seed}</span></h2>"]
    parts += [f"<p class=problem>{escape(problem)}</p>" for problem in run.problems]
    lines = [f"<b>{escape(block.name)}</b>: {escape(block_sentence(block))}." for block in run.blocks]
    parts.append("<ul>" + "".join(f"<li>{line}</li>" for line in [*lines, f"{escape(run_sentence(run))}."]) + "</ul>")
    if run.leaks.examples:
        parts.append("<p class=problem>Leaked: " + "<br>".join(map(escape, run.leaks.examples)) + "</p>")
    parts.append(f"<figure>{places[f'run{number}']}</figure>")
    near = [
        f"<figure><figcaption>{escape(block.name)}, from close by</figcaption>{places[f'run{number}-{index}']}</figure>"
        for index, block in enumerate(run.blocks)
        if block.t0 is not None
    ]
    return "".join([*parts, "<div class=near>", *near, "</div></section>"])


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
h1 { margin: 0; font-size: 28px; } h2 { margin: 0 0 8px; font-size: 20px; }
header, section { background: #fff; border: 1px solid #e2e8f0; border-radius: 10px;
  padding: 20px 24px; margin: 0 0 20px; }
header p { margin: 6px 0 0; } .facts, .small, figcaption { color: #718096; font-size: 14px; font-weight: normal; }
.verdict { font-size: 20px; font-weight: 600; } .problem { color: #c53030; font-weight: 600; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left;
  padding: 8px 12px 8px 0; vertical-align: top; }
thead th { border-bottom: 2px solid #e2e8f0; } tbody tr + tr > * { border-top: 1px solid #edf2f7; }
td { font-variant-numeric: tabular-nums; } ul { margin: 0 0 12px; padding-left: 20px; }
figure { margin: 12px 0 0; } .near { display: grid; grid-template-columns: repeat(auto-fit, minmax(420px, 1fr));
  gap: 24px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 20px; margin: 0; } dt { font-weight: 600; }
dd { margin: 0; }
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
