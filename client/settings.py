"""What the messenger's three parts are told: frozen types, validated at the edge (`sidedoor.settings`)."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from client.attachments.pieces import LIMIT_BYTES
from client.delivery import WINDOW_MESSAGES
from client.encryption import decode_key
from client.policies import DIRECT
from client.policies.catalogue import PolicySettings
from client.policies.sidedoor_settings import SidedoorSettings
from sidedoor.settings import Secret


class OriginSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The origin server. `listen`: "HOST:PORT", IPv6 hosts in brackets; `certificate` (chain) and `key`: PEM files."""

    listen: tuple[str, ...]
    certificate: str
    key: str


class OriginAddress(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the origin is: the name that its certificate carries, and the TCP port."""

    host: str
    port: int = 443


class DirectRoute(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="direct", kw_only=True
):
    """Straight to the origin's addresses, which the system's resolver knows."""

    proxied: ClassVar[bool] = False
    evades: ClassVar[frozenset[str]] = frozenset()

    @property
    def name(self) -> str:
        """Always `direct`: there is one such route."""
        return DIRECT


class Socks5Route(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="socks5", kw_only=True
):
    """Through a SOCKS5 proxy (RFC 1928), which resolves the origin's name. Both or none of username and password."""

    proxied: ClassVar[bool] = True
    evades: ClassVar[frozenset[str]] = frozenset()

    name: str
    host: str
    port: int = 1080
    username: str | None = None
    password: str | None = None

    def __post_init__(self) -> None:
        if self.name == DIRECT:
            raise ValueError(f"a proxy cannot be called `{DIRECT}`: that is the route without one")
        if bool(self.username) != bool(self.password):
            raise ValueError("username and password go together (RFC 1929)")


class ResolverSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How names become addresses on the client's side.

    `nameservers`: "ADDRESS" or "ADDRESS:PORT" (IPv6 then in brackets); empty: those of the host's resolv.conf.
    `hosts`: names that need no query; `hosts_file`: a table of more of them (hosts(5)), None: no table. `localhost` and
    names below it are the loopback addresses without any query (RFC 6761 section 6.3). `try_seconds` for each try,
    `total_seconds` for all of them.
    """

    nameservers: tuple[str, ...] = ()
    hosts: dict[str, tuple[str, ...]] = {}
    hosts_file: str | None = "/etc/hosts"
    try_seconds: float = 2.0
    total_seconds: float = 4.0


class DialSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How long the stages of a dial may take, in seconds.

    TCP repeats a lost SYN after 1 s and 2 s more (RFC 6298): 3.5 s lets both count. `stagger_seconds` between the
    addresses of one name: RFC 8305 section 8.
    """

    connect_seconds: float = 3.5
    stagger_seconds: float = 0.25
    socks_seconds: float = 5.0
    tls_seconds: float = 5.0
    upgrade_seconds: float = 5.0


class EndSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What sender and receiver have in common.

    `name`: this end's; `ca_file`: PEM of the authority that the origin's certificate must come from; `keylog_file`:
    where TLS secrets go, in NSS key log format, for reading captures; None: nowhere. `state_file`: what survives this
    process; None: nothing does.

    `key_file` (made by `sidedoor client key`), or what is in it as `private_key`, and `peer_key` (what that printed at
    the other end) go together: with them all is encrypted from end to end, and what is not is refused.
    """

    name: str
    origin: OriginAddress
    ca_file: str
    keylog_file: str | None = None
    resolver: ResolverSettings = ResolverSettings()
    dial: DialSettings = DialSettings()
    key_file: str | None = None
    private_key: Secret | None = None
    peer_key: str | None = None
    state_file: str | None = None

    def __post_init__(self) -> None:
        if self.key_file is not None and self.private_key is not None:
            raise ValueError("key_file and private_key are one thing: give one of them")
        own = self.key_file if self.private_key is None else self.private_key
        if (own is None) != (self.peer_key is None):
            missing = "peer_key" if self.peer_key is None else "key_file"
            raise ValueError(f"key_file and peer_key go together, and there is no {missing}")
        if self.peer_key is not None:
            try:
                decode_key(self.peer_key)
            except ValueError as error:
                raise ValueError(f"peer_key: {error}") from error


class ReceiverSettings(EndSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The receiving end, which reaches the origin directly. After a failure it pauses `backoff_seconds`, each time
    twice as long up to the most; after `keepalive_seconds` of silence it pings, after twice that it dials anew.
    `attachments_folder`: where they go; None: they are refused, as are longer ones than `attachment_limit_bytes`."""

    backoff_seconds: float = 0.1
    most_backoff_seconds: float = 5.0
    keepalive_seconds: float = 10.0
    attachments_folder: str | None = None
    attachment_limit_bytes: int = LIMIT_BYTES


class SenderSettings(EndSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The sending end. `peer`: the receiver's name; `routes`: in order of preference; limits in messages.

    `attachment_window_bytes`: how much of an attachment is under way at most; a message that comes meanwhile waits for
    no more than that.
    """

    peer: str
    routes: tuple[DirectRoute | Socks5Route, ...] = (DirectRoute(),)
    policy: PolicySettings = SidedoorSettings()
    window_messages: int = WINDOW_MESSAGES
    limit_messages: int = 4096
    attachment_window_bytes: int = 256 << 10

    def __post_init__(self) -> None:
        super().__post_init__()
        names = [route.name for route in self.routes]
        if not names:
            raise ValueError("no routes: at least one is needed")
        if len(set(names)) < len(names):
            raise ValueError("two routes have the same name")
