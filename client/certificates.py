"""Certificates for an origin: an authority of our own and leaves that it signs, as PEM files.

P-256 keys: small handshakes, and every TLS stack takes them. Good for labs and tests; the authority's key never leaves
this process, so that no second leaf can be made from the files.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

LIFETIME = datetime.timedelta(days=30)
"""How long authority and leaves are valid, from a day before now, since clocks differ."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority in memory."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        """The certificate, for clients to trust."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A server's certificate and key, in PEM."""

    certificate_pem: bytes
    key_pem: bytes


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where the files of one folder are: the authority's certificate, the leaf's certificate and key."""

    ca: Path
    certificate: Path
    key: Path

    @classmethod
    def within(cls, folder: str | Path) -> CertificateFiles:
        """`ca.pem`, `leaf.pem` and `leaf.key` of the folder, whether they exist or not."""
        return cls(Path(folder) / "ca.pem", Path(folder) / "leaf.pem", Path(folder) / "leaf.key")

    @property
    def existing(self) -> list[Path]:
        """Those that exist."""
        return [path for path in (self.ca, self.certificate, self.key) if path.exists()]


def make_authority(name: str = "Sidedoor lab authority") -> Authority:
    """A new authority (RFC 5280 section 4.2.1.9: CA, no further CAs below)."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = _usage(digital_signature=False, key_cert_sign=True)
    builder = (
        _builder(subject, subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return Authority(builder.sign(key, hashes.SHA256()), key)


def make_leaf(authority: Authority, names: Sequence[str]) -> Leaf:
    """A server certificate for `names`: DNS names and IP addresses, as many as wanted; the first is the common name.

    Raises ValueError without a name.
    """
    if not names:
        raise ValueError("a certificate needs at least one name or address")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    builder = (
        _builder(subject, authority.certificate.subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True, key_cert_sign=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
    )
    certificate = builder.sign(authority.key, hashes.SHA256())
    return Leaf(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


def write_self_signed(folder: str | Path, names: Sequence[str]) -> CertificateFiles:
    """Make an authority and one leaf and write `ca.pem`, `leaf.pem` and `leaf.key` (mode 0600), over what is there.

    Raises OSError, and ValueError without a name.
    """
    authority = make_authority()
    leaf = make_leaf(authority, names)
    files = CertificateFiles.within(folder)
    files.ca.parent.mkdir(parents=True, exist_ok=True)
    files.ca.write_bytes(authority.pem)
    files.certificate.write_bytes(leaf.certificate_pem)
    files.key.unlink(missing_ok=True)
    with open(os.open(files.key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(leaf.key_pem)
    return files


def check_self_signed(files: CertificateFiles, names: Sequence[str]) -> None:
    """Raises ValueError, with the reason, if these files do not serve `names` now; OSError if one cannot be read."""
    authority = x509.load_pem_x509_certificate(files.ca.read_bytes())
    leaf = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    if key.public_key() != leaf.public_key():
        raise ValueError(f"{files.key.name} is not the key of {files.certificate.name}")
    for certificate, path in ((authority, files.ca), (leaf, files.certificate)):
        if certificate.not_valid_after_utc <= datetime.datetime.now(datetime.UTC):
            raise ValueError(f"{path.name} has expired on {certificate.not_valid_after_utc:%Y-%m-%d}")
    builder = PolicyBuilder().store(Store([authority]))
    for name in names:
        try:
            builder.build_server_verifier(_general_name(name)).verify(leaf, [])
        except VerificationError as error:
            raise ValueError(f"{files.certificate.name} is not good for {name}: {error}") from error


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    begins = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + LIFETIME)
    )


def _usage(*, digital_signature: bool, key_cert_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=key_cert_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.DNSName | x509.IPAddress:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
