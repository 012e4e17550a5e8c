"""`sidedoor censor probe`: how a server looks to the active prober."""

from __future__ import annotations

import asyncio
import random
import socket
from ipaddress import ip_address
from typing import BinaryIO

import click
import msgspec
from rich.console import Console
from rich.table import Table

from censor.prober.connection import Source, run_probe
from censor.prober.delays import Server
from censor.prober.probes import make_probe
from censor.prober.results import ProbeResult, judge
from censor.prober.settings import PROBE_NAMES, Evidence, ProbeName, ProberSettings, parse_address
from proxy.wire import Address
from sidedoor.settings import UsageError, convert

_DEFAULTS = ProberSettings()
_PROBE_HELP = f"One of {', '.join(PROBE_NAMES)}; may be given several times."


@click.command()
@click.argument("server", metavar="HOST:PORT")
@click.option("--probe", "probes", metavar="NAME", multiple=True, type=click.Choice(PROBE_NAMES), help=_PROBE_HELP)
@click.option(
    "--replay", "payload", metavar="FILE", type=click.File("rb"), help="The first bytes of a client, to be replayed."
)
@click.option(
    "--destination", metavar="HOST:PORT", default=_DEFAULTS.destination, show_default=True, help="To ask for."
)
@click.option(
    "--timeout", "timeout_seconds", metavar="SECONDS", default=_DEFAULTS.timeout_seconds, show_default=True, type=float
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def probe(
    server: str,
    probes: tuple[ProbeName, ...],
    payload: BinaryIO | None,
    destination: str,
    timeout_seconds: float,
    as_json: bool,
) -> None:
    """Probe a server at once, as the censor would, and print what each probe got and the verdict.

    Exit code 0: nothing that convicts; 1: the censor would block it; 2: the call was wrong, or nothing listens there.
    Without --probe: all of them (a replay with --replay only). Probe servers of your own.
    """
    settings = convert(
        {"destination": destination, "timeout_seconds": timeout_seconds}, ProberSettings, origin="options"
    )
    first = payload.read() if payload is not None else b""
    names = _names(probes, first)
    where = _resolve(_address(server))
    results = asyncio.run(_run(names, where, first, settings))
    if not any(result.connected for result in results.values()):
        raise UsageError(f"{server}: no connection ({results[names[0]].outcome}); is the server running?")
    evidence = judge(settings.verdict, results)
    if as_json:
        click.echo(msgspec.json.encode(_as_data(where, names, results, evidence)))
    else:
        _print(names, results, evidence)
    raise SystemExit(1 if evidence else 0)


def _names(chosen: tuple[ProbeName, ...], payload: bytes) -> tuple[ProbeName, ...]:
    """What to send: a replay where there is something to replay, and then the control that it needs."""
    if "replay" in chosen and not payload:
        raise UsageError("--probe replay needs --replay FILE, the bytes that a client has said first")
    names = chosen or tuple(name for name in PROBE_NAMES if name != "replay" or payload)
    return tuple(dict.fromkeys((*names, "random") if "replay" in names else names))


def _address(text: str) -> Address:
    try:
        return parse_address(text)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _resolve(address: Address) -> Server:
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise UsageError(f"{address.host}: cannot be resolved: {error.strerror}") from error
    return ip_address(found[0][4][0]).packed, address.port


async def _run(
    names: tuple[ProbeName, ...], server: Server, payload: bytes, settings: ProberSettings
) -> dict[ProbeName, ProbeResult]:
    async with asyncio.TaskGroup() as group:
        tasks = {}
        for name in names:
            length = len(payload) or settings.random_bytes
            one = make_probe(name, parse_address(settings.destination), payload, length, random.getrandbits(64))
            talk = run_probe(one, server, settings.timeout_seconds, Source())
            tasks[name] = group.create_task(talk, name=f"probe {name}")
    return {name: task.result() for name, task in tasks.items()}


def _as_data(
    server: Server, names: tuple[ProbeName, ...], results: dict[ProbeName, ProbeResult], evidence: tuple[Evidence, ...]
) -> dict[str, object]:
    return {
        "address": str(ip_address(server[0])),
        "port": server[1],
        "convicted": bool(evidence),
        "evidence": evidence,
        "probes": [msgspec.to_builtins(results[name]) | {"received": results[name].received.hex()} for name in names],
    }


def _print(names: tuple[ProbeName, ...], results: dict[ProbeName, ProbeResult], evidence: tuple[Evidence, ...]) -> None:
    table = Table("probe", "outcome", "end", "bytes", "seconds", "the server", box=None, header_style="bold")
    for column in table.columns:
        column.overflow = "fold"
        column.no_wrap = column is not table.columns[-1]
    for name in names:
        result = results[name]
        said = result.said or (repr(result.received[:24])[1:] if result.answered else "")
        table.add_row(name, result.outcome, result.end, str(result.received_bytes), f"{result.seconds:.3f}", said)
    console = Console(highlight=False, markup=False)
    console.print(table)
    console.print(f"convicted: {', '.join(evidence)}" if evidence else "nothing that convicts")
