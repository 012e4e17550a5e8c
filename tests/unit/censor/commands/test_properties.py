"""censor/commands/properties.py"""

from __future__ import annotations

import json

from click.testing import CliRunner

from censor.analyzers.all import PROPERTIES
from censor.commands.properties import properties


def test_the_table() -> None:
    result = CliRunner().invoke(properties, env={"COLUMNS": "160"})
    lines = [line.split() for line in result.output.splitlines()]
    assert (result.exit_code, lines[0]) == (0, ["property", "type", "what", "it", "is"])
    assert [line[0] for line in lines[1:]] == list(PROPERTIES)
    assert "over UDP or TCP; looked for on port 53 only" in result.output


def test_a_narrow_terminal() -> None:
    output = CliRunner().invoke(properties, env={"COLUMNS": "50"}).output
    assert "\ntls.sni\n  type        name" in output
    assert max(map(len, output.splitlines())) <= 50


def test_json() -> None:
    listed = {one.pop("property"): one for one in json.loads(CliRunner().invoke(properties, ["--json"]).output)}
    assert list(listed) == list(PROPERTIES)
    assert listed["dns.tcp"] == {"type": "boolean", "meaning": "it came over TCP", "ports": [53]}
    assert listed["tls.sni"]["ports"] == []
