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
        self._prefixes: dict[tuple[int, int], set[int]] = {}
        for network in networks:
            shift = network.max_prefixlen - network.prefixlen
            key = (network.max_prefixlen // 8, shift)
            self._prefixes.setdefault(key, set()).add(int(network.network_address) >> shift)

    def __contains__(self, packed: bytes, /) -> bool:
        number = int.from_bytes(packed, "big")
        return any(
            len(packed) == length and number >> shift in prefixes
            for (length, shift), prefixes in self._prefixes.items()
        )
