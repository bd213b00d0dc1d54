"""Certificates and keys of the local cluster: elliptic-curve keys, one authority per purpose."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = dt.timedelta(days=365)
CLOCK_SKEW = dt.timedelta(hours=1)


@dataclass(frozen=True)
class KeyPair:
    """A certificate (PEM) and its private key (PEM, readable by the owner alone)."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class CertificateSubject:
    """Whom a certificate names: Kubernetes reads the common name as user and the organizations as groups."""

    common_name: str
    organization: str | None = None
    hosts: tuple[str, ...] = ()

    def name(self) -> x509.Name:
        """The X.509 name."""
        attributes = [x509.NameAttribute(NameOID.COMMON_NAME, self.common_name)]
        if self.organization:
            attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, self.organization))
        return x509.Name(attributes)


class Authority:
    """A certificate authority in a folder; made on first use, read back afterwards."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self.files = KeyPair(folder / f"{name}.crt", folder / f"{name}.key")
        if self.files.key.is_file() and self.files.certificate.is_file():
            self._key = _read_key(self.files.key)
            self._certificate = x509.load_pem_x509_certificate(self.files.certificate.read_bytes())
        else:
            self._key = _new_key(self.files.key)
            self._certificate = self._self_signed(name)
            self.files.certificate.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, file_name: str, subject: CertificateSubject) -> KeyPair:
        """Issue a certificate for client and server use into the authority's folder; an existing one is kept.

        Args:
            file_name: stem of the ``.crt`` and ``.key`` files.
            subject: user, group and (for servers) host names or addresses.
        """
        pair = KeyPair(self._folder / f"{file_name}.crt", self._folder / f"{file_name}.key")
        if pair.certificate.is_file() and pair.key.is_file():
            return pair
        key = _new_key(pair.key)
        builder = _builder(subject.name(), self._certificate.subject, key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        if subject.hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName(_names(subject.hosts)), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return pair

    def _self_signed(self, name: str) -> x509.Certificate:
        subject = CertificateSubject(name).name()
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        builder = _builder(subject, subject, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        return builder.add_extension(usage, critical=True).sign(self._key, hashes.SHA256())


def signing_key(folder: Path, name: str) -> KeyPair:
    """A bare key pair (public part in ``.pub``) as the API server signs service-account tokens with."""
    pair = KeyPair(folder / f"{name}.pub", folder / f"{name}.key")
    key = _read_key(pair.key) if pair.key.is_file() else _new_key(pair.key)
    pair.certificate.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return pair


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)  # noqa: TID251  # certificates are valid in wall time
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + LIFETIME)
    )


def _names(hosts: Sequence[str]) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = []
    for host in hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return names


def _new_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Make a P-256 key; the file is never readable by others, not even while it is written."""
    key = ec.generate_private_key(ec.SECP256R1())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return key


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{path} is no elliptic-curve key")
    return key
