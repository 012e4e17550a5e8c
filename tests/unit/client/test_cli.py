from __future__ import annotations

import math
from pathlib import Path

import pytest

from client.certificates import write_self_signed
from client.command_line import Seconds
from client.keys import public_key, read_key
from client.state.receiving import ReceivingState
from sidedoor.cli import main

END = ["--name", "alice", "--origin", "localhost:1"]


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line on stderr of a call that exits 2."""
    with pytest.raises(SystemExit) as caught:
        main(["client", *arguments])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["receive", *END, "--ca-file", "/nowhere/ca.pem"], "--ca-file /nowhere/ca.pem: cannot be used: No such file"),
        (["receive", "--name", "bob"], "sidedoor: --origin and --ca-file are required"),
        (["receive", *END, "--ca-file", "x", "--resolve", "a"], "expected NAME=ADDRESS"),
        (["receive", "--config", "/nowhere.toml"], "/nowhere.toml: cannot be read"),
        (["send", "--origin", "localhost:x"], "expected HOST:PORT"),
        (["send", "--proxy", "localhost:1080"], "expected NAME=HOST:PORT"),
        (["send", "--proxy", "p=user@localhost:1080"], "go together"),
        (
            ["send", *END, "--ca-file", "x", "--peer", "bob", "--key", "/nowhere"],
            "--key and --peer-key go together, and there is no --peer-key",
        ),
        (
            ["send", *END, "--ca-file", "x", "--peer", "bob", "--peer-key", "AAAA"],
            "--key and --peer-key go together, and there is no --key",
        ),
        (["receive", *END, "--ca-file", "x", "--key", "y", "--peer-key", "AAAA"], "expected a public key, 44 char"),
        (["send", *END, "--ca-file", "x", "--peer", "alice"], "--peer is 'alice', this end's own name; expected the"),
        (["chat", *END, "--ca-file", "x", "--peer", "alice"], "--peer is 'alice', this end's own name; expected the"),
        (["key", "--file", "/proc/nowhere"], "key file /proc/nowhere: cannot be made"),
        (["origin", "--host-name", "a"], "--self-signed"),
        (["origin", "--self-signed", "d", "--certificate", "c"], "give it, or --certificate and --key"),
        (["origin", "--listen", "127.0.0.1:0", "--certificate", "/nowhere", "--key", "/nowhere"], "cannot be used"),
        (["origin", "--listen", "127.0.0.1:0", "--self-signed", "/proc/nowhere"], "cannot be made"),
        (["origin", "--listen", "127.0.0.1:0"], "--certificate and --key are required"),
        (["origin", "--self-signed", "x"], "--listen is required"),
        (["send", "--route", "sock5://h"], "did you mean `socks5:`?"),
        (["bridge", "--listen", "127.0.0.1:0"], "--key and --target are required"),
        (["bridge", "--listen", "127.0.0.1:0", "--target", "h", "--key", "cafe"], "expected 64 hexadecimal digits"),
        (["bridge", "--listen", "127.0.0.1:0", "--target", "h", "--key", "cafe"], "sidedoor: --key: expected 64"),
        (["bridge", "--listen", "127.0.0.1:0", "--target", "h"], "the environment's SIDEDOOR_BRIDGE_KEY, too"),
        (["send", "--ca-file", "x"], "--name, --peer and --origin are required"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    line = fails(capsys, *arguments)
    assert line.startswith("sidedoor: ")
    assert message in line


def test_a_key_from_the_environment_is_said_to_come_from_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIDEDOOR_BRIDGE_KEY", "cafe")
    line = fails(capsys, "bridge", "--listen", "127.0.0.1:0", "--target", "h")
    assert line.startswith("sidedoor: the environment's SIDEDOOR_BRIDGE_KEY: expected 64 hexadecimal digits")
    assert "cafe" not in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["send", "--interval", "inf"], "'--interval': 'inf' is no time in seconds; expected a number of at least 0."),
        (["send", "--interval", "nan"], "'--interval': 'nan' is no time in seconds"),
        (["send", "--timeout", "-3"], "'--timeout': -3.0 is not in the range x>=0"),
        (["send", "--timeout", "nan"], "'--timeout': 'nan' is no time in seconds"),
        (["chat", "--timeout", "nan"], "'--timeout': 'nan' is no time in seconds"),
    ],
)
def test_what_is_no_time(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["client", *arguments])
    assert message in capsys.readouterr().err


def test_waiting_for_acks_may_have_no_end() -> None:
    assert Seconds(endless=True).convert("inf", None, None) == math.inf


def test_a_file_of_settings_names_its_mistakes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = tmp_path / "send.toml"
    config.write_text('name = "alice"\npeers = "bob"\n')
    assert f"{config}: key `peers` is unknown; did you mean `peer`?" in fails(capsys, "send", "--config", str(config))


def test_a_bad_listening_address(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    files = write_self_signed(tmp_path, ["localhost"])
    certificate = ["--certificate", str(files.certificate), "--key", str(files.key)]
    assert "sidedoor: --listen '1.2.3.4': expected HOST:PORT" in fails(
        capsys, "origin", "--listen", "1.2.3.4", *certificate
    )


def test_a_key_is_made_once_and_its_public_part_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "alice.key")
    with pytest.raises(SystemExit, match="0"):
        main(["client", "key", "--file", path])
    made = capsys.readouterr()
    assert made.out == public_key(read_key(path)) + "\n"
    assert made.err == f"sidedoor: made the private key {path}; this end has it as --key {path}\n"
    with pytest.raises(SystemExit, match="0"):
        main(["client", "key", "--file", path])
    again = capsys.readouterr()
    assert again.out == made.out
    assert again.err.startswith("sidedoor: using the private key")


def test_a_state_file_that_is_anothers_is_one_line_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = write_self_signed(tmp_path, ["localhost"])
    state = str(tmp_path / "state.db")
    ReceivingState(state, name="bob").close()
    line = fails(capsys, "send", *END, "--peer", "bob", "--ca-file", str(files.ca), "--state", state)
    assert line == f"sidedoor: --state {state}: belongs to receiver bob, not to sender alice to bob; name another file"


@pytest.fixture
def end(tmp_path: Path) -> list[str]:
    """The options of an end whose certificate is in a folder of its own."""
    folder = tmp_path / "pki"
    write_self_signed(folder, ["localhost"])
    return [*END, "--ca-file", str(folder / "ca.pem")]


def test_a_chat_that_is_refused_leaves_nothing_behind(
    end: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = str(tmp_path / "state.db")
    ReceivingState(state, name="bob").close()
    before = sorted(tmp_path.iterdir())
    options = ["--state", state, "--attachments", str(tmp_path / "received" / "files")]
    assert f"--state {state}: belongs to receiver bob" in fails(capsys, "chat", *end, "--peer", "bob", *options)
    assert sorted(tmp_path.iterdir()) == before


def test_a_sender_whose_state_is_something_else_leaves_no_lock(
    end: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "letter"
    state.write_text("dear friend\n" * 100)
    before = sorted(tmp_path.iterdir())
    assert "file is not a database" in fails(capsys, "send", *end, "--peer", "bob", "--state", str(state))
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--memory-file", "{}/no/networks", "--memory-file {}/no/networks: there is no folder {}/no; make it"),
        ("--proxy-list", "c0" * 32 + "={}/no/list", "--proxy-list {}/no/list: there is no folder {}/no; make it"),
        ("--attachments", "/proc", "--attachments /proc: cannot be written"),
        ("--attachments", "/proc/nowhere", "--attachments /proc/nowhere: cannot be made"),
    ],
)
def test_places_where_nothing_can_be_kept_are_told_at_the_start(
    end: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str, message: str
) -> None:
    line = fails(capsys, "chat", *end, "--peer", "bob", option, value.replace("{}", str(tmp_path)))
    assert line.startswith(f"sidedoor: {message.replace('{}', str(tmp_path))}")
