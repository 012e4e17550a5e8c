"""Rules with lists are put in force: what the censor is told, what it can read meanwhile, what is left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from censor.rules_file import parse_rules
from lab.control import CommandFailed
from lab.deployment import Deployment
from lab.enforcement import enforce, recovery_of
from sidedoor.settings import SettingsError, UsageError
from tests.unit.lab.test_deployment import PaperRuntime

RULE = '[[rule]]\nname = "names"\nwhen = "tls.sni under @bans"\nactions = [{ kind = "drop" }]\n'


class PaperCensor:
    """The line to the censor; it reads the files that it is told of, below `host`, which it calls /seen."""

    def __init__(self, host: Path) -> None:
        self._host = host
        self.told: list[dict[str, Any]] = []
        self.read: dict[str, bytes] = {}
        self.refuses = False

    async def call(self, command: str, /, **arguments: Any) -> dict[str, Any]:
        assert command == "apply"
        self.told.append(arguments)
        for name, file in arguments["files"].items():
            self.read[name] = (self._host / Path(file).relative_to("/seen")).read_bytes()
        if self.refuses:
            raise CommandFailed("censor: apply: no")
        return {"ok": True}


class Place:
    """The lab's folder, and beside it the rules'."""

    def __init__(self, folder: Path) -> None:
        self.rules, self.state = folder / "rules", folder / "state"
        self.rules.mkdir()
        self.state.mkdir()
        self.censor = PaperCensor(folder)
        self.deployment = Deployment(PaperRuntime(folder), self.state, folder / "out")

    async def enforce(self, text: str) -> tuple[str, ...]:
        line: Any = self.censor
        return await enforce(line, self.deployment, text, origin="rules.toml", folder=self.rules)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def test_rules_without_files(place: Place) -> None:
    text = '[[list]]\nname = "bans"\nentries = ["blocked.example"]\n' + RULE
    assert await place.enforce(text) == ("names",)
    assert place.censor.told == [{"rules": text, "origin": "rules.toml", "files": {}}]


async def test_the_censor_reads_copies_that_are_gone_afterwards(place: Place, tmp_path: Path) -> None:
    (place.rules / "below").mkdir()
    (place.rules / "below/dump.csv").write_bytes(b"\xff\n")
    (tmp_path / "others.txt").write_text("other.example\n")
    second = f'[[list]]\nname = "others"\nfile = "{tmp_path / "others.txt"}"\n'
    await place.enforce('[[list]]\nname = "bans"\nfile = "below/dump.csv"\n' + second + RULE)
    assert place.censor.read == {"bans": b"\xff\n", "others": b"other.example\n"}
    (told,) = place.censor.told
    assert {name: Path(file).name for name, file in told["files"].items()} == {
        "bans": "dump.csv",
        "others": "others.txt",
    }
    assert list(place.state.iterdir()) == []


async def test_a_file_that_is_not_there(place: Place) -> None:
    with pytest.raises(UsageError, match=rf"^{place.rules}/no\.txt: cannot be read: No such file"):
        await place.enforce('[[list]]\nname = "bans"\nfile = "no.txt"\n' + RULE)
    assert place.censor.told == []
    assert list(place.state.iterdir()) == []


async def test_bad_rules_go_no_further(place: Place) -> None:
    with pytest.raises(SettingsError, match=r"^rules\.toml: .*bans"):
        await place.enforce(RULE)
    assert place.censor.told == []


async def test_what_the_censor_refuses_is_removed_too(place: Place) -> None:
    (place.rules / "bans.txt").write_text("blocked.example\n")
    place.censor.refuses = True
    with pytest.raises(CommandFailed, match=r"no$"):
        await place.enforce('[[list]]\nname = "bans"\nfile = "bans.txt"\n' + RULE)
    assert list(place.state.iterdir()) == []


def test_what_lets_some_pass_is_told_by_goodput() -> None:
    head = '[[rule]]\nname = "flows"\nwhen = "server.port == 443"\n'
    slow = 'actions = [{ kind = "police", rate_bytes_per_second = 16000, burst_bytes = 16000 }]\n'
    frozen = 'actions = [{ kind = "freeze", bytes = 16384 }]\n'
    gone = 'actions = [{ kind = "drop" }]\n'
    found = [recovery_of(parse_rules(head + actions, origin="x").rules) for actions in (slow, frozen, gone)]
    assert found == ["goodput", "goodput", "acks"]
    assert recovery_of(()) == "acks"
