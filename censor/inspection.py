"""Sans-IO: the reading of a flow's bytes: which analyzers still look at which, and when nothing is left to look at.

A `Side` is one end's bytes in one flow. How TCP segments become bytes is the table `[censor.tcp]`; datagrams are read
one by one.
"""

from __future__ import annotations

from censor.analyzers import Analyzer, Finding, Outcome, Read
from censor.censor_table import TcpTable
from censor.compiled import CompiledRules
from censor.draws import count_between, draw
from censor.flows import Flow
from censor.overlaps import Overlap
from censor.packets import SYN, Packet
from censor.streams import Reassembly, Stream, StreamSettings

_JOINED_BYTES = 64  # of the segments of a window; what reads them looks at how they begin
MESSAGES_MAX = 64
"""On one segment; a pipeline of more is read with the next segment."""


class Side:
    """One end's bytes. running: analyzers that may still find something. segments_left: to be looked at; None: any.

    message: what an analyzer found that goes on behind it, and has been judged before the next is read. joined: the
    segments of a window behind one another, for the analyzers that want them so.
    """

    __slots__ = ("datagrams", "first", "joined", "loose", "message", "running", "segments_left", "stream")

    def __init__(self, running: tuple[Analyzer, ...], first: tuple[Analyzer, ...], segments: int | None) -> None:
        self.running: list[Analyzer] = list(running)
        self.first = first
        self.segments_left = segments
        self.joined = b""
        self.stream: Stream | None = None
        self.datagrams: dict[str, Read] | None = None
        self.message: Finding | None = None
        self.loose = False
        """Behind a body of unknown length: a message may start with any segment."""

    @property
    def closed(self) -> bool:
        return not self.running and not self.first


