"""Sans-IO: what conditions ask of a list (`@registry`), and how its content is exchanged while they are in use."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from censor.conditions.syntax import Network


class Domains(Protocol):
    """Names, lower case and without trailing dot."""

    def under(self, name: str, /) -> str | None:
        """The entry that `name` is, or is below; None: there is none."""

    def exact(self, name: str, /) -> bool:
        """Whether `name` is an entry."""


class Networks(Protocol):
    """Addresses and blocks; an address is asked for by its 4 or 16 bytes."""

    def __contains__(self, packed: bytes, /) -> bool: ...


class Content(Protocol):
    """A list's content."""

    @property
    def domains(self) -> Domains: ...
    @property
    def networks(self) -> Networks: ...
    @property
    def urls(self) -> frozenset[str]: ...


@dataclass(slots=True)
class ListHolder:
    """What a condition is compiled with. `content` may be exchanged at any time: the next evaluation asks the new."""

    content: Content


class LiteralNetworks:
    """The addresses and blocks that stand in a condition itself: one look-up for each length of prefix among them."""

    def __init__(self, networks: Iterable[Network]) -> None:
        found: dict[int, dict[int, set[int]]] = {4: {}, 16: {}}
        for network in networks:
            shift = network.max_prefixlen - network.prefixlen
            prefixes = found[network.max_prefixlen // 8].setdefault(shift, set())
            prefixes.add(int(network.network_address) >> shift)
        # Per length of an address in bytes: how far to shift it, and the prefixes of the length that then remains.
        self._prefixes = {length: tuple(prefixes.items()) for length, prefixes in found.items()}

    def __contains__(self, packed: bytes, /) -> bool:
        number = int.from_bytes(packed, "big")
        for shift, prefixes in self._prefixes[len(packed)]:  # noqa: SIM110 (any() takes four times as long)
            if number >> shift in prefixes:
                return True
        return False
