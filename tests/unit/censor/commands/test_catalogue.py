"""censor/commands/catalogue.py; the words are tested in tests/unit/censor/test_explanation.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from censor import profiles
from censor.commands.catalogue import explain
from censor.commands.catalogue import profiles as list_profiles
from censor.profiles import names
from sidedoor.settings import SettingsError, UsageError

PROFILE = """
[profile]
title = "Somewhere 2020"
summary = "Names are blocked."
sources = ["A paper", "A thread"]
not_modelled = ["load"]

[censor]
seed = 3

[[list]]
name = "banned"
entries = ["t.me", "192.0.2.0/24"]

[[rule]]
name = "names"
when = "tls.sni under @banned"
actions = [{ kind = "drop" }]
evidence = "A paper, table 2"
confidence = "read"

[[rule]]
name = "addresses"
action = "reject"
addresses = ["192.0.2.1"]
"""


@pytest.fixture
def one_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "names", lambda: ("real-2020",))
    monkeypatch.setattr(profiles, "text", lambda name: PROFILE)


@pytest.fixture
def rules_file(tmp_path: Path) -> str:
    path = tmp_path / "rules.toml"
    path.write_text('[[rule]]\nname = "odd"\nwhen = "ssh"\nactions = [{ kind = "log" }]')
    return str(path)


@pytest.mark.usefixtures("one_profile")
class TestProfiles:
    def test_the_table(self) -> None:
        output = CliRunner().invoke(list_profiles, env={"COLUMNS": "120"}).output
        assert [line.split() for line in output.splitlines()] == [
            ["profile", "what", "it", "is", "acts", "on"],
            ["real-2020", "Somewhere", "2020", "addresses,", "TLS"],
        ]

    def test_json(self) -> None:
        assert json.loads(CliRunner().invoke(list_profiles, ["--json"]).output) == [
            {"name": "real-2020", "title": "Somewhere 2020", "acts_on": ["addresses", "TLS"]}
        ]


@pytest.mark.usefixtures("one_profile")
class TestExplain:
    @pytest.mark.parametrize("columns", [50, 160])
    def test_all_is_told(self, columns: int) -> None:
        output = CliRunner().invoke(explain, ["real-2020"], env={"COLUMNS": str(columns)}).output
        told = " ".join(output.split())
        for text in (
            "real-2020: Somewhere 2020 Names are blocked. settings censor.seed = 3 rule addresses when",
            "rule names when tls.sni under @banned does drops the flow's packets evidence A paper, table 2 confidence "
            "read in the source itself",
            "kernel alone addresses asks about TCP to all ports",
            "not modelled load sources A paper A thread",
        ):
            assert text in told
        assert max(map(len, output.splitlines())) <= columns

    def test_json(self) -> None:
        told = json.loads(CliRunner().invoke(explain, ["real-2020", "--json"]).output)
        assert told["lists"] == [
            {"list": "banned", "rows": 2, "skipped": 0, "names": 1, "networks": 1, "urls": 0, "problems": []}
        ]
        assert (told["kernel"], told["settings"]) == (["addresses"], {"censor.seed": 3})
        assert [rule["rule"] for rule in told["rules"]] == ["addresses", "names"]
        assert told["rules"][1]["when"] == "tls.sni under @banned"
        assert (told["sources"], told["not_modelled"]) == (["A paper", "A thread"], ["load"])

    def test_a_file_is_no_profile(self, rules_file: str) -> None:
        output = CliRunner().invoke(explain, [rules_file], env={"COLUMNS": "300"}).output
        assert output.startswith(f"{rules_file}\n\nrule odd\n")
        assert "kernel alone  no rule" in output
        told = json.loads(CliRunner().invoke(explain, [rules_file, "--json"]).output)
        assert (told["title"], told["sources"]) == ("", [])

    def test_a_file_that_lists_no_rules(self, tmp_path: Path) -> None:
        path = tmp_path / "none.toml"
        path.write_text("[censor]\nremember_names = false")
        assert "asks about    nothing" in CliRunner().invoke(explain, [str(path)]).output

    def test_mistakes(self, rules_file: str) -> None:
        assert isinstance(CliRunner().invoke(explain, ["real-2021"]).exception, UsageError)
        assert isinstance(CliRunner().invoke(explain, ["real-2020", "--list", "banned=/none"]).exception, SettingsError)


def test_the_profiles_that_are_shipped_can_be_explained() -> None:
    listed = json.loads(CliRunner().invoke(list_profiles, ["--json"]).output)
    assert [one["name"] for one in listed] == list(names())
    for one in listed:
        assert one["title"]
        assert one["acts_on"]
        told = json.loads(CliRunner().invoke(explain, [one["name"], "--json"]).output)
        assert told["rules"]
