"""Sans-IO: the identification string that an SSH client opens with (RFC 4253, section 4.2)."""

from __future__ import annotations

from censor.analyzers import Analyzer, Finding, Outcome, Wanted
from censor.properties import Type

_PREFIX = b"SSH-"
_LINE_BYTES_MAX = 255  # CR and LF included


def identification(data: bytes, wanted: Wanted) -> Finding | Outcome:
    """`SSH-protoversion-softwareversion SP comments CR LF`; a bare LF ends it too, as servers have it.

    Only servers may send other lines before it, so a client's stream that starts with something else is OTHER.
    """
    if not data.startswith(_PREFIX):
        return Outcome.MORE if _PREFIX.startswith(data) else Outcome.OTHER
    end = data.find(b"\n", 0, _LINE_BYTES_MAX)
    if end < 0:
        return Outcome.MORE if len(data) < _LINE_BYTES_MAX else Outcome.OTHER
    line = data[len(_PREFIX) : end].removesuffix(b"\r").decode("ascii", "backslashreplace")
    version, dash, software = line.partition("-")
    software = software.partition(" ")[0]
    if not (version and dash and software):
        return Outcome.OTHER
    return Finding({"ssh": True, "ssh.version": version, "ssh.software": software}, end + 1)


ANALYZER = Analyzer(
    "ssh",
    {"ssh": Type.BOOLEAN, "ssh.version": Type.TEXT, "ssh.software": Type.TEXT},
    stream=identification,
    limit_bytes=_LINE_BYTES_MAX,
)
