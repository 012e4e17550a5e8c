"""Random rule sets out of every action and kind of condition, and random packets of several flows for them."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st

from tests.unit.censor.analyzers.test_tls import real_hello
from tests.unit.censor.traffic import CLIENT, SERVER, Ends, over_tcp, query

CONDITIONS = (
    'tls.sni under "messenger.example"',
    'http.host == "messenger.example"',
    'http.host == "innocent.example"',
    'dns.name under "messenger.example" and not dns.response',
    'http.method == "POST" or tls',
    "not tls",
    "not dns and server.port == 22",
    "signature and not http",
    "ssh",
    "entropy.bits_per_byte > 3",
    "server.port == 443",
    "server.port in [22, 80..443] and client.port > 40001",
    f'server.address in ["{SERVER}"]',
    f'server.address in ["{SERVER}"] and server.port == 80 and protocol == "tcp"',
    f'server.address in ["{SERVER}"] or client.address in ["{SERVER}"]',
    f'client.address in ["{CLIENT}"] and exists http',
    'protocol == "udp"',
    'protocol == "icmp"',
    'flow.mark == "one"',
    "not exists flow.mark",
    "client.inside and server.port == 53",
)
NAMED = CONDITIONS[:4]
LASTING = (
    'kind = "drop"',
    'kind = "drop", after_packets = [1, 3], seconds = 4',
    'kind = "drop", direction = "to_client"',
    'kind = "drop", direction = "to_server", seconds = [1, 9], refresh = true',
    'kind = "drop", trigger = false',
    'kind = "drop", least_payload_bytes = 150',
    'kind = "reject"',
    'kind = "reset"',
    'kind = "reset", drop = true, to = "client", offsets = [0, 1460]',
    'kind = "reset", repeat = true, count = 2',
    'kind = "reset", drop = true, repeat = true, delay_seconds = [0, 1]',
    'kind = "reset", rewrite = true',
    'kind = "police", rate_bytes_per_second = 100, burst_bytes = 400',
    'kind = "delay", seconds = [0.0, 2.0]',
    'kind = "lose", probability = 0.5, direction = "to_server"',
)
LIGHT = (
    'kind = "probe"',
    'kind = "mark", value = "one"',
    'kind = "mark", value = "two"',
    'kind = "log"',
    'kind = "allow"',
)
RESIDUAL = (
    'kind = "residual", seconds = 5, key = "2-tuple"',
    'kind = "residual", seconds = [2, 6], refresh = "packet"',
    'kind = "residual", seconds = 9, key = "4-tuple", refresh = "never", delay_seconds = 1',
    'kind = "residual", seconds = 9, direction = "to_server", trigger = true',
    'kind = "residual", seconds = 9, direction = "to_client"',
    'kind = "residual", seconds = 9, probability = 0.5, certain_after = 2',
    'kind = "residual", seconds = 9, then = "reset"',
    'kind = "residual", seconds = 9, then = "inject"',
    'kind = "residual", seconds = 9, then = "rewrite"',
)
FREEZE = ('kind = "freeze", bytes = [100, 900]', 'kind = "freeze", packets = 6, counted = "to_client"')
ANSWERS = {
    "http": 'kind = "block_page"',
    "dns": 'kind = "forge_dns", addresses = ["192.0.2.66", "192.0.2.67"], choose = "cyclic", drop = true',
}
KEYS = (
    "",
    "",
    "",
    "probability = 0.5",
    "latency_seconds = [0, 2]",
    'existing_flows = "kill"',
    'existing_flows = "act"',
)
TCP_TABLES = (
    "",
    "",
    'reassembly = "none"',
    'reassembly = "none"\nsegments = 3\nunparsed_bytes = 101',
    'reassembly = "none"\nextend_segments = [2, 4]\nextend_for = ["tls", "http"]',
    'reassembly = "arrival"',
    'reassembly = "in_order"',
    "limit_bytes = 300",
    "segments = 2",
    'inspect = "both"',
    "handshake = true",
)


@st.composite
def tables(draw: st.DrawFn, actions: tuple[str, ...]) -> str:
    """A rule's table without its name."""
    condition = draw(st.sampled_from(NAMED) | st.sampled_from(CONDITIONS))
    if draw(st.integers(0, 4)) == 0:
        condition = f"({condition}) {draw(st.sampled_from(['and', 'or']))} ({draw(st.sampled_from(CONDITIONS))})"
    possible = [*actions, *(action for name, action in ANSWERS.items() if f"{name}." in condition)]
    chosen = draw(st.lists(st.sampled_from(possible), min_size=1, max_size=2, unique=True))
    chosen = [one for one in chosen if "residual" not in one or one == next(one for one in chosen if "residual" in one)]
    listed = ", ".join(f"{{ {one} }}" for one in chosen)
    return f"when = '''{condition}'''\nactions = [{listed}]\n{draw(st.sampled_from(KEYS))}"


