"""`sidedoor censor profiles` and `explain`: which real censors there are to choose from, and what one of them does."""

from __future__ import annotations

import json
from typing import Any

import click
from rich.console import Console

from censor import explanation
from censor import profiles as shipped
from censor.commands.selection import Selection, lists_of, named
from censor.commands.tables import facts, rows
from censor.compiled import CompiledRules

_json = click.option("--json", "as_json", is_flag=True, help="For programs.")


@click.command()
@_json
def profiles(as_json: bool) -> None:
    """List the profiles: what real censors did, as rules."""
    listed = [_listed(name) for name in shipped.names()]
    if as_json:
        click.echo(json.dumps(listed, indent=2))
        return
    body = [(one["name"], one["title"], ", ".join(one["acts_on"])) for one in listed]
    rows(Console(highlight=False, markup=False), ("profile", "what it is", "acts on"), body)


def _listed(name: str) -> dict[str, Any]:
    selection = named(name)
    profile = selection.rules.profile
    return {
        "name": name,
        "title": profile.title if profile else "",
        "acts_on": list(explanation.subjects(CompiledRules(selection.rules, selection.lists().holders))),
    }


@click.command()
@click.argument("source", metavar="PROFILE|FILE")
@click.option("--list", "list_files", metavar="NAME=FILE", multiple=True, help="The file of a list that rules name.")
@_json
def explain(source: str, list_files: tuple[str, ...], as_json: bool) -> None:
    """Say what the rules of a profile, or of a file, do, how well that is known, and what the kernel does of it."""
    told = _explained(source, named(source, list_files))
    if as_json:
        click.echo(json.dumps(told, indent=2))
    else:
        _print(told, Console(highlight=False, markup=False))


def _explained(source: str, selection: Selection) -> dict[str, Any]:
    rules = selection.rules
    lists = selection.lists().holders
    compiled = CompiledRules(rules, lists)
    profile = rules.profile
    kernel = explanation.kernel_rules(compiled)
    return {
        "name": source,
        "title": profile.title if profile else "",
        "summary": profile.summary if profile else "",
        "sources": list(profile.sources) if profile else [],
        "not_modelled": list(profile.not_modelled) if profile else [],
        "settings": explanation.settings_of(rules),
        "rules": [
            {"rule": rule.name} | explanation.facts_of(rule, kernel=rule.name in kernel)
            for rule in compiled.rules
            if not rule.silent
        ],
        "lists": lists_of(lists),
        "kernel": list(kernel),
        "queued": list(explanation.queued(compiled)),
    }


def _print(told: dict[str, Any], console: Console) -> None:
    title = f"{told['name']}: {told['title']}" if told["title"] else told["name"]
    console.print(title, style="bold")
    if told["summary"]:
        console.print(told["summary"])
    settings = "; ".join(f"{key} = {json.dumps(value)}" for key, value in told["settings"].items())
    facts(console, [("settings", settings)], indent=0)
    for rule in told["rules"]:
        console.print()
        console.print(f"rule {rule['rule']}", style="bold")
        facts(console, [(key, text) for key, text in rule.items() if key != "rule"])
    if told["lists"]:
        console.print()
        rows(
            console,
            ("list", "names", "networks", "URLs"),
            [(one["list"], *(str(one[key]) for key in ("names", "networks", "urls"))) for one in told["lists"]],
            numbers=True,
        )
    console.print()
    more = {"kernel alone": told["kernel"] or ["no rule"], "asks about": told["queued"] or ["nothing"]}
    more |= {"not modelled": told["not_modelled"], "sources": told["sources"]}
    facts(console, [(name, "\n".join(lines)) for name, lines in more.items()], indent=0)
