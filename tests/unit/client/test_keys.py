from __future__ import annotations

import os
from pathlib import Path

import pytest

from client.encryption import decode_key
from client.keys import default_key_file, draw_key, make_encryption, make_key, public_key, read_key
from client.messages import Message
from client.settings import OriginAddress, ReceiverSettings
from sidedoor.settings import SettingsError, UsageError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "client.key"


def settings(key_file: Path | None, peer_key: str | None, private_key: str | None = None) -> ReceiverSettings:
    return ReceiverSettings(
        name="bob",
        origin=OriginAddress("localhost"),
        ca_file="ca.pem",
        key_file=None if key_file is None else str(key_file),
        peer_key=peer_key,
        private_key=private_key,
    )


def test_a_key_is_made_once_for_its_owner(path: Path) -> None:
    assert make_key(path)
    key = read_key(path)
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert not make_key(path)
    assert read_key(path) == key
    assert len(decode_key(public_key(key))) == 32


def test_a_key_that_others_can_read_is_refused(path: Path) -> None:
    make_key(path)
    path.chmod(0o640)
    with pytest.raises(SettingsError, match=r"others may read or change it \(mode 0640\); chmod 600"):
        read_key(path)


def test_files_that_are_no_keys(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file or directory; `sidedoor client key --file` makes it"):
        read_key(tmp_path / "nowhere")
    with pytest.raises(SettingsError, match=r"cannot be read: Is a directory$"):
        read_key(tmp_path)
    for number, text in enumerate((b"", b"no base64!", b"c2hvcnQ=")):
        file = tmp_path / str(number)
        file.touch(0o600)
        file.write_bytes(text)
        with pytest.raises(SettingsError, match="is no private key"):
            read_key(file)


def test_where_no_key_can_be_made() -> None:
    with pytest.raises(UsageError, match="cannot be made"):
        make_key("/proc/nowhere/client.key")


def test_keys_are_where_other_programs_have_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/config")
    assert default_key_file() == Path("/config/sidedoor/client.key")
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", "/home/alice")
    assert default_key_file() == Path("/home/alice/.config/sidedoor/client.key")


def test_two_ends_settings_fit_each_other(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.key"
    make_key(path)
    make_key(other)
    alice = make_encryption(settings(path, public_key(read_key(other))))
    bob = make_encryption(settings(other, public_key(read_key(path))))
    assert alice is not None
    assert bob is not None
    message = Message("alice", "bob", 1, 1, 1, 0.0, b"hello")
    assert bob.open(alice.seal(message)) == message
    later = make_encryption(settings(path, public_key(read_key(other))))
    assert later is not None
    assert later.seal(message).key != alice.seal(message).key, "the ephemeral key is each life's own"
    assert make_encryption(settings(None, None)) is None


def test_a_peers_key_that_is_ones_own(path: Path) -> None:
    make_key(path)
    with pytest.raises(SettingsError, match="peer_key: the peer's public key is this end's own"):
        make_encryption(settings(path, public_key(read_key(path))))


def test_a_key_may_be_in_the_settings_themselves(path: Path) -> None:
    make_key(path)
    own = draw_key()
    bob = make_encryption(settings(None, public_key(read_key(path)), own))
    alice = make_encryption(settings(path, public_key(own)))
    assert alice is not None
    assert bob is not None
    message = Message("alice", "bob", 1, 1, 1, 0.0, b"hello")
    assert bob.open(alice.seal(message)) == message
    with pytest.raises(SettingsError, match="private_key: is no private key") as caught:
        public_key("secret!")
    assert "secret!" not in str(caught.value)