@st.composite
def rule_sets(draw: st.DrawFn, actions: tuple[str, ...], limit: int = 4) -> tuple[str, list[str]]:
    """The head of a rules file, and its rules' tables."""
    head = f"[censor]\nseed = {draw(st.integers(0, 3))}\n"
    head += f"remember_names = {str(draw(st.booleans())).lower()}\n[censor.tcp]\n{draw(st.sampled_from(TCP_TABLES))}"
    return head, draw(st.lists(tables(actions), min_size=1, max_size=limit))


GET = b"GET / HTTP/1.1\r\nHost: messenger.example\r\n\r\n"
OTHER = b"GET /x HTTP/1.1\r\nHost: innocent.example\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: innocent.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
BODY = b"POST / HTTP/1.1\r\nHost: innocent.example\r\nContent-Length: 300\r\n\r\n" + b"b" * 300
STREAMS = (
    real_hello("www.messenger.example"),
    real_hello("innocent.example"),
    GET,
    OTHER + GET,
    POST + GET,
    BODY + GET + OTHER,
    over_tcp(query("messenger.example")) + over_tcp(query("www.messenger.example", 8)),
    b"SSH-2.0-OpenSSH_9.6\r\n" + b"k" * 500,
    bytes(range(256)) * 3,
)
DATAGRAMS = (query("messenger.example"), query("innocent.example"), b"\0" * 30, bytes(range(200)))
PORTS = (22, 53, 80, 443, 8443)
# What goes to its usual port, and everything to every port.
USUAL = ((0, 443), (0, 443), (1, 443), (2, 80), (3, 80), (4, 80), (5, 80), (6, 53), (7, 22), (8, 8443))


@dataclass
class Conversation:
    """A flow of which the next packet can be asked for. It goes on as its packets pass: see `passed`."""

    ends: Ends
    stream: bytes = field(repr=False)
    datagrams: bool
    state: int = 0
    """TCP: 0: no SYN has passed; 1: no SYN+ACK; 2: the handshake's last acknowledgment is not sent; 3: open."""
    heard: bool = field(default=False)
    """The server has received something."""

    def next(self, kind: str, size: int) -> bytes | None:
        """The next packet; None: there is none of that kind now."""
        ends = self.ends
        if kind in ("answer", "reset") and not self.heard:
            return None
        if self.datagrams:
            return ends.datagram(DATAGRAMS[size % len(DATAGRAMS)], from_client=kind != "answer")
        if self.opening:
            return [ends.syn, ends.syn_ack, ends.ack][self.state]()
        match kind:
            case "answer":
                return ends.answer(b"a" * (size % 700))
            case "ack":
                return ends.ack()
            case "again":
                return ends.data(self.stream[: ends.sent][-size:], max(ends.sent - size, 0))
            case "ahead":
                sent = ends.sent
                packet = ends.data(self.stream[sent + size : sent + size + 200], sent + size)
                ends.sent = sent  # what comes next fills the gap, and more
                return packet
            case "reset":
                return ends.answer(flags=0x04)
        return ends.data(self.stream[ends.sent : ends.sent + size])

    @property
    def opening(self) -> bool:
        """Whether the handshake's packets are next."""
        return self.state < 3 and not self.datagrams

    def passed(self) -> None:
        """The last packet has arrived."""
        self.heard = True
        if self.opening:
            self.state += 1


@st.composite
def conversations(draw: st.DrawFn) -> list[Conversation]:
    """Flows between few ends, so that they have to do with one another."""
    made = []
    for number in range(draw(st.integers(1, 4))):
        stream, port = draw(
            st.sampled_from(USUAL) | st.tuples(st.integers(0, len(STREAMS) - 1), st.sampled_from(PORTS))
        )
        ends = Ends(
            client_port=40000 + number,
            server=draw(st.sampled_from([SERVER, "203.0.113.11"])),
            server_port=port,
            isn=draw(st.sampled_from([1000, 0xFFFFFF00])),
        )
        made.append(Conversation(ends, STREAMS[stream], port in (53, 443) and draw(st.integers(0, 3)) == 0))
    return made


KINDS = ("data", "data", "data", "answer", "answer", "ahead", "ahead", "ack", "again", "reset")
STEPS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from(KINDS),
        st.sampled_from([1, 40, 150, 700, 3000]),
        st.sampled_from([0.0, 0.1, 1.0, 3.0]),
    ),
    min_size=8,
    max_size=40,
)
