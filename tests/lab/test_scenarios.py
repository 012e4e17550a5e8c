"""Scenarios of a whole arms race: proxies that are read, probed and blocked; a real censor's profile as the block."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.topology import ORIGIN_NAME, standard

PROXIES = tuple(standard().host(name).addresses()[0] for name in ("proxy1", "proxy2"))


def run(scenario: str | Path, folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The only run of the scenario, which held, and its events."""
    command = [sys.executable, "-m", "sidedoor", "lab", "run", str(scenario), "--out", str(folder), "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    (summary,) = json.loads((folder / "summary.json").read_text())["runs"]
    return summary, [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def times(events: list[dict[str, Any]], event: str, **fields: Any) -> list[float]:
    wanted = {"event": event} | fields
    return [one["t"] for one in events if wanted.items() <= one.items()]


@pytest.mark.netns
def test_the_proxies_are_hunted_one_by_one(tmp_path: Path) -> None:
    summary, events = run("active-probing", tmp_path / "run")
    assert summary["ended_seconds"] < 60
    begun = times(events, "episode_started")[0]
    lifted = times(events, "unblocked")[0]
    hunted = begun
    for name, address in zip(("proxy1", "proxy2"), PROXIES, strict=True):
        (switched,) = [t for t in times(events, "route_switched", new=name) if t < lifted]
        steps = [
            hunted,  # nobody suspects the second before the first is gone
            times(events, "proxy_suspected", address=address, port=1080, reason="socks")[0],
            times(events, "probe_sent", address=address, probe="socks5-no-auth")[0],
            times(events, "probe_answered", address=address, outcome="answered_proxy")[0],
            times(events, "proxy_convicted", address=address, evidence=["socks5-method"])[0],
            times(events, "censor_hit", rule="prober", action="residual", destination_address=address)[0],
            times(events, "path_bad", route=name)[0],
        ]
        assert steps == sorted(steps)
        assert steps[1] < switched < steps[4], "the proxy was of use for a while"
        hunted = steps[4]
    acked = [t for t in times(events, "message_acked") if hunted + 1 < t < lifted]
    assert acked == [], "with both of them gone nothing gets out"
    assert len(times(events, "proxy_suspected")) == len(times(events, "proxy_convicted")) == 2
    assert times(events, "message_acked")[-1] > lifted
    # The open proxy's side of it: who was there for the censor's destination.
    visits = [one for one in events if one["event"] == "flow_opened" and one["target"] == "198.18.0.80:443"]
    (visitor,) = [one["client"].split(":")[0] for one in visits if one["source"] == "proxy1"]
    assert visitor in standard().host("censor").addresses()


@pytest.mark.netns
def test_a_profile_with_lists_of_ones_own_is_a_block(tmp_path: Path) -> None:
    scenario = tmp_path / "profile"
    (scenario / "lists").mkdir(parents=True)
    (scenario / "scenario.toml").write_text(
        'name = "profile"\ndescription = "China as the block"\ntimeout_seconds = 60\n'
        '[[block]]\nname = "rst"\nrules = "rst.toml"\nhealthy_seconds = 1\n'
        "[expect]\nrecovered = true\nfailed_back = true\nlost = 0\nhits_at_least = 2\nleaks = 0\n"
    )
    # The profile leaves connections alone that stand already.
    (scenario / "rst.toml").write_text(
        'censor.profile = "gfw-rst"\n[[list]]\nname = "blocked"\nfile = "lists/names.txt"\n'
        '[[rule]]\nname = "those-that-stand"\nwhen = "tls.sni under @blocked"\nactions = [{ kind = "log" }]\n'
        'existing_flows = "kill"\nexisting_action = "rst"\n'
    )
    (scenario / "lists/names.txt").write_text(f"# of the day\n{ORIGIN_NAME}\n")
    _, events = run(scenario, tmp_path / "run")
    hits = [one for one in events if one["event"] == "censor_hit"]
    assert {(one["rule"], one["name"]) for one in hits} >= {("tls-2023", ORIGIN_NAME)}
    broken = {one["site"] for one in events if one["event"] == "bystander_flow" and not one["ok"]}
    assert broken == set()
