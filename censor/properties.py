"""Sans-IO: the types of what is known about a flow, and how "not yet known" and "will never be known" are told apart.

The properties of a flow are a dict. A name that is not in it is *unknown*: the flow's next bytes may tell. A name whose
value is None is *absent*: they cannot tell any more (the bytes were something else). Analyzers fill it
(censor/analyzers), conditions read it (censor/conditions).
"""

from __future__ import annotations

import enum

Value = bool | int | float | str | bytes | tuple[str, ...]


class Type(enum.Enum):
    """What a property's values are; the value is what error messages and docs/censor-rules.md call it."""

    BOOLEAN = "boolean"
    INTEGER = "integer"
    NUMBER = "number"
    """int or float."""
    TEXT = "text"
    NAME = "name"
    """A domain name: str, lower case, no trailing dot."""
    ADDRESS = "address"
    """An IP address: 4 or 16 bytes in network order."""
    TEXTS = "texts"
    """A tuple of str."""


Properties = dict[str, Value | None]

# What is known of every flow from its first packet on, told from the opener's side: the client is who opened it.
FLOW_PROPERTIES: dict[str, Type] = {
    "protocol": Type.TEXT,  # tcp, udp, icmp, or the protocol's number
    "ip.version": Type.INTEGER,
    "client.address": Type.ADDRESS,
    "client.port": Type.INTEGER,
    "client.inside": Type.BOOLEAN,  # whether the client is on the censored side
    "server.address": Type.ADDRESS,
    "server.port": Type.INTEGER,
    "server.inside": Type.BOOLEAN,
    # What a `mark` action has left on the flow.
    "flow.mark": Type.TEXT,
}