class Inspection:
    """Reads segments and datagrams into flows' properties, by one rule set and `[censor.tcp]`."""

    def __init__(self, table: TcpTable, seed: int) -> None:
        self._table = table
        self._seed = seed
        self._settings = StreamSettings(
            reassembly=Reassembly(table.reassembly),
            limit_bytes=table.limit_bytes,
            overlap=Overlap(table.overlap),
            resync_segments=table.resync_segments,
        )
        self._each = table.reassembly == "none"
        self._segments = table.segments if table.segments is not None else (1 if self._each else None)

    def side(self, running: tuple[Analyzer, ...], first: tuple[Analyzer, ...], old: Side | None) -> Side:
        """The reading of an end; what `old` has put together of its bytes stays."""
        side = Side(running, first, self._segments)
        if old is not None and old.running:
            side.stream, side.message, side.joined = old.stream, old.message, old.joined
            side.loose = old.loose
            if self._segments is not None and old.segments_left is not None:
                side.segments_left = min(old.segments_left, self._segments)
        return side

    def segment(self, rules: CompiledRules, flow: Flow, side: Side, packet: Packet) -> bool:
        """Take in a TCP segment with payload. True: something is known now that was not."""
        payload = packet.payload
        changed = bool(side.first) and self._first(rules, flow, side, payload)
        if side.message is not None:  # the rest of its segment was not read
            self._behind(side)
        if not side.running:
            return changed
        if side.segments_left is not None and side.segments_left <= 0:
            self.close(rules, flow, side)
            return True
        if self._each:
            return self._each_segment(rules, flow, side, payload) or changed
        if side.loose:
            return self._loose(rules, flow, side, packet) or changed
        stream = side.stream
        if stream is None:
            base = flow.client_base if side is flow.client else flow.server_base
            stream = side.stream = Stream(packet.sequence if base is None else base, self._settings)
        before = len(stream.data)
        head = stream.add(packet.sequence + (packet.flags & SYN > 0), payload)
        if side.segments_left is not None:
            side.segments_left -= 1
        if len(head) == before:  # a retransmission, or beyond a gap
            return self._limits(rules, flow, side) or changed
        return self._read(rules, flow, side, head) or changed

    def again(self, rules: CompiledRules, flow: Flow, side: Side) -> bool:
        """Go on behind the message that was found last. True: something is known now that was not."""
        self._behind(side)
        stream = side.stream
        return stream is not None and bool(stream.data) and self._read(rules, flow, side, stream.data)

    @staticmethod
    def _behind(side: Side) -> None:
        """Pass over the message that was found last."""
        found, side.message = side.message, None
        stream = side.stream
        if found is None or stream is None:
            return
        if found.rest < 0:
            side.loose = True
            side.stream = None
            return
        stream.take(found.consumed)
        if found.rest:
            stream.skip(found.rest)

    def datagram(self, rules: CompiledRules, flow: Flow, side: Side, payload: bytes) -> bool:
        """Take in a datagram. True: something is known now that was not."""
        changed = bool(side.first) and self._first(rules, flow, side, payload)
        readers = side.datagrams
        if readers is None:
            readers = side.datagrams = {one.name: one.datagram() for one in side.running if one.datagram}
        for analyzer in tuple(side.running):
            outcome = readers[analyzer.name](payload, rules.wanted)
            if outcome is Outcome.MORE:
                continue
            changed = True
            partial = isinstance(outcome, Finding) and outcome.partial
            if not analyzer.repeats and not partial:
                side.running.remove(analyzer)
            if isinstance(outcome, Finding):
                if analyzer.repeats:
                    flow.begin_message()
                flow.properties.update(outcome.properties)
                side.message = outcome
            else:
                self._absent(rules, flow, analyzer)
        return changed

    def close(self, rules: CompiledRules, flow: Flow, side: Side) -> None:
        """Nothing more of this end is looked at: what it has not told stays untold."""
        running, side.running = side.running, []
        first, side.first = side.first, ()
        side.stream = None
        for analyzer in (*running, *first):
            self._absent(rules, flow, analyzer)

    def _first(self, rules: CompiledRules, flow: Flow, side: Side, payload: bytes) -> bool:
        first, side.first = side.first, ()
        for analyzer in first:
            assert analyzer.first_payload is not None
            outcome = analyzer.first_payload(payload, rules.wanted)
            if isinstance(outcome, Finding):
                flow.properties.update(outcome.properties)
            else:
                self._absent(rules, flow, analyzer)
        return True

    def _read(self, rules: CompiledRules, flow: Flow, side: Side, head: bytes) -> bool:
        changed = False
        wanted = rules.wanted
        for analyzer in tuple(side.running):
            assert analyzer.stream is not None
            outcome = analyzer.stream(head, wanted)
            if outcome is Outcome.MORE and len(head) < analyzer.limit_bytes:
                continue
            changed = True
            if not isinstance(outcome, Finding):
                side.running.remove(analyzer)
                self._absent(rules, flow, analyzer)
                continue
            if analyzer.repeats:
                flow.begin_message()
            flow.properties.update(outcome.properties)
            if outcome.partial:
                continue
            if analyzer.repeats:  # it is this protocol, then, and none of the others
                side.message = outcome
                others, side.running = side.running, [analyzer]
                for other in others:
                    self._absent(rules, flow, other)
                return True
            side.running.remove(analyzer)
        return self._limits(rules, flow, side) or changed

    def _limits(self, rules: CompiledRules, flow: Flow, side: Side) -> bool:
        stream = side.stream
        over = side.segments_left is not None and side.segments_left <= 0
        if not side.running or not (over or (stream is not None and stream.full)):
            return False
        self.close(rules, flow, side)
        return True

    def _each_segment(self, rules: CompiledRules, flow: Flow, side: Side, payload: bytes) -> bool:
        """Each segment by itself, as long as the flow's window of segments that are looked at is open."""
        recognised = self._recognised(rules, flow, side, payload)
        table = self._table
        more = 0
        if recognised and table.extend_segments and recognised & set(table.extend_for):
            more = count_between(table.extend_segments, draw(self._seed, flow.id, "extend_segments"))
        sides = [one for one in (flow.client, flow.server) if one is not None]
        for one in sides:
            assert one.segments_left is not None
            one.segments_left = max(one.segments_left - 1, more)
        if more:
            return True
        unparsed = table.unparsed_bytes is not None and len(payload) >= table.unparsed_bytes and not recognised
        assert side.segments_left is not None
        if side.segments_left <= 0 or unparsed or (recognised and not table.extend_segments):
            for one in sides:
                self.close(rules, flow, one)
            return True
        return bool(recognised)

    def _recognised(self, rules: CompiledRules, flow: Flow, side: Side, payload: bytes) -> set[str]:
        names = set()
        if len(side.joined) < _JOINED_BYTES:
            side.joined += payload[:_JOINED_BYTES]
        for analyzer in side.running:
            assert analyzer.stream is not None
            outcome = analyzer.stream(side.joined if analyzer.joined else payload, rules.wanted)
            if isinstance(outcome, Finding):
                flow.begin_message()
                flow.properties.update(outcome.properties)
                names.add(analyzer.name)
                if outcome.message is not None:
                    side.message = outcome
        return names

    def _loose(self, rules: CompiledRules, flow: Flow, side: Side, packet: Packet) -> bool:
        """Behind a body of unknown length: a segment that starts with a message is where the next one begins."""
        for analyzer in side.running:  # more than one where rules came meanwhile
            assert analyzer.stream is not None
            if analyzer.stream(packet.payload, rules.wanted) is not Outcome.OTHER:
                break
        else:
            return False
        side.loose = False
        side.stream = stream = Stream(packet.sequence, self._settings)
        return self._read(rules, flow, side, stream.add(packet.sequence, packet.payload))

    @staticmethod
    def _absent(rules: CompiledRules, flow: Flow, analyzer: Analyzer) -> None:
        """The analyzer cannot tell any more; unless the flow's other end still may."""
        for side in (flow.client, flow.server):
            if side is not None and analyzer in side.running:
                return
        properties = flow.properties
        for name in rules.wanted_of[analyzer.name]:
            properties.setdefault(name, None)
