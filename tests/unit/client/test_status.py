from __future__ import annotations

import pytest

from client.policies import Diagnosed, Health
from client.status import Status


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (Status(None), "no connection, looking for one"),
        (Status("direct"), "direct"),
        (Status("direct", Health()), "direct"),
        (Status("direct", Health(rtt_seconds=0.0417, standby="proxy1")), "direct 42 ms | standby proxy1"),
        (Status("direct", Health(rtt_seconds=0.04, in_doubt=True)), "direct in doubt"),
        (
            Status("direct", Health(in_doubt=True, hedging=True, standby="proxy1")),
            "direct in doubt, copies go by proxy1 | standby proxy1",
        ),
        (Status("direct", Health(in_doubt=True, hedging=True)), "direct in doubt, copies go by another route"),
        (Status("direct", messages=1), "direct | 1 message not there yet"),
        (Status("direct", messages=2, attachments=1), "direct | 2 messages and 1 file not there yet"),
        (Status("direct", attachments=2), "direct | 2 files not there yet"),
        (
            Status("proxy1", troubles=(Diagnosed("direct", "reset", 0.9),)),
            "proxy1 | direct: connections are reset",
        ),
    ],
)
def test_one_line_says_how_things_are(status: Status, line: str) -> None:
    assert status.line == line
