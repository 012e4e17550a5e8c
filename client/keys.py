"""The file with an end's private key: made once, readable by its owner only, never overwritten."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path

from nacl.public import PrivateKey

from client.encryption import KEY_BYTES, Encryption, decode_key, encode_key
from client.settings import EndSettings
from sidedoor.settings import SettingsError, UsageError


def default_key_file() -> Path:
    """Where `sidedoor client key` puts a key (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "sidedoor" / "client.key"


def make_key(path: str | Path) -> bool:
    """A new private key at `path`, with its folders; False: there is a file already. Raises UsageError."""
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return False
    except OSError as error:
        raise UsageError(f"key file {path}: cannot be made: {error.strerror}") from error
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"{draw_key()}\n")
    return True


def draw_key() -> str:
    """A new private key as it is written in the file: base64."""
    return base64.b64encode(bytes(PrivateKey.generate())).decode()


def read_key(path: str | Path) -> bytes:
    """The private key in the file, 32 bytes. Raises SettingsError; others than the owner may not be able to read it."""
    try:
        with open(path, "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read(200)
    except OSError as error:
        hint = "; `sidedoor client key --file` makes it" if isinstance(error, FileNotFoundError) else ""
        raise SettingsError(f"key_file {path}: cannot be read: {error.strerror}{hint}") from error
    if mode & 0o077:
        raise SettingsError(f"key_file {path}: others may read or change it (mode {mode:04o}); chmod 600 {path}")
    return _decode(text, f"key_file {path}")


def is_private_key(text: str) -> bool:
    """Whether this is written as `draw_key` does it."""
    return len(_decoded(text)) == KEY_BYTES


def _decode(text: str | bytes, origin: str) -> bytes:
    key = _decoded(text)
    if len(key) != KEY_BYTES:
        raise SettingsError(f"{origin}: is no private key made by `sidedoor client key`")
    return key


def _decoded(text: str | bytes) -> bytes:
    """Empty: this is no base64."""
    try:
        return base64.b64decode(text.strip(), validate=True)
    except ValueError:
        return b""


def public_key(private_key: str | bytes) -> str:
    """What the other end has to know, in base64. A `str` is as `draw_key` makes it. Raises SettingsError."""
    key = private_key if isinstance(private_key, bytes) else _decode(private_key, "private_key")
    return encode_key(bytes(PrivateKey(key).public_key))


def make_encryption(settings: EndSettings) -> Encryption | None:
    """What the end's settings ask for, with an ephemeral key drawn now; None: no encryption. Raises SettingsError."""
    if settings.peer_key is None:
        return None
    if settings.private_key is not None:
        key = _decode(settings.private_key, "private_key")
    else:
        assert settings.key_file is not None  # The settings have seen to it.
        key = read_key(settings.key_file)
    try:
        return Encryption(key, decode_key(settings.peer_key), ephemeral_key=bytes(PrivateKey.generate()))
    except ValueError as error:
        raise SettingsError(f"peer_key: {error}") from error
