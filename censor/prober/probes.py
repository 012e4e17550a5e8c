"""What is said to a suspected server, and what its answers are evidence of. Sans-IO.

A probe's driver sends `begin()`, gives every received piece to `receive`, sends what that returns, and closes once
`done`; `result` says what it came to. An answer is evidence only where it fits what was said to the server: an echo
server, which says a greeting back, has not chosen a method.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable

from censor.prober.client_hello import client_hello
from censor.prober.results import KEPT_BYTES, OUTCOMES, End, Outcome, ProbeResult
from censor.prober.settings import Evidence, ProbeName
from proxy.wire import (
    Address,
    Command,
    Credentials,
    Greeting,
    Method,
    ProtocolError,
    ReplyCode,
    Request,
    Socks4Code,
    Socks4Command,
    Socks4Request,
    read_auth_result,
    read_http_response,
    read_method_choice,
    read_reply,
    read_socks4_reply,
    write_credentials,
    write_greeting,
    write_http_connect,
    write_request,
    write_socks4_request,
)

# A record's type and the first byte of its version (RFC 8446 section 5.1).
_TLS_ALERT, _TLS_HANDSHAKE = b"\x15\x03", b"\x16\x03"
_METHODS = {Method.NO_AUTH: "no authentication", Method.USER_PASSWORD: "user and password"}


class Probe(ABC):
    """A conversation. `_read` takes the buffer and returns what to say next; it consumes whole messages only."""

    name: ProbeName

    def __init__(self) -> None:
        self.done = False
        self._evidence: list[Evidence] = []
        self._said: list[str] = []
        self._received = bytearray()
        self._received_bytes = 0
        self._buffer = bytearray()
        self._read: Callable[[bytearray], bytes] = self._read_first

    @abstractmethod
    def begin(self) -> bytes:
        """What to send first."""

    def receive(self, data: bytes) -> bytes:
        """What to send next; empty: nothing. Sets `done` once nothing more can be learned."""
        self._received_bytes += len(data)
        self._received += data[: KEPT_BYTES - len(self._received)]
        self._buffer += data
        try:
            return self._read(self._buffer)
        except ProtocolError as error:
            return self._finish(str(error))

    def result(self, end: End, answer_seconds: float | None, seconds: float) -> ProbeResult:
        outcome = OUTCOMES[end]
        if self._received_bytes:
            outcome = Outcome.ANSWERED_PROXY if self._evidence else Outcome.ANSWERED_OTHER
        return ProbeResult(
            self.name,
            outcome,
            end,
            tuple(self._evidence),
            "; ".join(self._said),
            bytes(self._received),
            self._received_bytes,
            answer_seconds,
            seconds,
        )

    @abstractmethod
    def _read_first(self, buffer: bytearray) -> bytes:
        """What to say to the server's first answer."""

    def _shows(self, said: str, *evidence: Evidence) -> None:
        self._evidence += evidence
        self._said.append(said)

    def _finish(self, said: str = "") -> bytes:
        if said:
            self._said.append(said)
        self.done = True
        return b""


class Socks5NoAuth(Probe):
    """Greets as a client without password does, and asks to be connected (RFC 1928)."""

    name: ProbeName = "socks5-no-auth"
    method = Method.NO_AUTH

    def __init__(self, destination: Address) -> None:
        super().__init__()
        self._request = write_request(Request(Command.CONNECT, destination))

    def begin(self) -> bytes:
        # One method only: an echo server's "choice" is then the number of methods, 1, which was not offered.
        return write_greeting(Greeting((self.method,)))

    def _read_first(self, buffer: bytearray) -> bytes:
        choice = read_method_choice(buffer)
        if choice is None:
            return b""
        if choice.method not in (self.method, Method.NONE_ACCEPTABLE):
            return self._finish(f"method choice: {choice.method} was not offered")
        if buffer:
            # A SOCKS5 server waits for what comes next. DCE/RPC, for one, begins with 05 00, too.
            return self._finish("method choice: more bytes behind it")
        if choice.method == Method.NONE_ACCEPTABLE:
            self._shows("SOCKS5: no acceptable method", "socks5-method")
            return self._finish()
        self._shows(f"SOCKS5: {_METHODS[self.method]}", "socks5-method")
        return self._chosen()

    def _chosen(self) -> bytes:
        self._read = self._read_reply
        return self._request

    def _read_reply(self, buffer: bytearray) -> bytes:
        reply = read_reply(buffer)
        if reply is None:
            return b""
        said = f"reply {reply.code:02x} {reply.code.name.lower().replace('_', ' ')}"
        if reply.code is ReplyCode.SUCCEEDED:
            self._shows(said, "open-proxy")
            return self._finish()
        return self._finish(said)


