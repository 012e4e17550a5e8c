"""HTTP CONNECT (RFC 9110 section 9.3.6), with Basic credentials (RFC 7617) or without. Sans-IO.

One request per connection: an answer that is no success ends it, and says so.
"""

from __future__ import annotations

from http import HTTPStatus

from proxy.handshake.events import CredentialsPresented, Event, Refused, Requested
from proxy.handshake.machine import Machine, Rules, State, Step
from proxy.wire import (
    UNSPECIFIED,
    Address,
    Command,
    HttpRequest,
    HttpResponse,
    ProtocolError,
    ReplyCode,
    read_http_request,
    write_http_refusal,
    write_http_response,
)

# All that may happen.
RULES: Rules = {
    (State.REQUEST, Step.CREDENTIALS_READ): State.VERDICT,
    (State.REQUEST, Step.REQUEST_READ): State.OUTCOME,
    (State.REQUEST, Step.REFUSED): State.DONE,
    (State.VERDICT, Step.CREDENTIALS_RIGHT): State.ADMITTED,
    (State.VERDICT, Step.CREDENTIALS_WRONG): State.DONE,
    (State.ADMITTED, Step.REQUEST_READ): State.OUTCOME,
    (State.OUTCOME, Step.SUCCEEDED): State.DONE,
    (State.OUTCOME, Step.FAILED): State.DONE,
}

FAILURES = {
    ReplyCode.GENERAL_FAILURE: (HTTPStatus.INTERNAL_SERVER_ERROR, "proxy_internal_error"),
    ReplyCode.NOT_ALLOWED: (HTTPStatus.FORBIDDEN, "http_request_denied"),
    ReplyCode.NETWORK_UNREACHABLE: (HTTPStatus.BAD_GATEWAY, "destination_ip_unroutable"),
    # Also what a name that does not resolve and the end of our patience come as: the token claims none of them.
    ReplyCode.HOST_UNREACHABLE: (HTTPStatus.GATEWAY_TIMEOUT, "destination_unavailable"),
    ReplyCode.CONNECTION_REFUSED: (HTTPStatus.BAD_GATEWAY, "connection_refused"),
    ReplyCode.TTL_EXPIRED: (HTTPStatus.BAD_GATEWAY, "destination_ip_unroutable"),
    ReplyCode.COMMAND_NOT_SUPPORTED: (HTTPStatus.NOT_IMPLEMENTED, "http_request_error"),
    ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED: (HTTPStatus.BAD_GATEWAY, "destination_ip_unroutable"),
}
"""REP -> status, and the error of Proxy-Status (RFC 9209 section 2.3); docs/proxy-protocols.md has it as a table."""

_ESTABLISHED = write_http_response(HttpResponse(HTTPStatus.OK))
_AUTHENTICATE = write_http_refusal(
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
    "This proxy asks for user and password.",
    ("Proxy-Authenticate", 'Basic realm="sidedoor"'),
)
_ABOUT = (
    "This is Sidedoor, a proxy. Of HTTP it serves CONNECT only, to any port (RFC 9110 section 9.3.6); "
    "with curl that is --proxytunnel."
)
_NOT_CONNECT = write_http_refusal(HTTPStatus.METHOD_NOT_ALLOWED, _ABOUT, ("Allow", "CONNECT"))
_NOT_CONNECT_HEAD = write_http_response(HttpResponse(HTTPStatus.METHOD_NOT_ALLOWED, (("Allow", "CONNECT"),)))


class Http(Machine):
    """With `authenticate` a request needs Basic credentials; without it, those that it has are not looked at."""

    __slots__ = ("_target",)
    protocol = "http"
    first = State.REQUEST
    rules = RULES

    def __init__(self, authenticate: bool) -> None:
        super().__init__(authenticate)
        self._target = UNSPECIFIED

    def next_event(self) -> Event | None:
        if self.state is State.ADMITTED:
            return self._requested()
        if self.state is not State.REQUEST:
            return None
        try:
            request = read_http_request(self._input)
        except ProtocolError as error:
            self._step(Step.REFUSED, error.reply)
            return Refused(str(error), ReplyCode.GENERAL_FAILURE)
        return None if request is None else self._judge(request)

    def verdict(self, right: bool) -> Refused | None:
        if right:
            self._step(Step.CREDENTIALS_RIGHT)
            return None
        self._step(Step.CREDENTIALS_WRONG, _AUTHENTICATE)
        return Refused("wrong user or password", target=self._target)

    def succeed(self, bound: Address) -> None:
        """HTTP does not tell the address."""
        self._step(Step.SUCCEEDED, _ESTABLISHED)

    def fail(self, code: ReplyCode) -> None:
        status, error = FAILURES[code]
        why = code.name.replace("_", " ").lower()
        self._step(Step.FAILED, write_http_refusal(status, why, ("Proxy-Status", f"sidedoor; error={error}")))

    def _judge(self, request: HttpRequest) -> Event:
        if request.target is None:
            self._step(Step.REFUSED, _NOT_CONNECT_HEAD if request.method == "HEAD" else _NOT_CONNECT)
            return Refused("HTTP request: its method is not CONNECT", ReplyCode.COMMAND_NOT_SUPPORTED)
        self._target = request.target
        if not self._authenticate:
            return self._requested()
        if request.credentials is None:
            self._step(Step.REFUSED, _AUTHENTICATE)
            return Refused("no user and password", target=request.target, anonymous=True)
        self._step(Step.CREDENTIALS_READ)
        return CredentialsPresented(request.credentials.user, request.credentials.password)

    def _requested(self) -> Requested:
        self._step(Step.REQUEST_READ)
        return Requested(Command.CONNECT, self._target, "http")
