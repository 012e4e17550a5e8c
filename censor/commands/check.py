"""`sidedoor censor check`: whether a rules file and its lists can be used, and what is in them."""

from __future__ import annotations

import click
from rich.console import Console

from censor.commands.selection import empty_lists, lists_of, selected
from censor.commands.tables import rows
from censor.compiled import CompiledRules
from censor.explanation import facts_of, kernel_rules


@click.command()
@click.argument("path", metavar="FILE")
@click.option("--list", "list_files", metavar="NAME=FILE", multiple=True, help="The file of a list that rules name.")
def check(path: str, list_files: tuple[str, ...]) -> None:
    """Read a rules file and its lists as `run` does, and print what they say.

    Rows of lists that could not be read are named; `explain` says more about the rules.
    """
    selection = selected(path, None, list_files)
    lists = selection.lists().holders
    compiled = CompiledRules(selection.rules, lists)
    console = Console(highlight=False, markup=False)
    kernel = kernel_rules(compiled)
    told = [(rule.name, facts_of(rule, kernel=rule.name in kernel)) for rule in compiled.rules if not rule.silent]
    body = [(name, facts["when"], facts["does"], facts["existing flows"] or "untouched") for name, facts in told]
    rows(console, ("rule", "when", "does", "existing flows"), body)
    contents = lists_of(lists)
    if contents:
        head = ("list", "rows", "skipped", "names", "networks", "URLs")
        keys = ("rows", "skipped", "names", "networks", "urls")
        rows(console, head, [(one["list"], *(str(one[key]) for key in keys)) for one in contents], numbers=True)
    for one in contents:
        for problem in one["problems"]:
            console.print(f"{one['list']}: line {problem['line']} is skipped: {problem['reason']}", soft_wrap=True)
    for name in empty_lists(lists):
        console.print(f"{name}: is empty; --list {name}=FILE gives it entries", soft_wrap=True)
    console.print(f"new flows when the censor is dead: {'pass' if selection.rules.fail == 'open' else 'stop'}")