class Socks5WrongPassword(Socks5NoAuth):
    """Logs in with a user and a password that nobody has (RFC 1929), and should that do, asks to be connected."""

    name: ProbeName = "socks5-wrong-password"
    method = Method.USER_PASSWORD

    def __init__(self, destination: Address, rng: random.Random) -> None:
        super().__init__(destination)
        user, password = rng.randbytes(4).hex().encode(), rng.randbytes(8).hex().encode()
        self._credentials = write_credentials(Credentials(user, password))

    def _chosen(self) -> bytes:
        self._read = self._read_auth_result
        return self._credentials

    def _read_auth_result(self, buffer: bytearray) -> bytes:
        result = read_auth_result(buffer)
        if result is None:
            return b""
        self._shows("a wrong password is " + ("accepted" if result.ok else "refused"), "socks5-auth")
        if not result.ok:
            return self._finish()
        self._read = self._read_reply
        return self._request


class Socks4(Probe):
    """Asks to be connected, by SOCKS4, for a name by SOCKS4a."""

    name: ProbeName = "socks4"

    def __init__(self, destination: Address) -> None:
        super().__init__()
        self._request = write_socks4_request(Socks4Request(Socks4Command.CONNECT, destination))

    def begin(self) -> bytes:
        return self._request

    def _read_first(self, buffer: bytearray) -> bytes:
        reply = read_socks4_reply(buffer)
        if reply is None:
            return b""
        self._shows(f"SOCKS4: {reply.code.value} {reply.code.name.lower().replace('_', ' ')}", "socks4")
        if reply.code is Socks4Code.GRANTED:
            self._evidence.append("open-proxy")
        return self._finish()


class HttpConnect(Probe):
    """Asks to be connected, by HTTP. 2xx and 407 are a proxy's (RFC 9110 sections 9.3.6, 15.5.8), others anybody's."""

    name: ProbeName = "http-connect"

    def __init__(self, destination: Address) -> None:
        super().__init__()
        self._request = write_http_connect(destination)

    def begin(self) -> bytes:
        return self._request

    def _read_first(self, buffer: bytearray) -> bytes:
        response = read_http_response(buffer)
        if response is None:
            return b""
        said = f"HTTP {response.status}"
        if 200 <= response.status < 300:
            self._shows(said, "http-proxy", "open-proxy")
        elif response.status == 407:
            self._shows(said, "http-proxy")
        else:
            return self._finish(said)
        return self._finish()


class Payload(Probe):
    """Sends some bytes; whether anything comes back is what is learned."""

    def __init__(self, name: ProbeName, payload: bytes) -> None:
        self.name = name
        super().__init__()
        self._payload = payload

    def begin(self) -> bytes:
        return self._payload

    def _read_first(self, buffer: bytearray) -> bytes:
        if buffer.startswith(_TLS_ALERT):
            return self._finish("TLS: an alert")
        return self._finish("TLS: a handshake" if buffer.startswith(_TLS_HANDSHAKE) else "")


def make_probe(name: ProbeName, destination: Address, payload: bytes, random_bytes: int, seed: int) -> Probe:
    """The probe called `name`: `payload` is what a replay sends, `random_bytes` how much "random" does, from `seed`."""
    rng = random.Random(seed)
    match name:
        case "socks5-no-auth":
            return Socks5NoAuth(destination)
        case "socks5-wrong-password":
            return Socks5WrongPassword(destination, rng)
        case "socks4":
            return Socks4(destination)
        case "http-connect":
            return HttpConnect(destination)
        case "replay":
            return Payload(name, payload)
        case "tls":
            return Payload(name, client_hello(rng.randbytes(32)))
    return Payload(name, rng.randbytes(random_bytes))
