"""Rules files: TOML into a rule set, laid over a profile where it names one; mistakes are found before it is used."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from censor import profiles
from censor.compiled import CompiledRules
from censor.conditions import ListHolder
from censor.lists.block_list import BlockList
from censor.lists.domains import DomainSet
from censor.lists.prefixes import PrefixSet
from censor.rules import RuleSet
from sidedoor import settings

_EMPTY = BlockList(DomainSet(), PrefixSet())


def parse_rules(text: str, origin: str = "rules") -> RuleSet:
    """TOML `text` as a rule set. Raises SettingsError; `origin` stands in front of its message."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise settings.SettingsError(f"{origin}: not valid TOML: {error}") from error
    table = data.get("censor")
    name = table.get("profile") if isinstance(table, dict) else None
    if isinstance(name, str):
        data = _over_profile(data, name, origin)
    rules = settings.convert(data, RuleSet, origin=origin)
    try:
        compiled = CompiledRules(rules, {one.name: ListHolder(_EMPTY) for one in rules.lists})
    except ValueError as error:
        raise settings.SettingsError(f"{origin}: {error}") from error
    if rules.censor.profile is not None:
        _check_lists(rules, compiled, origin)
    return rules


def _check_lists(rules: RuleSet, compiled: CompiledRules, origin: str) -> None:
    """Raises SettingsError for a list over a profile that no rule asks for: most probably, it is misspelt."""
    asked = compiled.lists_read
    for one in rules.lists:
        if one.name not in asked:
            near = difflib.get_close_matches(one.name, asked, n=1)
            guess = f"did you mean {near[0]!r}?" if near else f"they ask for {', '.join(sorted(asked)) or 'none'}"
            raise settings.SettingsError(f"{origin}: list {one.name!r}: no rule asks for it; {guess}")


def load_rules(path: str | Path) -> RuleSet:
    """The rules file at `path`. Raises SettingsError."""
    return parse_rules(settings.read_text(path), origin=str(path))


def profile_rules(name: str) -> RuleSet:
    """A shipped profile. Raises SettingsError: there is none of that name."""
    return parse_rules(f'censor.profile = "{name}"', origin=f"profile {name}")


def _over_profile(data: Mapping[str, Any], name: str, origin: str) -> dict[str, Any]:
    """The file's tables over the profile's: settings and lists replace its, rules come in front of its."""
    try:
        below = tomllib.loads(profiles.text(name))
    except KeyError as error:
        raise settings.SettingsError(f"{origin}: `censor.profile`: {error.args[0]}") from None
    lists = {one.get("name"): one for one in below.get("list", []) if isinstance(one, dict)}
    given = data.get("list", [])
    if isinstance(given, list):
        lists |= {one.get("name") if isinstance(one, dict) else id(one): one for one in given}
    rules = data.get("rule", [])
    return {
        **below,
        **data,
        "censor": _merged(below.get("censor", {}), data["censor"]),
        "list": list(lists.values()) if isinstance(given, list) else given,
        "rule": [*rules, *below.get("rule", [])] if isinstance(rules, list) else rules,
    }


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
