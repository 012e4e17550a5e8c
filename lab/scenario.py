"""Scenarios: what a run does and what it must show, as a folder with a `scenario.toml`.

`lab/scenarios/NAME/` are the ones that ship; any folder of the same shape will do. Rule files that a block names lie
beside the `scenario.toml`.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated

import msgspec

from censor.lists import binding
from censor.rules_file import parse_rules
from client.policies.catalogue import PolicySettings
from client.policies.sidedoor_settings import SidedoorSettings
from lab.routes import route_names
from lab.topology import standard
from sidedoor.settings import UsageError, read

SHIPPED = Path(__file__).parent / "scenarios"

Seconds = Annotated[float, msgspec.Meta(ge=0)]
PositiveSeconds = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=0)]
PositiveCount = Annotated[int, msgspec.Meta(ge=1)]
Command = Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
"""A program and its arguments; it runs where the files beside the scenario are."""


class Link(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The wan between the censor and everything else, as it fares with each packet one way (lab/link.py).

    delay_seconds, give or take jitter_seconds; loss: the share of packets that never arrives.
    """

    delay_seconds: Seconds = 0.02
    jitter_seconds: Seconds = 0.0
    loss: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0

    def __post_init__(self) -> None:
        if self.jitter_seconds > self.delay_seconds:
            raise ValueError(f"`jitter_seconds` ({self.jitter_seconds:g}) is more than `delay_seconds`")


class Traffic(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the sender sends. The interval is at most half the RTT, else it is the floor of every time measured."""

    interval_seconds: PositiveSeconds = 0.02
    message_bytes: PositiveCount = 200


class ForeignCensor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another program than Sidedoor's censor on the censor's host, or none: what blocks do there is all there is."""

    command: Command | None = None
    """Runs as long as the run does; if it ends before, the run is over."""
    ready_seconds: Annotated[float, msgspec.Meta(ge=0, le=15)] = 0.5
    """It is given this time before anything else happens."""


class Block(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One episode: direct and healthy -> block -> recovered -> unblock -> failed back."""

    name: str
    rules: str | None = None
    """The file with the censor's rules, beside the scenario."""
    command: Command | None = None
    """With a foreign censor, in place of `rules`: what is run on its host to begin the block ..."""
    undo: Command | None = None
    """... and to lift it. Both are to end by themselves, with status 0."""
    healthy_seconds: Seconds = 3.0
    """Before the block; a random part of `jitter_seconds` is added, against the client's timers."""
    jitter_seconds: Seconds = 0.5
    block_seconds: Seconds = 5.0
    """The block stands at least this long."""
    recover_within_seconds: Seconds = 15.0
    """When nothing has recovered by then the block is lifted and the episode is right-censored."""
    fail_back_within_seconds: Seconds = 20.0


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A role that is killed (SIGKILL) so many seconds into the run."""

    kill: str
    at_seconds: Seconds
    again_after_seconds: Seconds | None = None
    """So long after its death it is started again, with the same settings; None: it stays dead."""


class Expectations(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What must hold of every run for exit status 0; a field that is left out is not checked."""

    recovered: bool | None = None
    failed_back: bool | None = None
    lost: Count | None = None
    duplicated_application: Count | None = None
    messages_at_least: Count | None = None
    hits_at_least: Count | None = None
    switches: Count | None = None
    leaks: Count | None = None
    plaintext: Count | None = None


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole of a `scenario.toml`."""

    name: str
    description: str
    repeat: PositiveCount = 1
    timeout_seconds: PositiveSeconds = 120.0
    """For one repeat, all in all."""
    idle_seconds: Seconds = 0.0
    """How long a scenario without blocks sends."""
    link: Link = Link()
    foreign_censor: ForeignCensor | None = msgspec.field(name="censor", default=None)
    traffic: Traffic = Traffic()
    policy: PolicySettings = SidedoorSettings()
    """Settings of the sender's policy (`client.policies`)."""
    routes: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] | None = None
    """The sender's routes by their names (`lab.routes`), in order of preference; left out: direct and all proxies."""
    blocks: tuple[Block, ...] = msgspec.field(name="block", default=())
    faults: tuple[Fault, ...] = msgspec.field(name="fault", default=())
    expect: Expectations = Expectations()


def find(name: str) -> Path:
    """The folder of a shipped scenario's name, or of a path (its scenario.toml's will do).

    Raises UsageError with the nearest name that there is, or with all of them.
    """
    path = Path(name)
    for folder in (SHIPPED / name, path.parent if path.name == "scenario.toml" else path):
        if (folder / "scenario.toml").is_file():
            return folder.resolve()
    if near := difflib.get_close_matches(name, shipped(), n=1):
        raise UsageError(f"no scenario {name!r}; did you mean {near[0]}?")
    raise UsageError(f"no scenario {name!r}: neither a folder with a scenario.toml nor one of {', '.join(shipped())}")


def shipped() -> list[str]:
    """The names of the scenarios that come with Sidedoor."""
    return sorted(path.parent.name for path in SHIPPED.glob("*/scenario.toml"))


def read_scenario(folder: Path) -> Scenario:
    """The scenario in `folder`. Raises SettingsError that names file and key."""
    return read(folder / "scenario.toml", Scenario)


def load(folder: Path, *, roles: frozenset[str]) -> Scenario:
    """The scenario in `folder`, its rule files and the `roles` it names checked, too. Raises UsageError."""
    file = folder / "scenario.toml"
    scenario = read_scenario(folder)
    known = route_names(standard())
    if unknown := [name for name in scenario.routes or () if name not in known]:
        raise UsageError(f"{file}: key `routes`: no route {unknown[0]!r}; expected some of {', '.join(known)}")
    for block in scenario.blocks:
        _check_block(file, block, foreign=scenario.foreign_censor is not None)
        if block.rules is not None:
            _check_lists(folder / block.rules, rules_text(folder, block.rules, block.name))
    names = [block.name for block in scenario.blocks]
    if len(set(names)) < len(names):
        raise UsageError(f"{file}: key `block.name`: two blocks have one name; found {names}")
    for fault in scenario.faults:
        if fault.kill not in roles:
            raise UsageError(
                f"{file}: key `fault.kill`: no role {fault.kill!r}; expected one of {', '.join(sorted(roles))}"
            )
    return scenario


def _check_block(file: Path, block: Block, *, foreign: bool) -> None:
    """Raises UsageError: the block is not one for such a censor."""
    expected = ("command", "undo") if foreign else ("rules",)
    of_whom = "with a table [censor]" if foreign else "without a table [censor]"
    for key in ("rules", "command", "undo"):
        if (getattr(block, key) is not None) != (key in expected):
            wrong = "is missing" if key in expected else "is not used"
            names = " and ".join(f"`{name}`" for name in expected)
            raise UsageError(f"{file}: key `block.{key}` (block {block.name!r}) {wrong}: {of_whom} a block has {names}")


def _check_lists(file: Path, text: str) -> None:
    """Raises UsageError: a list that the rules in `file` name cannot be read."""
    for one in parse_rules(text, origin=str(file)).lists:
        binding.load(one, file.parent)


def rules_text(folder: Path, rules: str, block: str) -> str:
    """The text of the rule file of a block, known to be valid. Raises UsageError that names file and block."""
    path = folder / rules
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror} (rules of block {block!r})") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: is not UTF-8 text (byte {error.start})") from error
    parse_rules(text, origin=str(path))
    return text
