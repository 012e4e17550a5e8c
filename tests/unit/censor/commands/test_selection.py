"""censor/commands/selection.py"""

from __future__ import annotations

from pathlib import Path

import pytest

from censor import profiles
from censor.commands.selection import empty_lists, named, selected
from censor.lists.block_list import BlockList
from sidedoor.settings import UsageError

RULES = """
[[list]]
name = "banned"
file = "banned.txt"

[[list]]
name = "white"

[[rule]]
name = "sni"
when = "tls.sni under @banned and not tls.sni under @white"
actions = [{ kind = "drop" }]
"""


@pytest.fixture
def rules_file(tmp_path: Path) -> str:
    (tmp_path / "banned.txt").write_text("messenger.example\n")
    path = tmp_path / "rules.toml"
    path.write_text(RULES)
    return str(path)


@pytest.fixture
def shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """One profile."""
    monkeypatch.setattr(profiles, "names", lambda: ("real-2020",))
    monkeypatch.setattr(profiles, "text", lambda name: RULES.replace('file = "banned.txt"\n', ""))


def names(path: str, list_name: str, *list_files: str) -> frozenset[str]:
    content = selected(path, None, list_files).lists().holders[list_name].content
    assert isinstance(content, BlockList)
    return content.domains.names


def test_a_file_and_the_lists_beside_it(rules_file: str) -> None:
    assert [rule.name for rule in selected(rules_file, None).rules.rules] == ["sni"]
    assert names(rules_file, "banned") == {"messenger.example"}
    assert empty_lists(selected(rules_file, None).lists().holders) == ["white"]


def test_another_file_for_a_list(rules_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "other.txt").write_text("other.example\n")
    monkeypatch.chdir(folder)
    assert names(rules_file, "banned", "banned=other.txt") == {"other.example"}


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("banned", "--list banned: expected NAME=FILE"),
        ("banned=", "--list banned=: expected NAME=FILE"),
        ("black=x", "--list black=x: the rules have no list 'black' (they have banned, white)"),
    ],
)
def test_mistakes_in_lists(rules_file: str, option: str, says: str) -> None:
    with pytest.raises(UsageError) as raised:
        selected(rules_file, None, [option])
    assert str(raised.value) == says


def test_rules_without_lists(tmp_path: Path) -> None:
    (tmp_path / "none.toml").write_text("")
    with pytest.raises(UsageError, match="they have none"):
        selected(str(tmp_path / "none.toml"), None, ["a=b"])


def test_a_list_that_is_not_there(rules_file: str) -> None:
    with pytest.raises(UsageError, match=r"missing\.txt: cannot be read"):
        selected(rules_file, None, ["banned=missing.txt"]).lists()


@pytest.mark.parametrize("both", [("a.toml", "b"), (None, None)])
def test_rules_or_a_profile(both: tuple[str | None, str | None]) -> None:
    with pytest.raises(UsageError, match="expected one of --rules FILE and --profile NAME"):
        selected(*both)


def test_seed(rules_file: str) -> None:
    assert selected(rules_file, None).rules.censor.seed == 0
    assert selected(rules_file, None, seed=7).rules.censor.seed == 7


@pytest.mark.usefixtures("shipped")
def test_named(rules_file: str) -> None:
    assert named("real-2020").rules.censor.profile == "real-2020"
    assert named(rules_file).folder == Path(rules_file).parent
    with pytest.raises(UsageError, match="real-202: neither a profile nor a file; did you mean real-2020"):
        named("real-202")
    with pytest.raises(UsageError, match="nonsense: neither a profile nor a file; `sidedoor censor profiles`"):
        named("nonsense")
    with pytest.raises(UsageError, match=r"missing\.toml: cannot be read"):
        named("missing.toml")
