"""As a service of systemd: sockets that it listens on for the proxy, and how the proxy is.

Socket activation: the sockets of a .socket unit are there as descriptors 3, 4, ... (sd_listen_fds(3)). Notifications:
lines in datagrams to a UNIX socket (sd_notify(3)). Both protocols are a few lines, and stable by systemd's promise: no
library is worth a dependency here. Started by anything else, nothing is inherited and notifications go nowhere.

`inherited` and `Notifier` take their variables out of the environment: they are meant for this process only.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping, Sequence
from ipaddress import ip_address

import msgspec

from proxy import log
from proxy.listeners import name_of
from proxy.relay.flow import prepare
from proxy.settings import Listener, ProxySettings, parse_listen
from sidedoor.settings import SettingsError, UsageError

FIRST_DESCRIPTOR = 3
"""SD_LISTEN_FDS_START."""
SEND_SECONDS = 1.0
"""How long a notification may wait: systemd takes them at once, and one that hangs must not make the proxy hang."""


def inherited(environ: MutableMapping[str, str] = os.environ) -> list[socket.socket]:
    """The listening TCP sockets that systemd passed on, non-blocking; none, where it did not start this process.

    Workers share them: systemd's sockets are root's, and nobody else can bind more of them to the same port. Raises
    UsageError, with all of them closed, where one is something else.
    """
    variables = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")
    pid, number, names, _ = [environ.pop(name, "") for name in variables]
    if not number or pid != str(os.getpid()):
        return []  # the variables of a parent, which kept its sockets
    if not (number.isascii() and number.isdecimal()):
        raise UsageError(f'LISTEN_FDS: is "{number}"; expected how many sockets systemd passes on (sd_listen_fds(3))')
    labels = dict(enumerate(names.split(":"), FIRST_DESCRIPTOR)) if names else {}
    sockets: list[socket.socket] = []
    try:
        for descriptor in range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + int(number)):
            sockets.append(_take(descriptor, labels.get(descriptor, "")))
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _take(descriptor: int, label: str) -> socket.socket:
    who = f"socket activation: descriptor {descriptor}{f' ({label})' if label else ''}"
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError as error:
        raise UsageError(f"{who}: cannot be used: {error.strerror}; expected a listening TCP socket") from error
    try:
        if what := _unfit(sock):
            raise UsageError(
                f"{who}: is {what}; expected a listening TCP socket: in the .socket unit, write ListenStream=HOST:PORT "
                f"and leave Accept=no"
            )
        sock.set_inheritable(False)
        sock.setblocking(False)
        prepare(sock, str(sock.getsockname()[0]))  # accepted sockets inherit it
    except BaseException:
        sock.close()
        raise
    return sock


def _unfit(sock: socket.socket) -> str:
    """What `sock` is instead of a listening TCP socket; "" where it is one."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return f"a socket of the family {socket.AddressFamily(sock.family).name}"
    if sock.type != socket.SOCK_STREAM or sock.proto != socket.IPPROTO_TCP:
        return "a UDP socket" if sock.type == socket.SOCK_DGRAM else "no TCP socket"
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return "a socket that does not listen"
    return ""


def adopt(sockets: Sequence[socket.socket], settings: ProxySettings) -> ProxySettings:
    """`settings` with the inherited `sockets` as what is listened on, in their order. `check()` them afterwards.

    What `listen` said gives them their options, by address; addresses that no socket has are not listened on. Raises
    SettingsError where options would get lost: a port that was to speak TLS must not come up without.
    """
    entries = {at: one for one in settings.listeners for at in _places(one.address)}
    names = [name_of(sock.getsockname()) for sock in sockets]
    found = [entries.get(_places(name)[0], Listener(address=name)) for name in names]
    for one in settings.listeners:
        if one not in found and one != Listener(address=one.address):
            raise SettingsError(
                f"listen: {one.address} has options and is none of the addresses that systemd listens on "
                f"({', '.join(names)}); give both the same, or leave it out"
            )
    listen = tuple(msgspec.structs.replace(one, address=name) for one, name in zip(found, names, strict=True))
    return msgspec.structs.replace(settings, listen=listen)


def _places(address: str) -> list[tuple[str, int]]:
    """The socket addresses that `address` is as it stands; none for a name: it is not looked up here."""
    host, port = parse_listen(address)
    if host == "localhost":
        return [("127.0.0.1", port), ("::1", port)]
    try:
        return [(str(ip_address(host)), port)]
    except ValueError:
        return []


class Notifier:
    """Tells systemd how the service is, with Type=notify or notify-reload. Raises UsageError for variables that are
    not as sd_notify(3) and sd_watchdog_enabled(3) have them; a notification that fails is logged, and raises nothing.
    """

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        self._path = environ.pop("NOTIFY_SOCKET", "")
        if self._path and self._path[0] not in "/@":
            raise UsageError(f'NOTIFY_SOCKET: is "{self._path}"; expected an absolute path, or @ and a name')
        microseconds, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        if microseconds and not (microseconds.isascii() and microseconds.isdecimal() and int(microseconds)):
            raise UsageError(f'WATCHDOG_USEC: is "{microseconds}"; expected a number of microseconds above 0')
        is_meant = microseconds and (not pid or pid == str(os.getpid()))
        self._watchdog_seconds = int(microseconds) / 1e6 if is_meant else None
        self._failed = False

    def ready(self) -> None:
        """The service is up; or a reload is done."""
        self._send("READY=1")

    def reloading(self) -> None:
        """A reload begins; `ready` ends it. Type=notify-reload (systemd 253) waits for both."""
        # The time tells systemd that this answers its SIGHUP, not one before it.
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, seconds: float = 0.0) -> None:
        """The service ends, and may take `seconds` to do so, whatever TimeoutStopSec= of the unit says."""
        extension = [f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}"] if seconds else []
        self._send("STOPPING=1", *extension)

    def status(self, text: str) -> None:
        """A line for `systemctl status`."""
        self._send(f"STATUS={' '.join(text.split())}")  # a line break would begin another assignment

    def watchdog_seconds(self) -> float | None:
        """How often to say `alive`: half of the time after which systemd ends a silent service; None: never."""
        return self._watchdog_seconds / 2 if self._watchdog_seconds else None

    def alive(self) -> None:
        """The service does its work."""
        self._send("WATCHDOG=1")

    def _send(self, *assignments: str) -> None:
        if not self._path:
            return
        address = f"\0{self._path[1:]}" if self._path[0] == "@" else self._path  # "@": the abstract namespace
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.settimeout(SEND_SECONDS)
                sock.sendto("\n".join(assignments).encode(), address)
            self._failed = False
        except OSError as error:
            if not self._failed:  # once, not with every sign of life
                log.warning("systemd_not_notified", socket=self._path, error=error.strerror or str(error))
            self._failed = True
