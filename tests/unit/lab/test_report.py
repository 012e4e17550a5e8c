"""The report and the table: what a person must find in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from lab import report
from lab.measurement.leaks import Leaks
from lab.measurement.summary import Clock, Summary, measure_run, summarize
from tests.unit.lab.measurement.story import CLIENT, MONOTONIC, run_events

CLOCK = Clock(monotonic=MONOTONIC, realtime=1_795_000_000.0)


def summary(runs: int = 1, events: list[dict[str, Any]] | None = None, leaks: Leaks | None = None) -> Summary:
    log = run_events() if events is None else events
    made = [
        measure_run(log, seed=seed, clock=CLOCK, client_addresses=[CLIENT], leaks=leaks) for seed in range(1, runs + 1)
    ]
    return summarize(made, scenario="quick<start>", runtime="netns", seed=1)


def printed(of: Summary, width: int = 80) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115  (the console's own)
    with console.file:
        console.print(report.terminal_table(of))
        return console.export_text()


def words(text: str) -> str:
    return " ".join(text.split())


def test_one_run_is_a_row_for_each_block_and_a_sentence() -> None:
    text = printed(summary())
    row = next(line for line in text.splitlines() if "1   domain" in line)
    assert re.split(r" {2,}", row.strip()) == ["1", "domain", "8.0 s", "0.45 s", "0.50 s", "0.52 s", "0.55 s", "1.01 s"]
    assert "domain: blocked at 8.0 s, noticed 0.45 s later" in words(text)
    assert "run 1: 779 messages sent, 0 lost, 0 shown twice, 4 of 80 bystander flows broken." in words(text)
    assert "median" not in text


def test_it_fits_into_80_columns_without_breaking_a_word() -> None:
    text = printed(summary())
    assert max(len(line) for line in text.splitlines()) <= 80
    for word in ("blocked", "noticed", "proxy", "recovered", "silence", "direct", "again", "address"):
        assert word in text.split("domain: blocked")[0]


def test_a_narrow_terminal_gets_lists_with_every_word_whole() -> None:
    text = printed(summary(2), width=50)
    assert max(len(line) for line in text.splitlines()) <= 50
    assert "run 2, address" in text
    assert "median, domain" in text
    rows = [line.split() for line in text.splitlines() if line.startswith("  recovered")]
    assert rows == [["recovered", "0.52", "s"], ["recovered", "0.82", "s"]] * 2 + [
        ["recovered", "0.52", "s"],
        ["recovered", "0.82", "s"],
    ]


def test_a_planned_fault_and_an_interruption_are_told() -> None:
    fault = {"t": 6.0, "source": "lab", "event": "fault_injected", "role": "proxy1"}
    found = summary(events=[*run_events(), fault])
    assert "run 1: proxy1 was killed at 6.0 s, as planned." in words(printed(found))
    cut = msgspec.structs.replace(found.runs[0], outcome="interrupted", ended_seconds=7.2, problems=["a role died"])
    cut_summary = msgspec.structs.replace(found, runs=[cut])
    assert printed(cut_summary).startswith("interrupted at 7.2 s, 779 of 779 messages")
    page = report.html(cut_summary, [run_events()])
    assert "<li>proxy1 was killed at 6.0 s, as planned.</li>" in page
    assert "<p class='verdict problem'>interrupted at 7.2 s" in page
    assert "<p class=problem>interrupted at 7.2 s</p><p class=problem>a role died</p>" in page


def test_several_runs_end_with_their_median() -> None:
    text = printed(summary(3), width=100)
    assert len(re.findall(r"^ +(?:[123]|median)   domain", text, flags=re.MULTILINE)) == 4
    assert "domain, typically: noticed 0.45 s after the first packet was hit" in words(text)
    assert "run 3: 779 messages sent" in words(text)


def test_what_did_not_happen_is_said() -> None:
    events = [event for event in run_events() if event["t"] < 8.4]
    events.append({"t": 8.4, "source": "lab", "event": "role_died", "role": "proxy1", "status": -9})
    text = words(printed(summary(events=events)))
    assert "> 0.40 s" in text
    assert "cut short 0.40 s later, not recovered by then" in text
    assert "PROBLEM: proxy1 was killed by signal 9" in text
    unhit = [event for event in run_events() if event["event"] != "censor_hit"]
    assert "no hit" in printed(summary(events=unhit))


def test_a_run_without_a_block_has_no_table() -> None:
    text = printed(summary(events=[]))
    assert "1 run without a block: 0 lost" in text
    assert "noticed" not in text


def test_the_picture_shows_the_table_and_loads_nothing(tmp_path: Path) -> None:
    report.picture(summary(), tmp_path / "table.svg")
    svg = (tmp_path / "table.svg").read_text()
    assert "domain" in svg
    assert "url(" not in svg.replace("url(#", "")


def test_the_report_is_one_file_that_loads_nothing(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    report.write(summary(2, leaks=Leaks(packets=1, examples=["1.0 s: <tcp>"])), [run_events(), run_events()], path)
    page = path.read_text(encoding="utf-8")
    assert "<title>Sidedoor: quick&lt;start&gt;</title>" in page
    assert "domain, from close by" in page
    assert "Leaked: 1.0 s: &lt;tcp&gt;" in page
    outside = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"""(src|href)\s*=|url\(|@import""", outside)
    assert not re.search(r"<script[^>]+src=", page)


def test_the_report_tells_of_no_runs_no_blocks_and_problems() -> None:
    empty = Summary(scenario="none", runtime="netns", seed=1)
    assert "0 runs without a block" in report.html(empty, [])
    unhit = [event for event in run_events() if event["event"] != "censor_hit"]
    found = summary(events=unhit)
    run = msgspec.structs.replace(found.runs[0], problems=["the origin died"])
    page = report.html(msgspec.structs.replace(found, runs=[run]), [unhit])
    assert "the origin died" in page
    assert "domain, from close by" not in page
