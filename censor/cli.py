"""`sidedoor censor`: run the censor on this host, check a rules file, remove what a killed censor left."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import ExitStack
from typing import BinaryIO

import click
import structlog
from rich.console import Console
from rich.table import Table

from censor import kernel
from censor.censor import Censor, CensorSettings
from censor.packet_io.netlink import KernelError
from censor.prober.cli import probe
from censor.rules import Rule, RuleSet
from censor.rules_file import load_rules
from sidedoor import logs
from sidedoor.events import EventWriter
from sidedoor.settings import UsageError

_log = structlog.get_logger()


@click.group()
def censor() -> None:
    """Run the censor on this host, or check its rules."""


censor.add_command(probe)


@censor.command()
@click.option("--rules", "rules_path", metavar="FILE", help="Rules (TOML); without it nothing is blocked.")
@click.option("--queue", metavar="N", default=100, show_default=True, type=click.IntRange(0, 65535), help="NFQUEUE.")
@click.option("--events", metavar="FILE", default="-", show_default=True, help="Events as JSON lines; - is stdout.")
def run(rules_path: str | None, queue: int, events: str) -> None:
    """Act on the traffic that this host forwards until SIGTERM or Ctrl-C.

    Needs NET_ADMIN and NET_RAW (root, a container with both, or a user namespace). SIGHUP reads the rules again; if
    they are bad, that is said and the old ones stay.
    """
    logs.configure()
    rules = load_rules(rules_path) if rules_path else RuleSet()
    with ExitStack() as stack:
        emit = EventWriter("censor", _open(events, stack))
        try:
            asyncio.run(_run(rules, rules_path, CensorSettings(queue=queue), emit))
        except KernelError as error:
            raise click.ClickException(str(error)) from error


async def _run(rules: RuleSet, rules_path: str | None, settings: CensorSettings, emit: EventWriter) -> None:
    signals: asyncio.Queue[int] = asyncio.Queue()
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, signals.put_nowait, number)
    async with Censor(settings, emit) as running:
        if running.ipv6_missing:
            _log.warning("IPv4 only: names in IPv6 traffic are not censored", reason=running.ipv6_missing)
        await running.apply(rules)
        while await signals.get() == signal.SIGHUP:
            if rules_path is None:
                continue
            try:
                await running.apply(load_rules(rules_path))
                _log.info("rules read again", path=rules_path, rules=len(running.rules.rules))
            except (UsageError, KernelError) as error:
                _log.error("rules not changed", reason=str(error))


def _open(events: str, stack: ExitStack) -> BinaryIO:
    if events == "-":
        return sys.stdout.buffer
    try:
        return stack.enter_context(open(events, "ab"))
    except OSError as error:
        raise UsageError(f"{events}: cannot be written: {error.strerror}") from error


@censor.command()
@click.argument("path", metavar="FILE")
def check(path: str) -> None:
    """Read a rules file and print what it says."""
    rules = load_rules(path)
    table = Table("rule", "matches", "action", "existing flows", box=None, header_style="bold")
    for column in table.columns:
        column.overflow = "fold"
    for rule in rules.rules:
        table.add_row(rule.name, _matcher(rule), _action(rule), _existing(rule))
    console = Console()
    console.print(table)
    console.print(f"new flows when the censor is dead: {'pass' if rules.fail == 'open' else 'stop'}")


@censor.command()
def clean() -> None:
    """Remove what a killed censor has left in the kernel of this network namespace."""
    try:
        found = kernel.cleanup()
    except KernelError as error:
        raise click.ClickException(str(error)) from error
    click.echo("removed" if found else "nothing to remove")


def _matcher(rule: Rule) -> str:
    if rule.domains:
        return "\n".join(f"{domain} and below" for domain in rule.domains)
    ports = f" {rule.protocol or 'tcp/udp'} {', '.join(map(str, rule.ports))}" if rule.ports else ""
    return "\n".join(f"{network}{ports or (f' {rule.protocol}' if rule.protocol else '')}" for network in rule.networks)


def _action(rule: Rule) -> str:
    return f"{rule.action.value} {', '.join(rule.forged)}".strip()


def _existing(rule: Rule) -> str:
    if rule.addresses:
        return rule.action.value
    if rule.kills:
        return "killed by " + ("rst" if rule.resets_existing else "drop")
    return "untouched"
