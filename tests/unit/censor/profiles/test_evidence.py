"""All profiles: where every number is known from, and how well."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from censor import profiles
from censor.lists.binding import load
from censor.rules import List, RuleSet
from censor.rules_file import profile_rules
from tests.unit.test_layout import ROOT

DOCUMENTATION = ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "198.18.0.0/15", "2001:db8::/32")
EVERYTHING = ("0.0.0.0/0", "::/0")
NETWORKS = [ipaddress.ip_network(text) for text in DOCUMENTATION]
EVERY_LIST = [(name, one) for name in profiles.names() for one in profile_rules(name).lists]


@pytest.fixture(params=profiles.names())
def name(request: pytest.FixtureRequest) -> str:
    assert isinstance(request.param, str)
    return request.param


@pytest.fixture
def rules(name: str) -> RuleSet:
    return profile_rules(name)


def test_every_rule_says_where_it_is_known_from(rules: RuleSet) -> None:
    assert rules.rules
    assert [rule.name for rule in rules.rules if not rule.evidence or rule.confidence is None] == []


def test_it_says_what_it_is(rules: RuleSet) -> None:
    profile = rules.profile
    assert profile is not None
    assert profile.title
    assert profile.summary
    assert all(profile.sources)
    assert profile.sources
    assert profile.not_modelled


def test_its_numbers_are_tested(name: str) -> None:
    tests = ROOT / "tests/unit/censor/profiles" / f"test_{name.replace('-', '_')}.py"
    assert f"{name}.toml" in tests.read_text(encoding="utf-8")


def test_it_is_documented(name: str) -> None:
    assert f"\n## `{name}`" in (ROOT / "docs/censor-profiles.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("profile", "one"), EVERY_LIST, ids=[f"{profile}:{one.name}" for profile, one in EVERY_LIST])
def test_lists_name_nobody_real(profile: str, one: List) -> None:
    content = load(one, Path())
    assert not content.skipped
    assert not [name for name in content.domains.names if not name.endswith(".example")]
    assert one.entries == EVERYTHING or all(_is_documentation(text) for text in one.entries)


def _is_documentation(text: str) -> bool:
    """Whether an entry is a name, or addresses of the ranges that are nobody's (RFC 5737, 3849, 2544)."""
    try:
        ends = [ipaddress.ip_network(end) for end in text.split("-")]
    except ValueError:
        return True
    return all(any(end.version == one.version and end.subnet_of(one) for one in NETWORKS) for end in ends)  # type: ignore[arg-type]  # of one version
