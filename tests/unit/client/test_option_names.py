from __future__ import annotations

import pytest

from client.option_names import in_options

OPTIONS = {
    "key_file": "--key",
    "peer_key": "--peer-key",
    "peer": "--peer",
    "state_file": "--state",
    "listen": "--listen",
}


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (
            "options: key_file and peer_key go together, and there is no peer_key",
            "--key and --peer-key go together, and there is no --peer-key",
        ),
        ("options: peer_key: expected a public key", "--peer-key: expected a public key"),
        ("options: key `peer`: is empty", "--peer: is empty"),
        ("options: peer is 'peer', no peer", "--peer is 'peer', no peer"),
        ("options: peer_key: not in /tmp/key_file.d", "--peer-key: not in /tmp/key_file.d"),
        ("state_file a b.db: in use", "--state a b.db: in use"),
        ("listen '1.2.3.4': expected HOST:PORT", "--listen '1.2.3.4': expected HOST:PORT"),
    ],
)
def test_settings_that_were_options_are_called_so(message: str, shown: str) -> None:
    assert in_options(message, OPTIONS, {"state_file", "listen"}) == shown


@pytest.mark.parametrize(
    "message",
    [
        "send.toml: key_file and peer_key go together, and there is no peer_key",
        "key_file a.key: cannot be read",  # of the file of settings: no --key was given
        "options: two routes have the same name: 'peer_key'",
        "cannot listen on 1.2.3.4:1: in use",
        "listen to me",
        "nameserver 'x': expected ADDRESS",
        "--peer is empty",
    ],
)
def test_what_was_no_option_keeps_its_name(message: str) -> None:
    assert in_options(message, OPTIONS, {"state_file", "listen"}) == message
