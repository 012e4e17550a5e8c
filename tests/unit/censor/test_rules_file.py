"""censor/rules_file.py"""

from __future__ import annotations

from pathlib import Path

import pytest

from censor import profiles
from censor.rules import RuleSet
from censor.rules_file import load_rules, parse_rules, profile_rules
from sidedoor.settings import SettingsError

BELOW = """
[censor]
seed = 1
[censor.tcp]
reassembly = "none"
segments = 3
[[list]]
name = "names"
entries = ["below.example"]
[[list]]
name = "others"
entries = ["other.example"]
[[rule]]
name = "below"
when = "tls.sni under @names"
intended = "not tls.sni under @others"
actions = [{ kind = "drop" }]
"""


@pytest.fixture
def profile(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a profile with rules, a list and settings."""
    shipped = profiles.text

    def text(name: str) -> str:
        return BELOW if name == "below" else shipped(name)

    monkeypatch.setattr(profiles, "text", text)
    return "below"


def test_file(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(BELOW)
    assert load_rules(path) == parse_rules(BELOW)
    assert parse_rules("") == RuleSet()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[censor", "r.toml: not valid TOML"),
        ('[[rule]]\nname = "x"\nwhen = "tls.snj"\nactions = [{kind = "log"}]', "r.toml: rule 'x': `when`: column 1"),
        ('[[rule]]\nname = "x"\nwhen = "tls.sni in @no"\nactions = [{kind = "log"}]', "@no: no such list"),
        ('[[rule]]\nname = "x"\nwhen = "tls"\nintended = "tsl"\nactions = [{kind = "log"}]', "rule 'x': `intended`"),
        ('[[rule]]\nname = "x"\nwhen = "tls"\nactions = [{kind = "forge_dns"}]', "forge_dns answers a dns message"),
        (
            '[[rule]]\nname = "x"\nwhen = "tls"\nactions = {kind = "log"}',
            "expected an array of tables, found one table",
        ),
        (
            '[[rule]]\nname = "x"\nwhen = "tls"\nactions = [{}]',
            "kind` (rule 'x') is missing; expected one of drop, rej",
        ),
        ('[censor]\nprofile = "no-such"', "r.toml: `censor.profile`: no profile 'no-such'"),
        ("censor = 1", "r.toml: key `censor`"),
        ("[censor]\nprofile = 1", "r.toml: key `censor.profile`"),
    ],
)
def test_mistakes_name_the_file(text: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_rules(text, "r.toml")
    assert says in str(caught.value)


def test_a_profile_alone(profile: str) -> None:
    rules = profile_rules(profile)
    assert [rule.name for rule in rules.rules] == ["below"]
    assert (rules.censor.seed, rules.censor.tcp.segments) == (1, 3)


def test_a_file_is_laid_over_its_profile(profile: str) -> None:
    rules = parse_rules(
        f'[censor]\nprofile = "{profile}"\nseed = 2\n[censor.tcp]\nreassembly = "full"\n'
        '[[list]]\nname = "names"\nentries = ["above.example"]\n'
        '[[rule]]\nname = "above"\nwhen = "tls.sni under @others"\nactions = [{ kind = "allow" }]'
    )
    assert [rule.name for rule in rules.rules] == ["above", "below"]
    assert [(one.name, one.entries) for one in rules.lists] == [
        ("names", ("above.example",)),
        ("others", ("other.example",)),
    ]
    table = rules.censor
    assert (table.seed, table.profile, table.tcp.reassembly, table.tcp.segments) == (2, profile, "full", 3)


@pytest.mark.parametrize("text", ["rule = 1", "list = 1", "list = [1]", 'rule = [{ name = "x" }]'])
def test_mistakes_over_a_profile(profile: str, text: str) -> None:
    with pytest.raises(SettingsError, match="key `"):
        parse_rules(f'{text}\n[censor]\nprofile = "{profile}"')


def test_names_that_the_profile_has(profile: str) -> None:
    text = f'[censor]\nprofile = "{profile}"\n[[rule]]\nname = "below"\nwhen = "tls"\nactions = [{{ kind = "log" }}]'
    with pytest.raises(SettingsError, match="two rules are called 'below'"):
        parse_rules(text)


def test_every_shipped_profile_can_be_read() -> None:
    assert [profile_rules(name).profile is not None for name in profiles.names()] == [True] * len(profiles.names())


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("name", "list 'name': no rule asks for it; did you mean 'names'?"),
        ("x", "list 'x': no rule asks for it; they ask for names, others"),
    ],
)
def test_a_list_over_a_profile_that_no_rule_asks_for(profile: str, name: str, says: str) -> None:
    text = f'[[list]]\nname = "{name}"\n'
    assert parse_rules(text).lists[0].name == name
    with pytest.raises(SettingsError) as caught:
        parse_rules(f'[censor]\nprofile = "{profile}"\n{text}')
    assert str(caught.value).endswith(says)
