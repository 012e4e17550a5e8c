"""Sans-IO: sets of domain names. A look-up costs a hash per label of the name, however many names are listed."""

from __future__ import annotations

import re
from collections.abc import Iterable

NAME_LIMIT_CHARACTERS = 253
"""RFC 1035, section 2.3.4, as text."""

# Underscores are in names that are really looked up; a last label of digits makes it an (odd) IPv4 address.
_NAME = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*(?![0-9]+\Z)[a-z0-9_-]{1,63}")
_CYRILLIC = re.compile("[0-9a-z\u0430-\u044f\u0451.-]+")


def canonical(text: str) -> str | None:
    """A name as the sets have it, or None for what is no domain name.

    Lower case, no trailing dot, no `*.` in front, U-labels as A-labels (RFC 3490; punycode of what they map to).
    """
    name = text.lower()
    if name[:2] == "*.":
        name = name[2:]
    if name[-1:] == ".":
        name = name[:-1]
    if len(name) > NAME_LIMIT_CHARACTERS:
        return None
    if not name.isascii():
        try:
            name = _a_labels(name)
        except UnicodeError:
            return None
    return name if _NAME.fullmatch(name) and len(name) <= NAME_LIMIT_CHARACTERS else None


def checked(text: str) -> str:
    """The same. Raises ValueError for what is no domain name."""
    name = canonical(text)
    if name is None:
        raise ValueError(f"{text!r} is not a domain name")
    return name


def _a_labels(name: str) -> str:
    """Raises UnicodeError. The codec "idna" takes four times as long as punycode; these letters map to themselves."""
    if not _CYRILLIC.fullmatch(name) or "xn--" in name:
        return name.encode("idna").decode("ascii")
    labels = name.split(".")
    return ".".join(s if s.isascii() else "xn--" + s.encode("punycode").decode("ascii") for s in labels)


class DomainSet:
    """Domain names. Raises ValueError naming the first that is none."""

    __slots__ = ("_limit_characters", "names")

    names: frozenset[str]
    """All of them, canonical."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._keep(frozenset(map(checked, names)))

    @classmethod
    def from_canonical(cls, names: Iterable[str]) -> DomainSet:
        """The set of names that `canonical` returned: unchecked."""
        made = cls.__new__(cls)
        made._keep(frozenset(names))
        return made

    def _keep(self, names: frozenset[str]) -> None:
        self.names = names
        self._limit_characters = max(map(len, names), default=0)

    def exact(self, name: str) -> bool:
        """Whether the (canonical) name itself is listed."""
        return name in self.names

    def under(self, name: str) -> str | None:
        """The longest listed name that is the (canonical) name or one above it."""
        names = self.names
        if len(name) > self._limit_characters:
            # What is longer cannot be listed: the labels in front go, else "a.a.a..." of 64 KB would take a second.
            dot = name.find(".", -self._limit_characters - 1)
            if dot < 0:
                return None
            name = name[dot + 1 :]
        while name not in names:
            dot = name.find(".")
            if dot < 0:
                return None
            name = name[dot + 1 :]
        return name

    def diff(self, old: DomainSet) -> tuple[frozenset[str], frozenset[str]]:
        """Names that are here and not in `old`, and those that were only there: (added, removed)."""
        return self.names - old.names, old.names - self.names

    def __len__(self) -> int:
        return len(self.names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DomainSet) and self.names == other.names

    def __hash__(self) -> int:
        return hash(self.names)

    def __repr__(self) -> str:
        return f"<DomainSet of {len(self)}>"
