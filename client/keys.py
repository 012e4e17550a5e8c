"""The file with an end's private key: made once, readable by its owner only, never overwritten."""

from __future__ import annotations

import base64
import binascii
import os
import stat
from pathlib import Path

from nacl.public import PrivateKey

from client.encryption import KEY_BYTES, Encryption, decode_key
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
    with os.fdopen(descriptor, "wb") as file:
        file.write(base64.b64encode(bytes(PrivateKey.generate())) + b"\n")
    return True


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
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise SettingsError(f"key_file {path}: is no private key made by `sidedoor client key`")
    return key


def public_key(private_key: bytes) -> bytes:
    """What the other end has to know, 32 bytes."""
    return bytes(PrivateKey(private_key).public_key)


def make_encryption(settings: EndSettings) -> Encryption | None:
    """What the end's settings ask for, with an ephemeral key drawn now; None: no encryption. Raises SettingsError."""
    if settings.key_file is None or settings.peer_key is None:
        return None
    try:
        return Encryption(
            read_key(settings.key_file), decode_key(settings.peer_key), ephemeral_key=bytes(PrivateKey.generate())
        )
    except ValueError as error:
        raise SettingsError(f"peer_key: {error}") from error
