"""Sans-IO: residual blocking: what was matched once stays blocked for a time, whatever is said there next."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from censor.actions import Residual
from censor.draws import between
from censor.flows import Flow
from censor.packets import TCP

if TYPE_CHECKING:
    from censor.compiled import CompiledRule

ResidualKey = tuple[str, bytes, bytes, int, int, int]
"""Its kind (`Residual.key`, or `server`), client and server address, server and client port, protocol; 0 for what the
kind leaves out."""


class Entry:
    """One blocked key. `begins`, `until`: on the packets' clock. `triggers`: how often it was matched.

    probability: of a later flow to be hit, while that is not `certain`. in_kernel: the kernel drops what is hit without
    asking.
    """

    __slots__ = ("action", "begins", "in_kernel", "key", "probability", "rule", "seconds", "triggers", "until")

    def __init__(
        self,
        rule: CompiledRule,
        action: Residual,
        key: ResidualKey,
        begins: float,
        seconds: float,
        probability: float = 1.0,
        *,
        in_kernel: bool = True,
    ) -> None:
        self.rule = rule
        self.action = action
        self.key = key
        self.begins = begins
        self.seconds = seconds
        self.until = begins + seconds
        self.probability = probability
        self.triggers = 1
        self.in_kernel = in_kernel

    @property
    def certain(self) -> bool:
        """Whether every flow is hit."""
        action = self.action
        return self.probability >= 1 or (action.certain_after is not None and self.triggers >= action.certain_after)

    def lasts(self, t: float) -> bool:
        return self.until > t and not self.rule.lifted

    def take(self, flow: Flow) -> None:
        """It has hit this flow: while it lasts it does so with every packet, however much is known of the flow. A block
        of the same key that begins after its end is another."""
        if self not in flow.residuals:
            flow.residuals = (*(entry for entry in flow.residuals if entry.lasts(self.begins)), self)

    def concerns(self, *, from_client: bool) -> bool:
        return self.action.direction in ("both", "to_server" if from_client else "to_client")


class Residuals:
    """The blocked keys, at most `limit`; the oldest goes first (`evicted`). Each may be blocked by several rules."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.evicted = 0
        self._entries: OrderedDict[ResidualKey, list[Entry]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def add(
        self,
        rule: CompiledRule,
        action: Residual,
        flow: Flow,
        t: float,
        *,
        delay_seconds: float,
        seconds: float,
        drawn: float = 0.0,
        in_kernel: bool = True,
    ) -> Entry | None:
        """Block the flow's key from t + delay on; None: it was blocked already, and lasts no longer than before.

        drawn: in [0, 1); what it makes of a span of probabilities is the key's own.
        """
        key = residual_key(action.key, flow)
        for entry in self._entries.get(key, ()):
            if entry.rule is rule and entry.until > t:
                return self._again(entry, t + seconds)
        probability = between(action.probability, drawn)
        return self._put(Entry(rule, action, key, t + delay_seconds, seconds, probability, in_kernel=in_kernel))

    def _put(self, entry: Entry) -> Entry:
        others = [other for other in self._entries.get(entry.key, ()) if other.rule is not entry.rule]
        self._entries[entry.key] = [*others, entry]
        self._entries.move_to_end(entry.key)
        if len(self._entries) > self._limit:
            self._entries.popitem(last=False)
            self.evicted += 1
        return entry

    @staticmethod
    def _again(entry: Entry, until: float) -> Entry | None:
        was_certain = entry.certain
        entry.triggers += 1
        if entry.action.refresh != "never":
            entry.until = max(entry.until, until)
        elif was_certain or not entry.certain:
            return None
        return entry

    def convict(
        self, rule: CompiledRule, action: Residual, address: bytes, port: int, t: float, seconds: float
    ) -> Entry:
        """Block a server's TCP port for everybody from `t` on."""
        return self._put(Entry(rule, action, ("server", b"", address, port, 0, TCP), t, seconds))

    def find(self, flow: Flow, t: float) -> list[Entry]:
        """The entries that concern this flow at `t`."""
        found: list[Entry] = []
        for kind in ("3-tuple", "4-tuple", "2-tuple", "server"):
            key = residual_key(kind, flow)
            entries = self._entries.get(key)
            if entries is None:
                continue
            lasting = [entry for entry in entries if entry.lasts(t)]
            if not lasting:
                del self._entries[key]
            elif len(lasting) < len(entries):
                self._entries[key] = lasting
            found += [entry for entry in lasting if entry.begins <= t]
        return found

    def lifted(self) -> list[Entry]:
        """Forget the entries of rules that were lifted; which they were."""
        gone = [entry for entry in self.entries() if entry.rule.lifted]
        for key in {entry.key for entry in gone}:
            self._entries[key] = [entry for entry in self._entries[key] if not entry.rule.lifted]
            if not self._entries[key]:
                del self._entries[key]
        return gone

    def entries(self) -> list[Entry]:
        return [entry for entries in self._entries.values() for entry in entries]


def residual_key(kind: str, flow: Flow) -> ResidualKey:
    if kind == "2-tuple":
        return kind, flow.client_address, flow.server_address, 0, 0, 0
    if kind == "server":
        return kind, b"", flow.server_address, flow.server_port, 0, flow.protocol
    client_port = flow.client_port if kind == "4-tuple" else 0
    return kind, flow.client_address, flow.server_address, flow.server_port, client_port, flow.protocol
