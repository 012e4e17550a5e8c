"""What the commands of `sidedoor client` share: their options, how they run and end, where events and notices go."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TextIO, TypeVar

import click

from client.options import ROUTE_FORMS, end_options, listed_proxies, route_options
from client.printable import printable
from sidedoor.events import Emit, EventWriter, discard
from sidedoor.settings import UsageError, first_of

T = TypeVar("T")
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def _all(*decorators: Decorator) -> Decorator:
    """These options in this order, as one decorator."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


class Seconds(click.FloatRange):
    """A time of at least 0 s. `endless`: inf is one, too."""

    def __init__(self, *, endless: bool = False) -> None:
        super().__init__(min=0)
        self._endless = endless

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """click's; a NaN is in every range for it."""
        seconds = float(super().convert(value, param, ctx))
        if math.isnan(seconds) or (math.isinf(seconds) and not self._endless):
            self.fail(f"{value!r} is no time in seconds; expected a number of at least 0.", param, ctx)
        return seconds


config_option = click.option("--config", type=click.Path(), help="TOML file with the settings; options go over it.")
events_option = click.option(
    "--events", type=click.Path(), help="Write events as JSON lines to this file, `-`: stdout."
)
events_beside_option = click.option(
    "--events",
    type=click.Path(),
    help="Write events as JSON lines to this file, `-`: stderr, since the messages are on stdout.",
)
name_option = click.option("--name", help="This end's name.")
peer_option = click.option("--peer", help="The other end's name.")
origin_options = _all(
    click.option("--origin", metavar="HOST[:PORT]", help="The origin; the port is 443 if not given."),
    click.option("--ca-file", type=click.Path(), help="PEM of the authority to trust."),
    click.option(
        "--resolve",
        multiple=True,
        metavar="NAME=ADDRESS",
        help="Use this address for the name, no DNS. May be repeated.",
    ),
    click.option("--keylog-file", type=click.Path(), help="Write TLS secrets there, to read captures."),
)
"""Of whoever dials the origin."""
key_options = _all(
    click.option("--key", "key_file", type=click.Path(), help="This end's private key; `client key` makes one."),
    click.option("--peer-key", metavar="KEY", help="The other end's public key: what `client key` printed there."),
)
state_option = click.option(
    "--state", "state_file", type=click.Path(), help="Keep what is under way there, to go on after a crash."
)
attachments_option = click.option(
    "--attachments",
    "attachments_folder",
    type=click.Path(),
    metavar="DIR",
    help="Take attachments, and put them there.",
)
route_arguments = _all(
    click.option(
        "--proxy", multiple=True, metavar="NAME=[USER:PASSWORD@]HOST:PORT", help="A SOCKS5 proxy. May be repeated."
    ),
    click.option(
        "--proxy-list", metavar="KEY=FILE", help="More proxies, of a list signed by this public key, kept in FILE."
    ),
    click.option("--memory-file", type=click.Path(), help="Keep there what worked on which network."),
    click.option(
        "--route",
        multiple=True,
        metavar="[NAME=]KIND:...",
        help="A way to the origin, in order of preference, as below; no direct one if it is not named. Repeatable.",
    ),
)
"""Of whoever goes by more than the direct route; `routed` makes settings of them, `ROUTES` is their epilog."""
ROUTES = "\b\nRoutes:\n" + "\n".join(f"  {form}" for form in ROUTE_FORMS.values())


def routed(
    *, resolve: tuple[str, ...], proxy: tuple[str, ...], proxy_list: str | None, route: tuple[str, ...], **options: Any
) -> dict[str, Any]:
    """What `origin_options`, `route_arguments` and the other options of an end gave, as fields of its settings.

    Raises SettingsError.
    """
    given = end_options(resolve, options)
    if proxy_list is not None:
        given["proxy_list"] = listed_proxies(proxy_list)
    if routes := route_options(route, proxy):
        given["routes"] = routes
    return given


def run(
    work: Coroutine[Any, Any, T], *, until_interrupted: bool = False, stop: Callable[[], bool] | None = None
) -> T | None:
    """Run to the end, or until SIGINT or SIGTERM (then None); mistakes of the user come out alone, not in a group.

    `stop`: what a signal calls, so that `work` ends in order, or sooner; when it has no more to do (False), and without
    it, `work` is cancelled. Raises click.Abort after a SIGINT that is not how `work` is meant to end
    (`until_interrupted`).
    """
    came: list[int] = []

    async def main() -> T | None:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work, name="client")

            def signalled(number: int) -> None:
                came.append(number)
                if stop is None or not stop():
                    task.cancel()

            # SIGINT, too: a shell starts what it puts into the background of a script with SIGINT ignored.
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, signalled, number)
            await asyncio.wait([task])
        return None if task.cancelled() else task.result()

    try:
        result = asyncio.run(main())
    except BaseExceptionGroup as group:
        usage, rest = group.split(UsageError)
        if usage is None or rest is not None:
            raise
        raise first_of(usage) from None
    if result is None and signal.SIGINT in came and not until_interrupted:
        raise click.Abort
    return result


def say(line: str) -> None:
    """On stderr. It may name what others have chosen: names, reasons."""
    shown = printable(line) if os.isatty(2) else line
    click.echo(f"sidedoor: {shown}", err=True)


def announcing(emit: Emit) -> Emit:
    """An Emit that says on stderr where a server listens, and passes everything on."""

    def announce(event: str, /, **fields: Any) -> None:
        emit(event, **fields)
        if event in ("origin_listening", "bridge_listening"):
            say(f"{event.partition('_')[0]}: listening on {', '.join(fields['addresses'])}")

    return announce


@contextlib.contextmanager
def emitting(source: str, path: str | None, *, to: TextIO | None = None) -> Iterator[Emit]:
    """The Emit that `--events` asks for; `-` is stdout, or `to`. Raises UsageError."""
    if path is None:
        yield discard
    elif path == "-":
        yield EventWriter(source, (to or sys.stdout).buffer)
    else:
        try:
            stream = open(path, "ab")  # noqa: SIM115 - closed below; only the opening is the user's mistake.
        except OSError as error:
            raise UsageError(f"--events {path}: cannot be written: {error.strerror}") from error
        with stream:
            yield EventWriter(source, stream)
