from __future__ import annotations

import datetime
import ipaddress
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from client import certificates
from client.certificates import CertificateFiles, check_self_signed, make_authority, make_leaf, write_self_signed


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


def test_what_was_written_serves_its_names_and_no_others(tmp_path: Path) -> None:
    files = write_self_signed(tmp_path, ["localhost", "127.0.0.1"])
    assert files == CertificateFiles.within(tmp_path)
    check_self_signed(files, ["localhost", "127.0.0.1"])
    with pytest.raises(ValueError, match=r"leaf\.pem is not good for ::1"):
        check_self_signed(files, ["localhost", "::1"])


def test_a_key_of_another_certificate(tmp_path: Path) -> None:
    files = write_self_signed(tmp_path, ["localhost"])
    files.key.write_bytes(make_leaf(make_authority(), ["localhost"]).key_pem)
    with pytest.raises(ValueError, match=r"leaf\.key is not the key of leaf\.pem"):
        check_self_signed(files, ["localhost"])


def test_files_that_have_expired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "LIFETIME", datetime.timedelta(hours=23))
    files = write_self_signed(tmp_path, ["localhost"])
    with pytest.raises(ValueError, match=r"ca\.pem has expired on 20"):
        check_self_signed(files, ["localhost"])
