"""Mistakes in the words of who made them: a setting that was given as an option is called by the option's name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import click
from click.core import ParameterSource

from sidedoor.settings import UsageError

_WITHOUT_FILE = "options: "
"""How `client.options` begins when all settings come from options."""


class Command(click.Command):
    """A command whose UsageErrors name its options."""

    def invoke(self, ctx: click.Context) -> Any:
        """click's."""
        try:
            return super().invoke(ctx)
        except UsageError as error:
            options = {param.name: param.opts[0] for param in self.params if param.name is not None}
            given = {name for name in options if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE}
            raise type(error)(in_options(str(error), options, given)) from error


def in_options(message: str, options: Mapping[str, str], given: set[str]) -> str:
    """`message` with options for settings. `options`: setting -> option; `given`: those settings that are not from a
    file.

    What is in front of a message is a setting, as in "state_file x.db: in use"; within one only words that cannot be
    others are taken for settings: those with an underscore.
    """

    def option(match: re.Match[str]) -> str:
        return options.get(match["setting"], match[0])

    if not message.startswith(_WITHOUT_FILE):
        at_front = re.match(r"(?P<setting>\w+)(?=: | .+: )", message)
        known = at_front is not None and at_front["setting"] in given
        return re.sub(r"^(?P<setting>\w+)", option, message) if known else message
    rest = re.sub(r"^(?:key `)?(?P<setting>\w+)\b`?", option, message.removeprefix(_WITHOUT_FILE))
    named = re.sub(r"(?<![\w./-])(?P<setting>[a-z]+_\w+)(?![\w./-])", option, rest)
    return named if named.startswith("--") else message
