"""What worked on which network, from one run to the next: bounded in number and age. Sans-IO.

    memory = Memory.new(salt)  or  Memory.loads(content)
    memory.enter(network, now)  ->  another one than before?
    memory.recollection(now)  ->  Recollection, for the policy
    memory.remember(route, 0.04, now)                             from the policy's Remember
    memory.dumps(now)  ->  the file's content

Networks are kept under keyed hashes (BLAKE2b, RFC 7693), the key being random and in the same file. Who gets the file
alone cannot read from it where its owner has been; who has a list of networks can try each, as with any such file.
Times are seconds since 1970, so that they mean something to the next run.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Annotated, Literal

import msgspec

from client.network import Network
from client.policies import Recollection

SALT_BYTES = 32
MOST_NETWORKS = 32
"""Home, work, mobile and a month of cafés; the one unused for longest is forgotten first."""
MOST_ROUTES = 64
"""On one network; the one tried last longest ago is forgotten first."""
FORGET_SECONDS = 30 * 86400.0
"""What is older is no help: proxies move and censors learn in less time."""
FAILED_SECONDS = 86400.0
"""How long a failure counts: a block may be lifted, a route must get another chance."""


class RouteMemory(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """When a route worked and failed last on a network; 0: never. `rtt_seconds`: when it worked last."""

    worked_at: float = 0.0
    rtt_seconds: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    failed_at: float = 0.0


class DiagnosisMemory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The policy's last diagnosis of a block (`client.policies.Diagnosed`)."""

    route: str
    kind: str
    confidence: float
    at: float


class NetworkMemory(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One network: `hardware`, the hash of its gateway's MAC, tells it from others with the same addresses; "" if the
    MAC was never known. `used_at`: when this host was there last."""

    place: str
    hardware: str = ""
    used_at: float = 0.0
    routes: dict[str, RouteMemory] = {}
    diagnosis: DiagnosisMemory | None = None


class _Document(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    format: Literal[1] = 1
    salt: Annotated[bytes, msgspec.Meta(min_length=SALT_BYTES, max_length=SALT_BYTES)]
    networks: list[NetworkMemory] = []


@dataclass(slots=True)
class Memory:
    """See the module. `changed`: there is something that `dumps` has not given yet."""

    _document: _Document
    _current: NetworkMemory | None = None
    changed: bool = False

    @classmethod
    def new(cls, salt: bytes) -> Memory:
        """Nothing is remembered; `salt`: SALT_BYTES random bytes."""
        return cls(_Document(salt=salt))

    @classmethod
    def loads(cls, content: bytes) -> Memory:
        """What `dumps` gave. Raises ValueError, saying what is wrong."""
        try:
            return cls(msgspec.json.decode(content, type=_Document))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"no memory that this version can read: {error}") from error

    def dumps(self, now: float) -> bytes:
        """The file's content, without what is too old or too much."""
        self.changed = False
        kept = [known for known in self._document.networks if now - known.used_at < FORGET_SECONDS]
        self._document.networks = sorted(kept, key=lambda known: known.used_at)[-MOST_NETWORKS:]
        for known in self._document.networks:
            _forget_routes(known, now)
        return msgspec.json.encode(self._document) + b"\n"

    def enter(self, network: Network | None, now: float) -> bool:
        """This host is on `network` (None: on none) from now on; whether that is another than it was taken to be on.

        Where the MAC is not known yet it is taken for the one that was used last of those with these addresses.
        """
        before, self._current = self._current, None
        if network is not None:
            place, hardware = self._hashed(network.place), self._hashed(network.hardware)
            found = self._find(place, hardware)
            if found is None:
                found = NetworkMemory(place)
                self._document.networks.append(found)
            found.hardware = hardware or found.hardware
            found.used_at = now
            self._current = found
            self.changed = True
        return self._current is not before

    def recollection(self, now: float) -> Recollection:
        """What is remembered of the network that this host is on."""
        if self._current is None:
            return Recollection()
        routes = self._current.routes.items()
        worked = [(name, route) for name, route in routes if route.worked_at and now - route.worked_at < FORGET_SECONDS]
        worked.sort(key=lambda item: item[1].worked_at, reverse=True)
        failed = [
            name
            for name, route in routes
            if route.failed_at > route.worked_at and now - route.failed_at < FAILED_SECONDS
        ]
        return Recollection({name: route.rtt_seconds for name, route in worked}, frozenset(failed))

    @property
    def diagnosis(self) -> DiagnosisMemory | None:
        """The last one on this network."""
        return None if self._current is None else self._current.diagnosis

    def remember(self, route: str, rtt_seconds: float | None, now: float) -> None:
        """`route` has worked here just now (`rtt_seconds`: its RTT), or failed (None)."""
        if self._current is None:
            return
        memory = self._current.routes.setdefault(route, RouteMemory())
        if rtt_seconds is None:
            memory.failed_at = now
        else:
            memory.worked_at, memory.rtt_seconds = now, rtt_seconds
        self._noted(self._current, now)

    def diagnosed(self, route: str, kind: str, confidence: float, now: float) -> None:
        """The policy has found out what is wrong with `route` here."""
        if self._current is not None:
            self._current.diagnosis = DiagnosisMemory(route, kind, confidence, now)
            self._noted(self._current, now)

    def _noted(self, network: NetworkMemory, now: float) -> None:
        network.used_at = now
        self.changed = True

    def _find(self, place: str, hardware: str) -> NetworkMemory | None:
        """The network of this MAC, else one whose MAC was not known; any of the place where it is not known now."""
        fitting = [
            known
            for known in self._document.networks
            if known.place == place and (known.hardware in (hardware, "") or not hardware)
        ]
        exact = [known for known in fitting if hardware and known.hardware == hardware]
        return max(exact or fitting, key=lambda known: known.used_at, default=None)

    def _hashed(self, text: str) -> str:
        return blake2b(text.encode(), key=self._document.salt, digest_size=16).hexdigest() if text else ""


def _forget_routes(network: NetworkMemory, now: float) -> None:
    tried = {name: max(route.worked_at, route.failed_at) for name, route in network.routes.items()}
    kept = sorted((name for name, at in tried.items() if now - at < FORGET_SECONDS), key=lambda name: tried[name])
    network.routes = {name: network.routes[name] for name in kept[-MOST_ROUTES:]}
