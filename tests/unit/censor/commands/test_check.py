"""censor/commands/check.py"""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from censor.commands.check import check
from sidedoor.settings import SettingsError, UsageError
from tests.unit.censor.test_rules import GOOD

WITH_LISTS = """
[[list]]
name = "banned"
file = "banned.txt"

[[list]]
name = "white"

[[rule]]
name = "sni"
when = "tls.sni under @banned and not tls.sni in @white"
actions = [{ kind = "drop" }]
"""


def checked(path: Path, *options: str, columns: int = 400) -> str:
    result = CliRunner().invoke(check, [str(path), *options], env={"COLUMNS": str(columns)})
    assert result.exit_code == 0, result.exception
    return result.output


def test_the_rules(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(GOOD + '[[rule]]\nname = "u"\naction = "drop"\naddresses = ["192.0.2.1"]\nprotocol = "udp"\n')
    output = checked(path)
    for text in (
        'dns.name under ["messenger.example"]',
        "192.0.2.66, 2001:db8:1::66",
        "are ended by RST",
        "are cut, too",
        'protocol == "udp"',
        "untouched",
        "new flows when the censor is dead: stop",
    ):
        assert text in output
    assert not set("┃│━─") & set(output)
    assert max(map(len, checked(path, columns=50).splitlines())) <= 50


def test_the_lists(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(WITH_LISTS)
    (tmp_path / "banned.txt").write_text("t.me\n192.0.2.0/24\n198.51.100.7\nno name\n")
    output = checked(path)
    assert [line.split() for line in output.splitlines() if line.startswith((" list", " banned", " white"))] == [
        ["list", "rows", "skipped", "names", "networks", "URLs"],
        ["banned", "4", "1", "1", "2", "0"],
        ["white", "0", "0", "0", "0", "0"],
    ]
    assert "\nbanned: line 4 is skipped: " in output
    assert "\nwhite: is empty; --list white=FILE gives it entries\n" in output
    (tmp_path / "white.txt").write_text("web.t.me\n")
    output = checked(path, "--list", f"white={tmp_path / 'white.txt'}")
    assert "is empty" not in output


def test_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text("[[rule]]\nname = 1\n")
    for arguments, says in (([str(path)], str(path)), ([str(tmp_path / "none")], "cannot be read")):
        error = CliRunner().invoke(check, arguments).exception
        assert isinstance(error, SettingsError)
        assert says in str(error)
    path.write_text(WITH_LISTS)
    for options in ([], ["--list", "banned=none"], ["--list", "black=none"]):
        with pytest.raises(UsageError):
            check.main([str(path), *options], standalone_mode=False)
