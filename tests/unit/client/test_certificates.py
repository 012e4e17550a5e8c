from __future__ import annotations

import ipaddress
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from client.certificates import make_authority, make_leaf, write_self_signed


@pytest.mark.parametrize("name", ["messenger.example", "203.0.113.10", "2001:db8:2::10"])
def test_a_leaf_is_good_for_each_of_its_names(name: str) -> None:
    authority = make_authority()
    leaf = make_leaf(authority, ["messenger.example", "shop.example", "203.0.113.10", "2001:db8:2::10"])
    certificate = x509.load_pem_x509_certificate(leaf.certificate_pem)
    subject = x509.DNSName(name) if "example" in name else x509.IPAddress(ipaddress.ip_address(name))
    PolicyBuilder().store(Store([authority.certificate])).build_server_verifier(subject).verify(certificate, [])


def test_a_leaf_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        make_leaf(make_authority(), [])


def test_the_files_can_be_made_anew_and_the_key_is_private(tmp_path: Path) -> None:
    first = write_self_signed(tmp_path / "new", ["localhost"])
    before = first.key.read_bytes()
    second = write_self_signed(tmp_path / "new", ["localhost"])
    assert first == second
    assert second.key.read_bytes() != before
    assert stat.S_IMODE(second.key.stat().st_mode) == 0o600
    assert b"BEGIN CERTIFICATE" in second.ca.read_bytes()
