"""`sidedoor censor properties`: what conditions can ask for."""

from __future__ import annotations

import json

import click
from rich.console import Console

from censor.analyzers.all import ANALYZERS, PROPERTIES
from censor.analyzers.descriptions import DESCRIPTIONS
from censor.commands.tables import rows
from censor.compiled import analyzer_of

_PORTS = {analyzer.name: analyzer.ports for analyzer in ANALYZERS}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def properties(as_json: bool) -> None:
    """List the properties of flows that a rule's condition can ask for.

    docs/censor-conditions.md says how.
    """
    if as_json:
        listed = [
            {"property": name, "type": type_.value, "meaning": DESCRIPTIONS[name], "ports": list(ports_of(name))}
            for name, type_ in PROPERTIES.items()
        ]
        click.echo(json.dumps(listed, indent=2))
        return
    body = [(name, type_.value, meaning(name)) for name, type_ in PROPERTIES.items()]
    rows(Console(highlight=False, markup=False), ("property", "type", "what it is"), body)


def ports_of(name: str) -> tuple[int, ...]:
    """The server ports on which it is looked for; none: on all."""
    return _PORTS.get(analyzer_of(name), ())


def meaning(name: str) -> str:
    """The property in words; of an analyzer's own name, where it is looked for, too."""
    ports = ports_of(name) if name == analyzer_of(name) else ()
    where = f"; looked for on port {', '.join(map(str, ports))} only" if ports else ""
    return DESCRIPTIONS[name] + where
