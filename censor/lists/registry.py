"""Sans-IO: the Russian registry of banned sites, as the public dump has it (`dump.csv` of zapret-info).

The first line is `Updated: ...`; then a row a line, windows-1251, six fields between `;`: addresses; domains; URLs;
agency; decision; date. Addresses and domains are between `|`, URLs between ` | ` (a URL may have a `|` of its own).

What a row bans follows from what it has:

| row | bans |
|---|---|
| no domain | its addresses, and its http URLs |
| domains, no URL | the domains; the addresses only say where these were |
| domains, http URLs only | the URLs: the rest of the site stays allowed |
| domains, another URL (https) | the domains and the addresses: such a URL cannot be seen on the wire |
"""

from __future__ import annotations

import io

from censor.lists.block_list import BlockList, Draft
from censor.lists.domains import checked
from censor.lists.urls import parse_url
from sidedoor.settings import SettingsError

ENCODING = "windows-1251"
FIELDS = 6
_EXPECTED = "six fields between `;`: addresses; domains; URLs; agency; decision; date"
UPDATED = b"Updated:"


def parse_registry(data: bytes, origin: str) -> BlockList:
    """The dump as a list. Raises SettingsError where the first line or most rows are not a dump's."""
    lines = io.BytesIO(data)  # a line at a time: all of them as strings would take several times the dump
    head = lines.readline()
    if not head.startswith(UPDATED):
        found = head[:40].decode(ENCODING, "replace").strip()
        raise SettingsError(f"{origin}: line 1: found {found!r}; expected `Updated: ` and the date of the dump")
    draft = Draft()
    for number, line in enumerate(lines, 2):
        if line.isspace():
            continue
        draft.rows += 1
        fields = line.split(b";")
        try:
            if len(fields) != FIELDS:
                raise ValueError(f"{len(fields)} fields between `;`")
            _add_row(draft, fields[0], fields[1], fields[2])
        except ValueError as error:  # of which UnicodeDecodeError is one
            draft.skip(number, str(error))
    return draft.finish(origin, _EXPECTED, head[len(UPDATED) :].decode(ENCODING, "replace").strip())


def _add_row(draft: Draft, addresses: bytes, domains: bytes, urls: bytes) -> None:
    """Raises ValueError before anything of the row is in the draft."""
    names = [checked(text) for text in _parts(domains, "|")]
    if names and not urls:  # nearly all rows
        draft.domains.update(names)
        return
    found = [parse_url(text) for text in _parts(urls, " | ")]
    visible = {url.key for url in found if url.scheme == "http"}
    hidden = any(url.scheme != "http" for url in found)
    banned = _parts(addresses, "|") if hidden or not names else []
    if not (names or banned or visible):
        raise ValueError("neither an address nor a domain nor an http URL")
    draft.add_addresses(banned)
    if hidden or not found:
        draft.domains.update(names)
    draft.urls |= visible


def _parts(field: bytes, separator: str) -> list[str]:
    """What is between the separators, without blanks and empty ones. Raises UnicodeDecodeError."""
    if not field:
        return []
    # The codec of ASCII takes a tenth of the other's time.
    text = field.decode("ascii" if field.isascii() else ENCODING)
    if separator not in text:
        text = text.strip()
        return [text] if text else []
    return [part for part in map(str.strip, text.split(separator)) if part]
