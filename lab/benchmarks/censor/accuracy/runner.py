"""`sidedoor bench censor --accuracy`: which profiles, the process that runs their flows, what it said."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from difflib import get_close_matches

import msgspec

from censor import profiles
from lab.benchmarks.censor.accuracy.inside import LIMIT_SECONDS, Line
from lab.benchmarks.censor.accuracy.results import Accuracy, judged
from lab.benchmarks.censor.accuracy.truths import truth
from lab.benchmarks.censor.instance import START_SECONDS
from lab.benchmarks.censor.runner import lines, process_inside
from lab.runtimes.netns import check_tools, search_path
from sidedoor.settings import UsageError

_INSIDE = "lab.benchmarks.censor.accuracy.inside"
_PROGRAMS = ("ip", "nsenter")


def chosen(only: Collection[str]) -> list[str]:
    """The profiles that are named, or all. Raises UsageError."""
    known = profiles.names()
    for name in only:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise UsageError(f"--only: no profile is called {name!r}; {hint}")
    return [name for name in known if not only or name in only]


def check_machine() -> None:
    """Raises UsageError that names what this machine lacks."""
    check_tools()
    if absent := [program for program in _PROGRAMS if shutil.which(program, path=search_path()) is None]:
        raise UsageError(f"bench censor needs {', '.join(absent)}: sudo apt-get install iproute2 util-linux")
    if importlib.util.find_spec("aioquic") is None:
        raise UsageError("bench censor --accuracy makes its QUIC flows with aioquic: pip install aioquic")


def run(names: Sequence[str], flows: int, progress: Callable[[str], object] = lambda text: None) -> list[Accuracy]:
    """At least so many flows through each profile, one after the other. Raises BenchError where nothing can be run."""
    return list(_accuracies(names, flows, progress))


def _accuracies(names: Sequence[str], flows: int, progress: Callable[[str], object]) -> Iterator[Accuracy]:
    with process_inside(_INSIDE, str(flows), *names) as process:
        assert process.stdin is not None
        process.stdin.close()
        progress(f"{names[0]}, {flows} flows")
        for number, line in enumerate(lines(process, LIMIT_SECONDS + START_SECONDS), 1):
            yield accuracy(msgspec.json.decode(line, type=Line))
            if number < len(names):
                progress(f"{names[number]}, {flows} flows")


def accuracy(line: Line) -> Accuracy:
    """What a line means."""
    if line.failure is not None:
        return Accuracy(line.profile, (), failure=line.failure)
    counted = {one.name: one for one in line.counted}
    return Accuracy(line.profile, judged(truth(line.profile).cases, counted), line.seconds, line.packets_missed)
