"""`sidedoor client`: the origin, the bridge, keys; what a person uses is in `client.person_cli`, `client.chat`."""

from __future__ import annotations

import contextlib
import copy

import click
from click.core import ParameterSource

from client.bridge import serve_bridge
from client.certificates import CertificateFiles, check_self_signed, write_self_signed
from client.chat.cli import chat
from client.command_line import announcing, config_option, emitting, events_option, run, say
from client.keys import default_key_file, make_key, public_key, read_key
from client.option_names import Command
from client.options import make_settings, origin_address
from client.origin import bind_all, serve_origin
from client.person_cli import listen, probe, send
from client.proxies_cli import proxies
from client.routes.settings import parse_key
from client.settings import BridgeSettings, OriginSettings
from sidedoor.settings import SettingsError, UsageError

_KEY_VARIABLE = "SIDEDOOR_BRIDGE_KEY"
_KEY_HINT = f"; the key can be in the environment's {_KEY_VARIABLE}, too"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def client() -> None:
    """Run the messenger: chat, send, listen, see which routes work; serve its origin."""


client.add_command(chat)
client.add_command(send)
client.add_command(listen)
_receive = copy.copy(listen)  # The name that it had.
_receive.hidden = True
client.add_command(_receive, "receive")
client.add_command(probe)
client.add_command(proxies)


@client.command(short_help="Print this end's public key; make one if there is none.")
@click.option("--file", type=click.Path(), help="Where it is; default: ~/.config/sidedoor/client.key.")
def key(file: str | None) -> None:
    """Print this end's public key, for --peer-key at the other end; make the private one if there is none."""
    path = file or str(default_key_file())
    made = make_key(path)
    click.echo(public_key(read_key(path)))
    say(f"{'made' if made else 'using'} the private key {path}; this end has it as --key {path}")


@client.command(cls=Command)
@config_option
@events_option
@click.option("--listen", multiple=True, metavar="HOST:PORT", help="Where to listen. May be repeated.")
@click.option("--certificate", type=click.Path(), help="PEM file with the certificate chain.")
@click.option("--key", type=click.Path(), help="PEM file with its key.")
@click.option(
    "--self-signed",
    type=click.Path(),
    metavar="DIR",
    help="Use ca.pem, leaf.pem and leaf.key in DIR; make them if none of them is there.",
)
@click.option("--host-name", multiple=True, help="With --self-signed: a name or address for the certificate.")
@click.option("--proxy-list", type=click.Path(), help="A signed list of proxies for the clients; see `proxies`.")
def origin(
    config: str | None,
    events: str | None,
    listen: tuple[str, ...],
    certificate: str | None,
    key: str | None,
    self_signed: str | None,
    host_name: tuple[str, ...],
    proxy_list: str | None,
) -> None:
    """Serve the origin until interrupted."""
    files = None
    if self_signed is not None:
        if certificate or key:
            raise UsageError("--self-signed makes a certificate and its key: give it, or --certificate and --key")
        files = CertificateFiles.within(self_signed)
        certificate, key = str(files.certificate), str(files.key)
    elif host_name:
        raise UsageError("--host-name names what --self-signed makes: give both or none")
    settings = make_settings(
        config,
        OriginSettings,
        {"listen": listen or None, "certificate": certificate, "key": key, "proxy_list": proxy_list},
        hint="" if files else "; --self-signed DIR makes a certificate and its key",
    )
    with contextlib.ExitStack() as stack:
        # Before any file is made: a busy port leaves everything as it is.
        listeners = [stack.enter_context(sock) for sock in bind_all(settings.listen)]
        if files is not None:
            _have_certificate(files, host_name or ("localhost", "127.0.0.1", "::1"))
        emit = announcing(stack.enter_context(emitting("origin", events)))
        run(serve_origin(settings, emit, listeners=listeners), until_interrupted=True)


@client.command(cls=Command, short_help="Serve a bridge of obfuscated routes to one origin.")
@config_option
@events_option
@click.option("--listen", multiple=True, metavar="HOST:PORT", help="Where to listen. May be repeated.")
@click.option(
    "--key",
    envvar=_KEY_VARIABLE,
    show_envvar=True,
    help="64 hexadecimal digits (openssl rand -hex 32), which clients have, too. Others see options: better a file.",
)
@click.option("--target", metavar="HOST[:PORT]", help="The origin; the port is 443 if not given.")
def bridge(
    config: str | None, events: str | None, listen: tuple[str, ...], key: str | None, target: str | None
) -> None:
    """Serve a bridge of obfuscated routes to one origin until interrupted."""
    where = None if target is None else origin_address(target, "--target")
    if key is not None:
        _check_bridge_key(key)
    options = {"listen": listen or None, "key": key, "target": where}
    settings = make_settings(config, BridgeSettings, options, hint="" if key else _KEY_HINT)
    with emitting("bridge", events) as emit:
        run(serve_bridge(settings, announcing(emit)), until_interrupted=True)


def _check_bridge_key(key: str) -> None:
    """Raises SettingsError, which says where the key came from, but not the key."""
    source = click.get_current_context().get_parameter_source("key")
    given = f"the environment's {_KEY_VARIABLE}" if source is ParameterSource.ENVIRONMENT else "--key"
    try:
        parse_key(key)
    except ValueError as error:
        raise SettingsError(f"{given}: {str(error).removeprefix('key: ')}") from error


def _have_certificate(files: CertificateFiles, names: tuple[str, ...]) -> None:
    """Use the files if they are there and good for `names`, make them if none is there. Raises UsageError."""
    folder = files.ca.parent
    if existing := files.existing:
        try:
            check_self_signed(files, names)
        except (OSError, ValueError) as error:
            reason = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
            raise UsageError(
                f"--self-signed {folder}: cannot use what is there: {reason}; to have new files made, "
                f"name another folder or remove {', '.join(path.name for path in existing)}"
            ) from error
    else:
        try:
            write_self_signed(folder, names)
        except (OSError, ValueError) as error:
            raise UsageError(f"--self-signed {folder}: certificates cannot be made: {error}") from error
    say(f"origin: {'using' if existing else 'made'} the certificate for {', '.join(names)}; clients trust {files.ca}")
