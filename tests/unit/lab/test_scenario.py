"""Scenarios: those that ship load, and each kind of mistake is one line that names the file and the key."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from client.policies.sidedoor_settings import SidedoorSettings
from lab.roles import ROLE_NAMES
from lab.scenario import (
    SHIPPED,
    Block,
    Expectations,
    Fault,
    ForeignCensor,
    Link,
    Scenario,
    Traffic,
    find,
    load,
    read_scenario,
    rules_text,
    shipped,
)
from sidedoor.settings import UsageError

HEAD = 'name = "mine"\ndescription = "a scenario"\n'
BLOCK = '[[block]]\nname = "all"\nrules = "all.toml"\n'
RULES = '[[rule]]\nname = "everything"\naddresses = ["203.0.113.0/24"]\naction = "drop"\n'


def folder_with(tmp_path: Path, text: str, **rule_files: str | bytes) -> Path:
    (tmp_path / "scenario.toml").write_text(text)
    for name, content in rule_files.items():
        (tmp_path / f"{name}.toml").write_bytes(content.encode() if isinstance(content, str) else content)
    return tmp_path


def refusal(folder: Path) -> str:
    with pytest.raises(UsageError) as raised:
        load(folder, roles=ROLE_NAMES)
    message = str(raised.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", shipped())
def test_what_ships_loads(name: str) -> None:
    scenario = load(find(name), roles=ROLE_NAMES)
    assert scenario.name == name == find(name).name
    assert scenario.description


def test_routes_have_names_that_the_lab_knows(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, HEAD + 'routes = ["direct", "tls-fragment", "bridge"]')
    assert load(folder, roles=ROLE_NAMES).routes == ("direct", "tls-fragment", "bridge")
    (tmp_path / "scenario.toml").write_text(HEAD + 'routes = ["direct", "proxy9"]')
    assert "key `routes`: no route 'proxy9'; expected some of direct, alternate, doh," in refusal(tmp_path)
    (tmp_path / "scenario.toml").write_text(HEAD + "routes = []")
    assert "routes" in refusal(tmp_path)


def test_the_demo_is_among_them() -> None:
    assert {"quickstart", "control"} <= set(shipped())


def test_defaults() -> None:
    scenario = read_scenario(SHIPPED / "control")
    assert (scenario.blocks, scenario.faults, scenario.repeat) == ((), (), 1)
    assert scenario.link == Scenario(name="", description="").link


def test_a_folder_of_ones_own(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, HEAD + BLOCK + '[policy]\nname = "sidedoor"\nstandby = "cold"\n', all=RULES)
    assert find(str(folder)) == folder.resolve()
    scenario = load(folder, roles=ROLE_NAMES)
    assert scenario.policy == SidedoorSettings(standby="cold")
    assert rules_text(folder, "all.toml", "all") == RULES


def test_a_foreign_censor(tmp_path: Path) -> None:
    block = '[[block]]\nname = "all"\ncommand = ["sh", "block.sh"]\nundo = ["sh", "lift.sh"]\n'
    scenario = load(folder_with(tmp_path, HEAD + '[censor]\ncommand = ["./censor"]\n' + block), roles=ROLE_NAMES)
    assert scenario.foreign_censor == ForeignCensor(command=("./censor",), ready_seconds=0.5)
    assert (scenario.blocks[0].command, scenario.blocks[0].undo) == (("sh", "block.sh"), ("sh", "lift.sh"))
    nothing = load(folder_with(tmp_path, HEAD + "[censor]\n" + block), roles=ROLE_NAMES)
    assert nothing.foreign_censor == ForeignCensor(command=None)


def test_jitter_is_within_the_delay(tmp_path: Path) -> None:
    assert load(folder_with(tmp_path, HEAD + "[link]\njitter_seconds = 0.02\nloss = 0.01"), roles=ROLE_NAMES)
    folder = folder_with(tmp_path, HEAD + "[link]\njitter_seconds = 0.03")
    assert "`jitter_seconds` (0.03) is more than `delay_seconds`" in refusal(folder)


LISTED = (
    '[[list]]\nname = "bans"\nfile = "bans.txt"\n'
    '[[rule]]\nname = "names"\nwhen = "tls.sni under @bans"\nactions = [{ kind = "drop" }]\n'
)


def test_lists_lie_beside_the_rules(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    folder = folder_with(tmp_path, HEAD + BLOCK.replace("all.toml", "rules/all.toml"))
    (folder / "rules/all.toml").write_text(LISTED)
    assert refusal(folder) == f"list 'bans': {folder}/rules/bans.txt: cannot be read: No such file or directory"
    (folder / "rules/bans.txt").write_text("blocked.example\n")
    assert load(folder, roles=ROLE_NAMES).blocks[0].rules == "rules/all.toml"


def test_no_such_scenario_names_those_that_are_there() -> None:
    with pytest.raises(UsageError, match=r"no scenario 'nosuch'.*control.*quickstart"):
        find("nosuch")
    with pytest.raises(UsageError, match=r"no scenario 'quikstart'; did you mean quickstart\?"):
        find("quikstart")


def test_a_scenarios_file_stands_for_its_folder(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, HEAD)
    assert find(str(folder / "scenario.toml")) == folder.resolve()


MISTAKES = {
    "unknown key": (HEAD + "idle_secnds = 3\n", "key `idle_secnds` is unknown; did you mean `idle_seconds`?"),
    "unknown key in a block": (HEAD + BLOCK + "rule = 1\n", "is unknown; did you mean `rules`?"),
    "unknown key of the policy": (
        HEAD + '[policy]\nname = "sidedoor"\nstandbye = "cold"\n',
        "key `policy.standbye` is unknown where `name` is 'sidedoor'; did you mean `standby`?",
    ),
    "a policy without its name": (HEAD + '[policy]\nstandby = "cold"\n', "key `policy.name` is missing"),
    "no such policy": (HEAD + '[policy]\nname = "outlin"\n', "did you mean `outline`?"),
    "unknown expectation": (HEAD + "[expect]\nloss = 0\n", "key `expect.loss` is unknown; did you mean `lost`?"),
    "missing key": (HEAD + '[[block]]\nrules = "all.toml"\n', "key `block[0].name` is missing"),
    "a block that does nothing": (
        HEAD + '[[block]]\nname = "all"\n',
        "key `block.rules` (block 'all') is missing: without a table [censor] a block has `rules`",
    ),
    "a command without a foreign censor": (
        HEAD + BLOCK + 'command = ["true"]\n',
        "key `block.command` (block 'all') is not used: without a table [censor] a block has `rules`",
    ),
    "rules for a foreign censor": (
        HEAD + "[censor]\n" + BLOCK,
        "key `block.rules` (block 'all') is not used: with a table [censor] a block has `command` and `undo`",
    ),
    "a foreign block that cannot be lifted": (
        HEAD + '[censor]\n[[block]]\nname = "all"\ncommand = ["true"]\n',
        "key `block.undo` (block 'all') is missing: with a table [censor] a block has `command` and `undo`",
    ),
    "a censor of no words": (HEAD + "[censor]\ncommand = []\n", "key `censor.command`"),
    "wrong type": (
        HEAD + 'repeat = "three"\n',
        "key `repeat`: expected an integer of at least 1; found the string 'three'",
    ),
    "wrong type deep down": (HEAD + "[link]\ndelay_seconds = true\n", "key `link.delay_seconds`"),
    "no repeat": (HEAD + "repeat = 0\n", "key `repeat`: expected an integer of at least 1; found the integer 0"),
    "negative time": (
        HEAD + "idle_seconds = -1\n",
        "key `idle_seconds`: expected a number of at least 0; found the integer -1",
    ),
    "no interval": (
        HEAD + "[traffic]\ninterval_seconds = 0\n",
        "key `traffic.interval_seconds`: expected a number above 0;",
    ),
    "no TOML": (HEAD + "repeat = \n", "not valid TOML"),
    "unknown role": (
        HEAD + '[[fault]]\nkill = "proxy3"\nat_seconds = 1\n',
        "key `fault.kill`: no role 'proxy3'; expected one of bridge, bystander",
    ),
    "two blocks of one name": (HEAD + BLOCK + BLOCK, "key `block.name`: two blocks have one name"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_names_file_and_key(tmp_path: Path, mistake: str) -> None:
    text, expected = MISTAKES[mistake]
    message = refusal(folder_with(tmp_path, text, all=RULES))
    assert message.startswith(f"{tmp_path / 'scenario.toml'}: ")
    assert expected in message


def test_a_rule_file_that_is_not_there(tmp_path: Path) -> None:
    message = refusal(folder_with(tmp_path, HEAD + BLOCK))
    assert message.startswith(f"{tmp_path / 'all.toml'}: cannot be read: No such file")
    assert "block 'all'" in message


def test_a_rule_file_with_a_mistake(tmp_path: Path) -> None:
    message = refusal(folder_with(tmp_path, HEAD + BLOCK, all=RULES.replace("drop", "dorp")))
    assert message.startswith(f"{tmp_path / 'all.toml'}: ")
    assert "dorp" in message


def test_a_rule_file_that_is_no_text(tmp_path: Path) -> None:
    message = refusal(folder_with(tmp_path, HEAD + BLOCK, all=b"\xff\xfe"))
    assert message == f"{tmp_path / 'all.toml'}: is not UTF-8 text (byte 0)"


@pytest.mark.parametrize(
    "struct", [Scenario, Link, Traffic, Block, Fault, Expectations, ForeignCensor, SidedoorSettings]
)
def test_every_key_is_in_the_manual(struct: type[msgspec.Struct]) -> None:
    text = (Path(__file__).parents[3] / "docs/lab.md").read_text(encoding="utf-8")
    heads = {Scenario: "| top level ", Block: "| `[[block]]` ", Fault: "| `[[fault]]` ", Link: "| `[link]` "}
    heads |= {Traffic: "| `[traffic]` ", Expectations: "| `[expect]` ", SidedoorSettings: "| `[policy]` "}
    heads |= {ForeignCensor: "| `[censor]` "}
    _, _, table = text.partition(f"\n{heads[struct]}")
    rows = table.partition("\n\n")[0].splitlines()[2:]
    documented = {word.strip("[]") for row in rows for word in re.findall(r"`([^`]+)`", row.split("|")[1])}
    keys = {field.encode_name for field in msgspec.structs.fields(struct)}
    assert documented - ({"name"} if struct is SidedoorSettings else set()) == keys
    defaults = {field.encode_name: field.default for field in msgspec.structs.fields(struct)}
    for row in rows:
        names = re.findall(r"`([^`]+)`", row.split("|")[1])
        numbers = [defaults.get(name) for name in names]
        if all(isinstance(number, int | float) for number in numbers):
            assert row.split("|")[2].strip() == ", ".join(f"{number:g}" for number in numbers), row


def test_every_role_that_can_be_killed_is_in_the_manual() -> None:
    text = (Path(__file__).parents[3] / "docs/lab.md").read_text(encoding="utf-8")
    (row,) = [line for line in text.splitlines() if line.startswith("| `kill` ")]
    assert set(re.findall(r"`([^`]+)`", row)) - {"kill"} == ROLE_NAMES
