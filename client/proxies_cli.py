"""`sidedoor client proxies`: make a key, sign a list of proxies with it, look at a signed one."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec
from nacl.signing import SigningKey

from client.command_line import say
from client.keys import is_private_key
from client.proxy_list import ListError, ListSource, sign, verified
from sidedoor.settings import SettingsError, UsageError, read, read_text

_KEY_DIGITS = 64


@click.group(short_help="Sign lists of proxies for clients; look at them.")
def proxies() -> None:
    """Make and look at signed lists of proxies, which an origin passes on to its clients."""


@proxies.command()
@click.argument("file", type=click.Path())
def key(file: str) -> None:
    """Print the public key of the signing key in FILE, which is made if it is not there."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        signing_key = _signing_key(file)
    except OSError as error:
        raise UsageError(f"{file}: the key cannot be written: {error.strerror}") from error
    else:
        signing_key = SigningKey.generate()
        with open(descriptor, "w", encoding="ascii") as stream:
            stream.write(bytes(signing_key).hex() + "\n")
    click.echo(bytes(signing_key.verify_key).hex())


@proxies.command("sign")
@click.option("--key", "key_file", required=True, type=click.Path(), help="The signing key; `key` makes one.")
@click.argument("list_file", metavar="LIST.TOML", type=click.Path())
def sign_list(key_file: str, list_file: str) -> None:
    """Sign the list in LIST.TOML; the documents, one a line, go to stdout.

    LIST.TOML has `version` (higher than the last), `expires` (a time with its zone), `[[routes]]` as in a sender's
    settings and, to show each network only a share of them, `parts`.
    """
    source = read(list_file, ListSource)
    if source.expires <= datetime.now(UTC):
        raise UsageError(f"{list_file}: `expires` is in the past, {source.expires}: no client would take the list")
    try:
        documents = sign(source, _signing_key(key_file))
    except ListError as error:
        raise UsageError(f"{list_file}: {error}") from error
    if source.parts > len(source.routes):
        say(f"{list_file}: {source.parts} parts and fewer routes: who gets a part without any has no proxy of it")
    for document in documents:
        click.echo(document)


@proxies.command()
@click.option("--public-key", required=True, help="Whose signature there must be; 64 hexadecimal digits.")
@click.argument("file", type=click.Path())
def show(public_key: str, file: str) -> None:
    """Check the signatures in FILE and print what is in it; exit 2 if any is not right."""
    expected = _from_hex(public_key, "--public-key")
    for number, line in enumerate(read_text(file).splitlines(), 1):
        try:
            listing = verified(line.encode(), expected)
        except ListError as error:
            raise UsageError(f"{file}, line {number}: {error}") from error
        header = listing.header
        state = "expired" if header.expires <= datetime.now(UTC) else "expires"
        skipped = f", {listing.skipped} of a kind that is not known here" if listing.skipped else ""
        count = len(listing.routes)
        click.echo(
            f"version {header.version}, part {header.part + 1} of {header.parts}, {state} "
            f"{header.expires:%Y-%m-%d %H:%M %Z}, {count} route{'s' * (count != 1)}{skipped}"
        )
        for route in listing.routes:
            click.echo(f"  {msgspec.json.encode(route).decode()}")


def _signing_key(path: str) -> SigningKey:
    if not Path(path).exists():
        raise SettingsError(f"{path}: no such file; `sidedoor client proxies key {path}` makes a signing key")
    text = read_text(path).strip()
    if is_private_key(text):
        raise SettingsError(
            f"{path}: this is an end's key, of `sidedoor client key`, which signs nothing; "
            "`sidedoor client proxies key FILE` makes a signing key"
        )
    return SigningKey(_from_hex(text, path))


def _from_hex(text: str, where: str) -> bytes:
    """Never shows the text: it may be a signing key."""
    try:
        key_bytes = bytes.fromhex(text)
    except ValueError:
        key_bytes = b""
    if len(key_bytes) * 2 != _KEY_DIGITS:
        raise SettingsError(f"{where}: no key: expected {_KEY_DIGITS} hexadecimal digits")
    return key_bytes
