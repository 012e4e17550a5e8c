"""The exposition: what Prometheus reads, and that the dashboard and the documentation name what there is."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy.exposition import CONTENT_TYPE, PREFIX, Process, exposition, read_process
from proxy.metrics import Shared
from proxy.relay.flow import Reason
from proxy.wire import Command
from sidedoor import __version__

ROOT = Path(__file__).parents[3]
DASHBOARD = ROOT / "proxy/deploy/grafana/sidedoor-proxy.json"


@pytest.fixture
def shared() -> Iterator[Shared]:
    made = Shared(2)
    yield made
    made.close()


def samples(shared: Shared, proc: Path = Path("/nowhere")) -> dict[str, float]:
    """`name{label="value"}` -> value, names without their prefix, as the text has them."""
    lines = exposition(shared, proc).decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name.removeprefix(PREFIX): float(value) for name, value in pairs}


def test_counters_have_their_labels(shared: Shared) -> None:
    row = shared.row(0)
    row.opened("socks5", Command.CONNECT)
    row.closed(Reason.IDLE)
    found = samples(shared)
    assert found['flows_opened_total{command="connect",protocol="socks5"}'] == 1
    assert found['flows_opened_total{command="bind",protocol="socks5"}'] == 0
    assert found['flows_closed_total{reason="idle"}'] == 1
    assert found['flows_relayed_total{mode="copy"}'] == 1
    assert found["logins_total"] == 0


def test_gauges_are_each_workers_own(shared: Shared) -> None:
    shared.row(1).gauges(flows=7, handshakes=2)
    shared.draining = True
    found = samples(shared)
    assert found['open_flows{worker="0"}'] == 0
    assert found['open_flows{worker="1"}'] == 7
    assert found['open_handshakes{worker="1"}'] == 2
    assert found["draining"] == 1


def test_bytes_are_counted_by_user_and_in_all(shared: Shared) -> None:
    anna = shared.ledger.slot_of("anna")
    shared.row(0).moved(anna, 10, 20)
    shared.row(1).moved(anna, 1, 2)
    shared.row(1).moved(0, 100, 200)
    shared.ledger.open_flow(anna, 0, 0)
    shared.ledger.take(anna, 0, 33, 1.0, 0.0, 1000, 86400.0)
    found = samples(shared)
    assert found['user_bytes_total{direction="up",user="anna"}'] == 11
    assert found['user_bytes_total{direction="down",user="anna"}'] == 22
    assert found['user_bytes_total{direction="down",user=""}'] == 200
    assert found['bytes_total{direction="up"}'] == 111
    assert found['user_open_flows{user="anna"}'] == 1
    assert found['user_quota_used_bytes{user="anna"}'] == 33


def test_histograms_are_cumulative(shared: Shared) -> None:
    row = shared.row(0)
    for seconds in (0.0005, 0.04, 0.04, 60.0):
        row.dialed(seconds)
    found = samples(shared)
    assert found['dial_seconds_bucket{le="0.001"}'] == 1
    assert found['dial_seconds_bucket{le="0.02"}'] == 1
    assert found['dial_seconds_bucket{le="0.05"}'] == 3
    assert found['dial_seconds_bucket{le="30.0"}'] == 3
    assert found['dial_seconds_bucket{le="+Inf"}'] == found["dial_seconds_count"] == 4
    assert found["dial_seconds_sum"] == pytest.approx(60.0805)


def test_a_user_whose_name_could_forge_a_line_is_escaped(shared: Shared) -> None:
    name = 'a"} 1\nsidedoor_proxy_logins_total 99\\'
    shared.row(0).moved(shared.ledger.slot_of(name), 5, 0)
    parsed = {
        (sample.name, sample.labels.get("user"), sample.labels.get("direction")): sample.value
        for family in text_string_to_metric_families(exposition(shared).decode())
        for sample in family.samples
    }
    assert parsed[f"{PREFIX}user_bytes_total", name, "up"] == 5
    assert parsed[f"{PREFIX}logins_total", None, None] == 0


def test_it_says_what_is_running(shared: Shared) -> None:
    [info] = [name for name in samples(shared) if name.startswith("build_info")]
    assert f'version="{__version__}"' in info
    assert CONTENT_TYPE.startswith("text/plain")


def process(proc: Path, pid: int, name: str) -> None:
    folder = proc / str(pid)
    (folder / "fd").mkdir(parents=True)
    for descriptor in range(3):
        (folder / "fd" / str(descriptor)).touch()
    (folder / "statm").write_text("5000 200 100 1 0 300 0\n")
    (folder / "stat").write_text(f"{pid} ({name}) S 1 2 3 0 -1 4194560 9 0 0 0 150 50 0 0 20 0 1 0 100 0 0\n")


def test_what_processes_use_is_read_from_proc(tmp_path: Path, shared: Shared) -> None:
    shared.row(1)
    process(tmp_path, os.getpid(), "a) R (b")
    ticks = os.sysconf("SC_CLK_TCK")
    found = samples(shared, tmp_path)
    assert found['resident_memory_bytes{worker="1"}'] == 200 * os.sysconf("SC_PAGE_SIZE")
    assert found['open_descriptors{worker="1"}'] == 3
    assert found['cpu_seconds_total{worker="1"}'] == 200 / ticks
    assert 'cpu_seconds_total{worker="0"}' not in found


def test_a_process_that_is_gone_is_left_out(tmp_path: Path, shared: Shared) -> None:
    shared.row(0)
    assert read_process(tmp_path / "1") is None
    assert not [name for name in samples(shared, tmp_path) if name.startswith("resident")]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc here")
def test_this_process() -> None:
    found = read_process(Path("/proc/self"))
    assert isinstance(found, Process)
    assert found.resident_bytes > 1 << 20
    assert found.descriptors >= 3


# What names metrics


def families(shared: Shared) -> dict[str, str]:
    """Name as in the text -> type."""
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", exposition(shared).decode(), re.MULTILINE))


def expressions(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, one in value.items():
            if key in ("expr", "definition", "query") and isinstance(one, str):
                yield one
            else:
                yield from expressions(one)
    elif isinstance(value, list):
        for one in value:
            yield from expressions(one)


def test_every_metric_has_the_prefix_and_ends_as_its_type_wants(shared: Shared) -> None:
    for name, type_ in families(shared).items():
        assert name.startswith(PREFIX)
        assert name.endswith("_total") == (type_ == "counter")


def test_the_dashboard_names_metrics_that_exist_and_all_of_them(shared: Shared) -> None:
    known = families(shared)
    named: set[str] = set()
    for expression in expressions(json.loads(DASHBOARD.read_text(encoding="utf-8"))):
        for name in re.findall(rf"{PREFIX}\w+", expression):
            family = re.sub(r"_(bucket|count|sum)$", "", name)
            named.add(family if known.get(family) == "histogram" else name)
    assert named == set(known)


def test_the_dashboard_asks_the_data_source_that_was_chosen() -> None:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    assert dashboard["schemaVersion"] == 39
    assert dashboard["templating"]["list"][0]["type"] == "datasource"
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert {panel["datasource"]["uid"] for panel in panels} == {"${datasource}"}
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_the_documentation_lists_all_metrics(shared: Shared) -> None:
    text = (ROOT / "docs/proxy-metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", text, re.MULTILINE)
    assert {PREFIX + name: type_ for name, type_ in rows} == families(shared)
