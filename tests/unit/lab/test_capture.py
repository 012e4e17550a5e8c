"""Captures: what there is without a socket (tests/lab/test_capture.py has the packets)."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from lab.capture import Capture, CaptureSettings, InterfaceStats, dropped_packets


def test_files_are_named_after_host_and_logical_interface(tmp_path: Path) -> None:
    capture = Capture(CaptureSettings(folder=str(tmp_path), host="run1-censor", interfaces={"home": "eth0"}))
    assert capture.path("home") == tmp_path / "run1-censor-home.pcap"
    assert capture.stats() == {}


def test_settings_refuse_what_they_do_not_know() -> None:
    with pytest.raises(msgspec.ValidationError, match="interface"):
        msgspec.convert({"folder": ".", "host": "a", "interfaces": {}, "interface": "eth0"}, CaptureSettings)


def test_losses_are_summed_over_the_hosts_asked_for(tmp_path: Path) -> None:
    assert dropped_packets(tmp_path) is None
    for host, dropped in (("run1-censor", 2), ("run1-client", 3), ("run2-client", 4)):
        stats = {"home": InterfaceStats(packets=9, dropped=dropped), "uplink": InterfaceStats(packets=9, dropped=1)}
        (tmp_path / f"{host}.json").write_bytes(msgspec.json.encode(stats))
    assert dropped_packets(tmp_path) == 12
    assert dropped_packets(tmp_path, hosts="run1-*") == 7
    assert dropped_packets(tmp_path, hosts="run3-*") is None
