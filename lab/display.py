"""What a person sees on stderr while an experiment runs: a line a step, and on a terminal a clock that moves."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from lab.run import RunRecord
from lab.scenario import Scenario


class Display:
    """Use as a context manager while runs go on; the clock moves only on a terminal."""

    def __init__(self, console: Console, scenario: Scenario, runtime: str, repeat: int) -> None:
        self._console = console
        self._scenario = scenario
        self._runtime = runtime
        self._repeat = repeat
        self._run = ""
        self._status: Status | None = Status("", console=console) if console.is_terminal else None

    def __enter__(self) -> Display:
        runs = "1 run" if self._repeat == 1 else f"{self._repeat} runs"
        self._console.print(
            f"[bold]{escape(self._scenario.name)}[/bold] on {self._runtime}, {runs}: "
            f"{escape(self._scenario.description)}",
            soft_wrap=True,
        )
        if self._status:
            self._status.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._status:
            self._status.stop()

    def start_run(self, number: int) -> None:
        """Run `number` begins."""
        self._run = f"run {number}/{self._repeat}"

    def step(self, t: float, step: str) -> None:
        """The run is at `step`, `t` seconds in."""
        self._console.print(f"  [dim]{self._run}[/dim] {t:6.1f} s  {escape(step)}", highlight=False, soft_wrap=True)
        if self._status:
            self._status.update(f"{self._run}: {escape(step)}")

    def end_run(self, record: RunRecord) -> None:
        """The run is over; says so when it ended otherwise than planned."""
        if record.problem:
            self._console.print(
                f"  [dim]{self._run}[/dim] [red]{record.outcome}[/red]: {escape(record.problem)}", soft_wrap=True
            )

    def note(self, text: str) -> None:
        """Something between and after the runs."""
        self._console.print(f"  [dim]{escape(text)}[/dim]", soft_wrap=True)
