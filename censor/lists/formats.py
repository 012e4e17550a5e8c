"""The formats of block lists, which one a file is in, and reading a file. All but `read` is sans-IO.

| format | a row |
|---|---|
| `plain` | a domain name, address, CIDR block or range `first-last`; comments start with `#` |
| `cidr` | the same without domain names |
| `hosts` | a hosts file's: an address of nowhere (0.0.0.0, 127.0.0.1, ::, ::1) and the names that it blocks |
| `registry` | the Russian registry dump's (censor/lists/registry) |
| `citizenlab` | CSV with a header; the domain (or address) in the column `url`, and all of an http URL |

A row of text is UTF-8. A malformed row is skipped and counted; a list of which most rows are malformed is an error.
"""

from __future__ import annotations

import codecs
import csv
import io
import ipaddress
from collections.abc import Callable, Iterator
from pathlib import Path

from censor.lists.block_list import BlockList, Draft
from censor.lists.domains import canonical, checked
from censor.lists.registry import ENCODING as REGISTRY_ENCODING
from censor.lists.registry import UPDATED, parse_registry
from censor.lists.urls import parse_url
from sidedoor.settings import SettingsError

AUTO = "auto"
HEAD_BYTES = 1 << 16
"""How much of a list is read to tell its format."""

_NOWHERE = frozenset({"0.0.0.0", "127.0.0.1", "::", "::1"})
# What hosts files say of the machine itself, and of broadcast and multicast, beside what they block.
_MACHINE = frozenset({"localhost", "localhost.localdomain", "local", "broadcasthost", "0.0.0.0"}) | frozenset(
    f"ip6-{name}" for name in ("localhost", "loopback", "localnet", "mcastprefix", "allnodes", "allrouters", "allhosts")
)


def read(path: str | Path, format: str = AUTO) -> BlockList:
    """The list in a file. Raises SettingsError."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    return parse(data, format, origin=str(path))


def parse(data: bytes | str, format: str = AUTO, *, origin: str = "list") -> BlockList:
    """The list in a file's content. Raises SettingsError; `origin` stands in front of its message."""
    if format != AUTO and format not in FORMATS:
        raise SettingsError(f"{origin}: {format!r} is no format of lists; expected {AUTO}, {', '.join(FORMATS)}")
    if isinstance(data, str):
        registry = format == "registry" or (format == AUTO and data.startswith(UPDATED.decode()))
        data = data.encode(REGISTRY_ENCODING if registry else "utf-8", "replace")
    data = data.removeprefix(codecs.BOM_UTF8)
    return FORMATS[_detect(data, origin) if format == AUTO else format](data, origin)


def _detect(data: bytes, origin: str) -> str:
    """The first format that the beginning of the list is well-formed in. Raises SettingsError saying what was tried."""
    head, tried = _head(data), []
    for name in _DETECTED:
        try:
            if FORMATS[name](head, name).rows:
                return name
        except SettingsError as error:
            tried.append(str(error))
    if len(tried) == len(_DETECTED):
        raise SettingsError(f"{origin}: is in none of the formats that were tried: {'; '.join(tried)}")
    return "plain"  # there is nothing in it


def _head(data: bytes) -> bytes:
    """Whole lines; of those above the first row (a licence may be long) the ends only, so that numbers stay right."""
    start = 0
    while data.startswith((b"#", b"\n", b"\r"), start):
        start = data.find(b"\n", start) + 1 or len(data)
    end = start + HEAD_BYTES
    if end < len(data):
        end = data.rfind(b"\n", start, end) + 1 or end
    return b"\n" * data.count(b"\n", 0, start) + data[start:end]


def _rows(data: bytes) -> Iterator[tuple[int, str]]:
    """The lines, from 1, that have more than a comment, without it."""
    for number, line in enumerate(io.BytesIO(data), 1):
        text = line.decode("utf-8", "replace").partition("#")[0].strip()
        if text:
            yield number, text


def _parse_rows(data: bytes, origin: str, add: Callable[[Draft, str], None], expected: str) -> BlockList:
    draft = Draft()
    for number, text in _rows(data):
        draft.rows += 1
        try:
            add(draft, text)
        except ValueError as error:
            draft.skip(number, str(error))
    return draft.finish(origin, expected)


def _parse_plain(data: bytes, origin: str) -> BlockList:
    return _parse_rows(data, origin, _add_plain, "a domain name, an address, a CIDR block or a range a line")


def _add_plain(draft: Draft, text: str) -> None:
    name = canonical(text)
    if name is not None:
        draft.domains.add(name)
        return
    try:
        draft.add_addresses((text,))
    except ValueError as error:
        raise ValueError(f"not a domain name, and {error}") from error


def _parse_cidr(data: bytes, origin: str) -> BlockList:
    return _parse_rows(data, origin, _add_cidr, "an address, a CIDR block or a range a line")


def _add_cidr(draft: Draft, text: str) -> None:
    draft.add_addresses((text,))


def _parse_hosts(data: bytes, origin: str) -> BlockList:
    return _parse_rows(data, origin, _add_hosts, "an address and names a line, as in a hosts file")


def _add_hosts(draft: Draft, text: str) -> None:
    address, *names = text.split()
    if not names:
        raise ValueError(f"{text!r} has no name behind the address")
    if address in _NOWHERE:
        draft.add_domains(name for name in names if name.lower() not in _MACHINE)
    else:
        # A row that names a host: well-formed, and blocks nothing.
        ipaddress.ip_address(address)
        for name in names:
            checked(name)


def _parse_citizenlab(data: bytes, origin: str) -> BlockList:
    reader = csv.reader(io.TextIOWrapper(io.BytesIO(data), "utf-8", "replace"))
    draft = Draft()
    try:
        rows = filter(None, reader)
        column = _url_column(next(rows, []), f"{origin}: line {reader.line_num or 1}")
        for row in rows:
            draft.rows += 1
            try:
                _add_citizenlab(draft, row, column)
            except ValueError as error:
                draft.skip(reader.line_num, str(error))
    except csv.Error as error:  # quotes that never end
        raise SettingsError(f"{origin}: line {reader.line_num}: {error}; expected CSV") from error
    return draft.finish(origin, "CSV with a URL in the column `url`")


def _url_column(header: list[str], place: str) -> int:
    names = [name.strip().lower() for name in header]
    if "url" not in names:
        found = ",".join(header)[:40]
        raise SettingsError(f"{place}: found {found!r}; expected a CSV header with the column `url`")
    return names.index("url")


def _add_citizenlab(draft: Draft, row: list[str], column: int) -> None:
    if len(row) <= column:
        raise ValueError(f"no column `url` among {len(row)}")
    url = parse_url(row[column].strip())
    if url.is_address:
        draft.add_addresses((url.host,))
    else:
        draft.domains.add(url.host)
    if url.scheme == "http":
        draft.urls.add(url.key)


FORMATS: dict[str, Callable[[bytes, str], BlockList]] = {
    "plain": _parse_plain,
    "cidr": _parse_cidr,
    "hosts": _parse_hosts,
    "registry": parse_registry,
    "citizenlab": _parse_citizenlab,
}
# From the most particular one on. `plain` reads whatever `cidr` does.
_DETECTED = ("registry", "citizenlab", "hosts", "plain")
