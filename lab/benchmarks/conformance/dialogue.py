"""The turns that many cases begin with. What goes wrong in them raises Wrong."""

from __future__ import annotations

from lab.benchmarks.conformance.messages import (
    ADDRESS_BYTES,
    COMMAND_NOT_SUPPORTED,
    CONNECT,
    DOMAIN,
    NO_AUTH,
    SUCCEEDED,
    USER_PASSWORD,
    Reply,
    credentials,
    greeting,
    http_connect,
    http_status,
    parse_reply,
    request,
)
from lab.benchmarks.conformance.outcome import NotOffered, Wrong
from lab.benchmarks.conformance.stage import Connection, Stage, Target

HEAD_LIMIT_BYTES = 8192


def choose(client: Connection, *methods: int) -> int:
    """Greet; the method that the server chooses."""
    client.send(greeting(*methods))
    return read_choice(client)


def read_choice(client: Connection) -> int:
    """The method that the server chooses."""
    version, method = client.read(2, "method choice")
    if version != 5:
        raise Wrong(f"method choice: version {version}")
    return method


def expect_choice(client: Connection, method: int) -> None:
    """The server chooses this method."""
    if (chosen := read_choice(client)) != method:
        raise Wrong(f"method choice: {chosen:02X}, not {method:02X}")


def read_verdict(client: Connection) -> int:
    """STATUS of RFC 1929."""
    version, status = client.read(2, "verdict on the password")
    if version != 1:
        raise Wrong(f"verdict on the password: version {version}, not 1")
    return status


def enter(stage: Stage) -> Connection:
    """A client whom the server waits for a request of."""
    client = stage.connect()
    method = USER_PASSWORD if stage.login else NO_AUTH
    client.send(greeting(method))
    expect_choice(client, method)
    if stage.login:
        client.send(credentials(stage.login.user.encode(), stage.login.password.encode()))
        if status := read_verdict(client):
            raise Wrong(f"the right password: status {status}")
    return client


def read_reply(client: Connection, what: str = "reply") -> Reply:
    """A whole reply."""
    head = client.read(4, what)
    if head[0] != 5:
        raise Wrong(f"{what}: version {head[0]}")
    if head[3] == DOMAIN:
        length = client.read(1, what)
        return parse_reply(head, length + client.read(length[0] + 2, what))
    if head[3] not in ADDRESS_BYTES:
        raise Wrong(f"{what}: address type {head[3]}")
    return parse_reply(head, client.read(ADDRESS_BYTES[head[3]] + 2, what))


def ask(stage: Stage, command: int, host: str | bytes, port: int) -> tuple[Connection, Reply]:
    """A new client's request, and the reply."""
    client = enter(stage)
    client.send(request(command, host, port))
    return client, read_reply(client)


def read_code(client: Connection) -> int:
    """REP, whatever is behind it."""
    version, code = client.read(2, "reply")
    if version != 5:
        raise Wrong(f"reply: version {version}")
    return code


def expect_code(stage: Stage, message: bytes, *codes: int) -> None:
    """This request is answered with one of these codes."""
    client = enter(stage)
    client.send(message)
    if (code := read_code(client)) not in codes:
        raise Wrong(f"REP {code:02X}, not {' or '.join(f'{code:02X}' for code in codes)}")


def expect_refusal(stage: Stage, message: bytes, what: str, *, looked_up: bool = False) -> None:
    """This request is answered with an error, or the connection ends; it is neither granted nor left without answer.
    `looked_up`: the server may ask a resolver first."""
    client = enter(stage)
    client.send(message)
    if looked_up:
        client.await_lookup()
    data, end = client.end()
    if len(data) >= 2 and data[1] == SUCCEEDED:
        raise Wrong(f"{what}: was granted")
    if not data and end == "open":
        raise Wrong(f"{what}: was not answered")


def through(stage: Stage, target: Target, host: str | bytes = "") -> tuple[Connection, Connection]:
    """A flow to `target`, called `host`: the client's end and the target's. Nothing has been sent in it."""
    client, reply = ask(stage, CONNECT, host or target.host, target.port)
    expect_success(reply)
    return client, target.accept()


def expect_success(reply: Reply, what: str = "reply") -> None:
    """REP is 00."""
    if reply.code != SUCCEEDED:
        raise Wrong(f"{what}: REP {reply.code:02X}, not 00")


def expect_offer(client: Connection, message: bytes, feature: str) -> Reply:
    """Send the request for something optional: the reply. Raises NotOffered for REP 07 or a hang-up."""
    client.send(message)
    if end := client.hang_up():
        raise NotOffered(f"{feature}: the connection was {end}")
    reply = read_reply(client)
    if reply.code == COMMAND_NOT_SUPPORTED:
        raise NotOffered(f"{feature}: REP 07")
    expect_success(reply, feature)
    return reply


def expect_echo(client: Connection, far: Connection) -> None:
    """The flow carries bytes both ways."""
    for one, other, words in ((client, far, b"to the target"), (far, client, b"to the client")):
        one.send(words)
        other.expect(words, f"the flow {words.decode()}")


def read_head(client: Connection) -> bytes:
    """The head of an HTTP response, its empty line included; or what there was before it became too long."""
    head = b""
    while not head.endswith(b"\r\n\r\n") and len(head) < HEAD_LIMIT_BYTES:
        head += client.read(1, "HTTP response")
    return head


def offered_http(stage: Stage, authority: str) -> bytes:
    """The head of the response to CONNECT. Raises NotOffered where no HTTP comes back."""
    client = stage.connect()
    client.send(http_connect(authority))
    try:
        head = read_head(client)
    except (Wrong, OSError) as error:
        raise NotOffered(str(error)) from None
    if http_status(head) is None:
        raise NotOffered(f"no HTTP came back: {head[:12].hex(' ')}")
    return head


def expect_status(head: bytes, statuses: range) -> None:
    """The head of a response with one of these statuses."""
    if (status := http_status(head)) not in statuses:
        wanted = f"{statuses[0]} to {statuses[-1]}" if len(statuses) > 1 else f"{statuses[0]}"
        raise Wrong(f"status {status}, not {wanted}")
