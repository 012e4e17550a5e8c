"""The root command `sidedoor`. Each sub-command lives in its part and is imported only when it is called."""

from __future__ import annotations

import importlib

import click

from sidedoor import __version__
from sidedoor.interrupts import QuietInterrupts

# Sub-command -> (module:attribute, the help line). The line stands here so that `sidedoor --help` imports no part.
COMMANDS = {
    "proxy": ("proxy.cli:proxy", "Run the proxy: SOCKS5, SOCKS4 and HTTP CONNECT; hash a password."),
    "client": ("client.cli:client", "Run the messenger: chat, send, listen, see which routes work; serve its origin."),
    "censor": ("censor.cli:censor", "Run the censor on this host, or check its rules."),
    "lab": ("lab.cli:lab", "Run scenarios in a lab network, or open an interactive lab."),
    "bench": ("lab.benchmarks.cli:bench", "Measure: proxies (speed, conformance), the censor, fallback policies."),
    "doctor": ("lab.doctor:doctor", "Say what this machine can do, and how to mend what it cannot."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module_name, _, attribute = COMMANDS[cmd_name][0].partition(":")
        with QuietInterrupts():
            command = getattr(importlib.import_module(module_name), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sidedoor")
def root() -> None:
    """A SOCKS5 proxy, a test messenger, a simulated censor and the lab that runs them together."""
