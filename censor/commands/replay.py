"""`sidedoor censor replay`: what the censor would do to the packets of a capture."""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack
from typing import Any, BinaryIO

import click
from rich.console import Console

from censor.commands.selection import empty_lists, selected
from censor.commands.tables import rows
from censor.packet_io.ordered_pcap import OrderedPcapWriter
from censor.packet_io.pcap import PcapReader, PcapWriter
from censor.replay import Judged, Replay
from sidedoor.settings import UsageError

_STANDARD = "-"


@click.command()
@click.argument("path", metavar="FILE")
@click.option("--rules", "rules_path", metavar="FILE", help="Rules (TOML).")
@click.option("--profile", metavar="NAME", help="A shipped profile in place of a rules file.")
@click.option("--list", "list_files", metavar="NAME=FILE", multiple=True, help="The file of a list that rules name.")
@click.option("--seed", type=int, help="For every draw.  [default: the rules']")
@click.option(
    "--elapsed",
    "elapsed_seconds",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="How long the rules had been in force when the capture began.",
)
@click.option("--verdicts", metavar="FILE", help="The verdict on each packet, as JSON lines; - is stdout.")
@click.option("--passed", metavar="OUT.pcap", help="The packets that passed, with the times at which they left.")
@click.option("--inject", metavar="OUT.pcap", help="The packets that the censor would have sent.")
@click.option("--json", "as_json", is_flag=True, help="The sums as one JSON object.")
def replay(
    path: str,
    rules_path: str | None,
    profile: str | None,
    list_files: tuple[str, ...],
    seed: int | None,
    elapsed_seconds: float,
    verdicts: str | None,
    passed: str | None,
    inject: str | None,
    as_json: bool,
) -> None:
    """Judge the packets of a capture (pcap, pcapng; - is stdin) as if this host had forwarded them.

    Needs no privileges. Prints what each rule did, with what it hit beside what it is meant for (collateral). With
    --verdicts - the sums go to stderr.
    """
    selection = selected(rules_path, profile, list_files, seed=seed)
    lists = selection.lists().holders
    for name in empty_lists(lists):
        click.echo(f"list {name!r} is empty: its rules match nothing; give it entries by --list {name}=FILE", err=True)
    judge = Replay(selection.rules, lists, elapsed_seconds=elapsed_seconds)
    try:
        with ExitStack() as stack:
            source = _source(path, stack)
            _refuse_to_overwrite(path, verdicts, passed, inject)
            reader = PcapReader(source, path)
            run = _Run(judge, reader, _output(verdicts, stack), _pcap(passed, stack), _pcap(inject, stack))
            run.all()
    except BrokenPipeError:  # whoever reads stdout has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be judged to its end: {error.strerror}") from error
    if not judge.as_dict()["packets"]:
        others = f" ({reader.skipped} frames of something else)" if reader.skipped else ""
        raise UsageError(f"{path}: no IP packets in it{others}")
    sums = run.sums()
    if as_json:
        click.echo(json.dumps(sums), err=verdicts == _STANDARD)
    else:
        _print(sums, Console(stderr=verdicts == _STANDARD, highlight=False, markup=False))
    if reader.truncated:
        raise UsageError(f"{path}: ends within a packet (was it cut off?); what comes before has been judged")


class _Run:
    """One capture through one replay into the files that were asked for."""

    def __init__(
        self,
        judge: Replay,
        reader: PcapReader,
        verdicts: BinaryIO | None,
        passed: OrderedPcapWriter | None,
        injected: OrderedPcapWriter | None,
    ) -> None:
        self._judge = judge
        self._reader = reader
        self._verdicts = verdicts
        self._passed = passed
        self._injected = injected
        self._start: float | None = None
        self._end = 0.0
        self._cut = 0

    def all(self) -> None:
        """Raises UsageError (the capture is damaged) and OSError."""
        writers = [writer for writer in (self._passed, self._injected) if writer is not None]
        try:
            for t, data, length in self._reader:
                self._start = t if self._start is None else self._start
                self._end = max(self._end, t)
                self._cut += len(data) < length
                for writer in writers:
                    writer.advance(t)
                for judged in self._judge.take(t, data, length):
                    self._write(judged)
            for judged in self._judge.finish():
                self._write(judged)
        finally:
            for writer in writers:
                writer.finish()

    def _write(self, judged: Judged) -> None:
        if self._verdicts is not None:
            self._verdicts.write(json.dumps(judged.as_dict()).encode() + b"\n")
        if self._passed is not None and judged.passed is not None:
            self._passed.write(*judged.passed)
        if self._injected is not None:
            for sent in judged.injected:
                self._injected.write(*sent)

    def sums(self) -> dict[str, Any]:
        """What the whole came to. For JSON."""
        seconds = self._end - self._start if self._start is not None else 0.0
        more = {"seconds": round(seconds, 6), "not_ip": self._reader.skipped, "captured_in_part": self._cut}
        return more | self._judge.as_dict()


def _source(path: str, stack: ExitStack) -> BinaryIO:
    if path == _STANDARD:
        return sys.stdin.buffer
    try:
        return stack.enter_context(open(path, "rb"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error


def _refuse_to_overwrite(path: str, *outputs: str | None) -> None:
    """Raises UsageError: an output is the capture itself, or two are one file."""
    taken = {} if path == _STANDARD else {_file(path): path}
    for output in outputs:
        if output is None or output == _STANDARD:
            continue
        file = _file(output)
        if file in taken:
            raise UsageError(f"{output}: is {taken[file]}, too; capture, verdicts and packets need files of their own")
        taken[file] = output


def _file(path: str) -> str:
    return os.path.realpath(path)


def _output(path: str | None, stack: ExitStack) -> BinaryIO | None:
    if path is None:
        return None
    if path == _STANDARD:
        return sys.stdout.buffer
    try:
        return stack.enter_context(open(path, "wb"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error


def _pcap(path: str | None, stack: ExitStack) -> OrderedPcapWriter | None:
    file = _output(None if path == _STANDARD else path, stack)
    if path == _STANDARD:
        raise UsageError("pcap is not written to stdout; expected the name of a file")
    return None if file is None else OrderedPcapWriter(PcapWriter(file))


def _print(sums: dict[str, Any], console: Console) -> None:
    told = [
        (rule["rule"], *(str(rule[key]) for key in ("matched", "collateral", "packets", "injected")))
        for rule in sums["rules"]
    ]
    if told:
        rows(console, ("rule", "matched", "collateral", "packets", "injected"), told, numbers=True)
    passed = sums["packets"] - sums["dropped"]
    console.print(
        f"{sums['packets']} packets in {sums['seconds']:.1f} s: {passed} passed ({sums['delayed']} late), "
        f"{sums['dropped']} dropped; {sums['injected']} injected"
    )
    for key, text in _NOTES.items():
        if sums[key]:
            console.print(f"{sums[key]} {text}")


_NOTES = {
    "fragments_dropped": "of the dropped were fragments, which no rule judged",
    "residual_blocks": "residual blocks begun",
    "suspects": "flows to servers that would be probed",
    "overloaded_flows": "flows passed unseen (overload)",
    "forgotten_flows": "flows were forgotten for want of room",
    "not_ip": "frames were not IP",
    "captured_in_part": "packets were captured in part: nobody knows what the rest said (snaplen)",
}
