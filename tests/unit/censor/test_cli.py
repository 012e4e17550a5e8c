"""censor/cli.py: `run` and `clean` need a kernel and are tested in tests/lab; censor/commands has the others."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from censor import cli
from censor.kernel import kernel
from censor.packet_io.netlink import KernelError
from sidedoor.settings import SettingsError, UsageError


def test_all_commands_are_there() -> None:
    output = CliRunner().invoke(cli.censor, ["--help"]).output
    listed = [line.split()[0] for line in output.split("Commands:\n")[1].splitlines()]
    assert listed == ["check", "clean", "explain", "probe", "profiles", "properties", "replay", "run"]


def test_run_reads_rules_and_opens_events_before_anything_else(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.censor, ["run", "--rules", str(tmp_path / "missing.toml")])
    assert isinstance(result.exception, SettingsError)
    result = CliRunner().invoke(cli.censor, ["run", "--events", str(tmp_path / "missing" / "events")])
    assert isinstance(result.exception, UsageError)


def test_run_refuses_queues_that_do_not_exist() -> None:
    result = CliRunner().invoke(cli.censor, ["run", "--queue", "65535", "--queues", "2"])
    assert isinstance(result.exception, UsageError)
    assert str(result.exception) == "--queues: 2 queues from 65535 on: the last one there is has number 65535"


@pytest.mark.parametrize(("found", "says"), [(True, "removed\n"), (False, "nothing to remove\n")])
def test_clean(monkeypatch: pytest.MonkeyPatch, found: bool, says: str) -> None:
    monkeypatch.setattr(kernel, "alive", lambda: ())
    monkeypatch.setattr(kernel, "cleanup", lambda: found)
    assert CliRunner().invoke(cli.censor, ["clean"]).output == says


def test_clean_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> bool:
        raise KernelError("nft failed")

    monkeypatch.setattr(kernel, "alive", lambda: ())
    monkeypatch.setattr(kernel, "cleanup", fail)
    result = CliRunner().invoke(cli.censor, ["clean"])
    assert (result.exit_code, result.output) == (1, "Error: nft failed\n")


def test_clean_leaves_a_living_censor_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "alive", lambda: (100, 101))
    monkeypatch.setattr(kernel, "cleanup", lambda: pytest.fail("it was removed"))
    result = CliRunner().invoke(cli.censor, ["clean"])
    assert isinstance(result.exception, UsageError)
    assert "a censor runs here (NFQUEUE 100, 101)" in str(result.exception)
