"""What the throw-away namespace said, line by line."""

import os

import pytest

from lab.machine import PROBES, overlaps, parse_probes, sandbox, search_path


def test_probes_that_worked_failed_and_were_not_reached() -> None:
    found = parse_probes("namespaces\t\nnft\tError: Could not process rule \n\nstray line\n")
    assert found == dict.fromkeys(PROBES) | {"namespaces": "", "nft": "Error: Could not process rule"}


def test_only_ordinary_users_get_a_user_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert "-Ur" not in sandbox("true")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert sandbox("true")[:2] == ["unshare", "-Ur"]
    assert "--kill-child" in sandbox("true")


def test_the_kernels_tools_are_looked_for_where_users_have_no_path_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin")
    assert search_path().split(":")[0] == "/usr/bin"
    assert "/usr/sbin" in search_path().split(":")


def test_own_addresses_in_the_labs_networks() -> None:
    output = """\
1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever preferred_lft forever
2: eth0    inet 192.0.2.2/24 scope global eth0\\       valid_lft forever preferred_lft forever
2: eth0    inet6 fe80::fc:ff:fe00:1/64 scope link \\       valid_lft forever preferred_lft forever
3: wlan0    inet6 2001:db8:2::7/64 scope global \\       valid_lft forever preferred_lft forever
4: sd12-home    inet 192.0.2.254/24 scope global sd12-home\\       valid_lft forever preferred_lft forever
"""
    assert overlaps(output) == ("eth0 192.0.2.2", "wlan0 2001:db8:2::7")
