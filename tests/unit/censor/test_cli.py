"""censor/cli.py: `check`; `run` and `clean` need a kernel and are tested in tests/lab."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from censor import cli, kernel
from censor.packet_io.netlink import KernelError
from sidedoor.settings import SettingsError, UsageError
from tests.unit.censor.test_rules import GOOD


def test_check_prints_the_rules(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(GOOD + '[[rule]]\nname = "u"\naction = "drop"\naddresses = ["192.0.2.1"]\nprotocol = "udp"\n')
    result = CliRunner().invoke(cli.censor, ["check", str(path)], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    for text in (
        "Messenger.Example. and below",
        "dns_forge 192.0.2.66, 2001:db8:1::66",
        "killed by rst",
        "203.0.113.0/24 tcp 443",
        "192.0.2.1/32 udp",
        "untouched",
        "censor is dead: stop",
    ):
        assert text in result.output
    assert not set("┃│━─") & set(result.output)


def test_check_names_the_mistake(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text("[[rule]]\nname = 1\n")
    result = CliRunner().invoke(cli.censor, ["check", str(path)])
    assert isinstance(result.exception, SettingsError)
    assert str(path) in str(result.exception)


def test_run_reads_rules_and_opens_events_before_anything_else(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.censor, ["run", "--rules", str(tmp_path / "missing.toml")])
    assert isinstance(result.exception, SettingsError)
    result = CliRunner().invoke(cli.censor, ["run", "--events", str(tmp_path / "missing" / "events")])
    assert isinstance(result.exception, UsageError)


@pytest.mark.parametrize(("found", "says"), [(True, "removed\n"), (False, "nothing to remove\n")])
def test_clean(monkeypatch: pytest.MonkeyPatch, found: bool, says: str) -> None:
    monkeypatch.setattr(kernel, "cleanup", lambda: found)
    assert CliRunner().invoke(cli.censor, ["clean"]).output == says


def test_clean_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> bool:
        raise KernelError("nft failed")

    monkeypatch.setattr(kernel, "cleanup", fail)
    result = CliRunner().invoke(cli.censor, ["clean"])
    assert (result.exit_code, result.output) == (1, "Error: nft failed\n")
