"""Logs go to stderr as JSON lines, results never do."""

import json
from collections.abc import Iterator

import pytest
import structlog

from sidedoor import logs


@pytest.fixture(autouse=True)
def _structlog_as_it_was() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize(("verbose", "levels"), [(False, ["info"]), (True, ["debug", "info"])])
def test_one_json_object_a_line_on_stderr(verbose: bool, levels: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(verbose=verbose)
    log = structlog.get_logger()
    log.debug("looked", what="socket")
    log.info("listening", port=1080)
    captured = capsys.readouterr()
    lines = [json.loads(line) for line in captured.err.splitlines()]
    assert captured.out == ""
    assert [line["level"] for line in lines] == levels
    assert lines[-1]["event"] == "listening"
    assert lines[-1]["port"] == 1080
    assert lines[-1]["timestamp"].endswith("Z")
